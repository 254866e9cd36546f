/** The identity of each node: an integer as a double where it is safe, else (`NaN` there) as it stands in `other`. */
export type HeapIds = {
  readonly integerOf: Float64Array;
  /** Ids that are text (`_ROOTS_`, `root:vm`) or integers beyond 2^53. Above 2^63 - 1: their decimal text. */
  readonly other: ReadonlyMap<number, string | bigint>;
};

/** Ready BSON from `decode/`, to be sent as it is by `load/`. */
export type DocumentBlock = {
  /** Whole documents, one behind the other. The receiver owns the memory. */
  readonly bson: Buffer;
  readonly documentCount: number;
  /** Nodes below this one are in this block or an earlier one: what a checkpoint counts. */
  readonly nodeEnd: number;
  /** Bytes of the dump read so far, for the progress bar. */
  readonly bytesDone: number;
};
