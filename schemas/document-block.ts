import type { BsonWriter } from "../src/bson-writer.js";

/** The identity of each node: an integer as a double where it is safe, else (`NaN` there) as it stands in `other`. */
export type HeapIds = {
  readonly integerOf: Float64Array;
  /** Ids that are text (`_ROOTS_`, `root:vm`) or integers beyond 2^53. Above 2^63 - 1: their decimal text. */
  readonly other: ReadonlyMap<number, string | bigint>;
};

/** Bytes in front of a block's documents, in the same memory: a message's head takes a few hundred. */
export const blockRoom = 4096;

/** Ready BSON from `decode/`, to be sent as it is by `load/`. */
export type DocumentBlock = {
  /**
   * Whole documents, one behind the other. The receiver's until it calls `release`, with `blockRoom` bytes in front of
   * them: the head of a message need not be written elsewhere.
   */
  readonly bson: Buffer;
  /** Gives the memory back, to be written again: allocating it anew costs more than filling it. */
  readonly release?: () => void;
  readonly documentCount: number;
  /** Objects in this block and those before it, in the order of loading: what a checkpoint counts. */
  readonly nodeEnd: number;
  /** Bytes of the dump read so far, for the progress bar. */
  readonly bytesDone: number;
};

/** Writes what the analysis found into documents that `decode/` writes: `load/` gives it, for every format. */
export type ComputedFields = {
  readonly idOf: (node: number) => number | string | bigint;
  /** Writes `_id`, `type`, `class_name`, `references`, `depth` … of a node into the document that was just begun. */
  readonly begin: (writer: BsonWriter, node: number) => void;
  /**
   * Writes the continuation documents of a node with more references than one document holds.
   *
   * @param partFirst - number of the first one, from 1: the caller may have written parts of its own
   * @returns how many were written
   */
  readonly continue: (writer: BsonWriter, node: number, partFirst: number) => number;
};
