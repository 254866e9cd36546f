/**
 * What one block of records says about the graph, in typed arrays: `decode/` gives it, `graph/` takes it.
 *
 * Positions are those of the objects in the block. The arrays are used again for the next block: take what you need.
 */
export type ScanBlock = {
  readonly objectCount: number;
  /** NaN: see `otherIds`. */
  readonly ids: Float64Array;
  /** Ids that are text or integers beyond 2^53, by position. */
  readonly otherIds: ReadonlyMap<number, string | bigint>;
  /** Id of the class object; NaN: none. */
  readonly classIds: Float64Array;
  /** Shallow size. Unit: bytes. */
  readonly sizes: Float64Array;
  /** Into the scanner's type names. */
  readonly typeCodes: Uint16Array;
  /** Into the scanner's site names; -1: none. */
  readonly siteCodes: Int32Array;
  /** -1: none. */
  readonly generations: Int32Array;
  /** Class name said by the record itself, into the scanner's class names; -1: none. */
  readonly classNameCodes: Int32Array;
  /**
   * Of strings: a hash of the text, the same for the same text. NaN: no string, or one that the fast path did not
   * read; absent: of no string is the text known.
   */
  readonly textHashes?: Float64Array;
  /** Candidates of position p: references[firstReference[p]] … references[firstReference[p + 1] - 1]. */
  readonly firstReference: Uint32Array;
  /** Candidate ids: only membership in the dump makes them references. NaN: see `otherReferences`. */
  readonly references: Float64Array;
  readonly otherReferences: ReadonlyMap<number, string | bigint>;
  /** Parallel to `references`, 1 = weak. Absent: none is. */
  readonly weak: Uint8Array | undefined;
  /** Positions of objects that are roots. */
  readonly rootPositions: readonly number[];
  /** Names of class and module objects, by position. */
  readonly names: ReadonlyMap<number, string>;
  /** What objects are called on a path, by position, where that is not the class's name, else the type's. */
  readonly labels: ReadonlyMap<number, string>;
  /** Parallel to `references`: their names, into the scanner's; -1: none, or of no use. Absent: none has one. */
  readonly referenceNames?: Int32Array | undefined;
};
