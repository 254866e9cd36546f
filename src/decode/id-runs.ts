import type { Bitset } from "./bitset.js";

/** Lines of a file that stand together and whose objects have ascending ids, without another run's between them. */
export type LineRun = {
  readonly byteFrom: number;
  readonly byteTo: number;
  /** Number of the first line, from 0, and of the first node on it or behind it. */
  readonly line: number;
  readonly node: number;
};

/** Where the objects of a block stand. */
export type BlockPlaces = {
  /** NaN: no integer, which belongs to the run that it stands in. */
  readonly ids: Float64Array;
  /** Line in the block of each object, and where that begins in the block. */
  readonly objectLines: Int32Array;
  readonly lineOffsets: Uint32Array;
  /** Of the block in the dump. */
  readonly byteOffsetFirst: number;
  readonly lineFirst: number;
};

/** Finds the runs of a file in the first pass. They do not depend on how the file was cut into blocks. */
export type IdRuns = {
  add(block: BlockPlaces): void;
  /** The file's order is to be kept: it holds lines that no run can. */
  keepOrder(): void;
  /**
   * The runs by their first ids. Undefined: the file's order is as good, or the runs are so short that reading them one
   * by one costs more than it saves.
   *
   * @param objectLines - lines that hold a node
   */
  inOrder(fileBytes: number, objectLines: Bitset): readonly LineRun[] | undefined;
};

/** Shorter ones are not worth a read each. Unit: bytes. */
const runBytesMin = 16 << 10;
/**
 * Ids of other pages may lie between two that are further apart than a page of Ruby's heap. Unit: ids, which are addresses
 * there: 64 KiB.
 *
 * One run over such gaps keeps all that lies in them behind itself: six of 5,534 runs of a dump of 2.2 million objects did
 * so, half of the objects came below an id that was there, and a mongod took 7.7 processor seconds for all instead of 6.3.
 */
const gapMin = 1 << 16;
/** Runs from which on their usual length is known. */
const runsBeforeAverage = 1 << 10;

export function createIdRuns(): IdRuns {
  let firstIds: number[] = [];
  let byteOffsets: number[] = [];
  let lines: number[] = [];
  let lastId = Infinity;
  let hasDescent = false;
  let isGivenUp = false;

  function keepOrder(): void {
    isGivenUp = true;
    firstIds = byteOffsets = lines = [];
  }

  function add({ ids, objectLines, lineOffsets, byteOffsetFirst, lineFirst }: BlockPlaces): void {
    for (let position = 0; position < ids.length && !isGivenUp; position++) {
      const id = ids[position] as number;
      if (id !== id) continue;
      const isFirst = firstIds.length === 0;
      const byteOffset = byteOffsetFirst + (lineOffsets[position] as number);
      // Far from each other within little text, they are no pages.
      const isBehindGap =
        id - lastId > gapMin && byteOffset - (byteOffsets.at(-1) as number) >= runBytesMin;
      if (id < lastId || isBehindGap) {
        hasDescent ||= id < lastId && !isFirst;
        firstIds.push(id);
        // What stands before the first object belongs to its run.
        byteOffsets.push(isFirst ? 0 : byteOffset);
        lines.push(isFirst ? 0 : lineFirst + (objectLines[position] as number));
        if (firstIds.length > runsBeforeAverage && byteOffset / firstIds.length < runBytesMin) {
          keepOrder();
        }
      }
      lastId = id;
    }
  }

  function inOrder(fileBytes: number, objectLines: Bitset): LineRun[] | undefined {
    if (!hasDescent || isGivenUp) return undefined;
    let line = 0;
    let node = 0;
    const runs = byteOffsets.map((byteFrom, index) => {
      for (; line < (lines[index] as number); line++) if (objectLines.has(line)) node++;
      const byteTo = byteOffsets[index + 1] ?? fileBytes;
      return { firstId: firstIds[index] as number, run: { byteFrom, byteTo, line, node } };
    });
    return runs.sort((one, two) => one.firstId - two.firstId).map(({ run }) => run);
  }

  return { add, keepOrder, inOrder };
}
