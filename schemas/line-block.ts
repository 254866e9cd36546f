/** Whole lines of a dump, read together. */
export type LineBlock = {
  /** Lines, each ended by a line feed, the last of the dump perhaps not. */
  readonly bytes: Buffer;
  /** Of the first byte, in the decompressed dump. */
  readonly byteOffsetFirst: number;
  /** Where each line of `bytes` stands in the dump, where the dump is an array that was taken apart. */
  readonly places?: { readonly lineNumbers: Float64Array; readonly byteOffsets: Float64Array };
  /** A line above the limit: skipped, with the first bytes of it. It stands behind the lines of `bytes`. */
  readonly tooLong?: {
    /** In an array that was taken apart; else it is the line behind those of `bytes`. */
    readonly lineNumber?: number;
    readonly byteOffset: number;
    readonly lineBytes: number;
    readonly head: Buffer;
  };
};
