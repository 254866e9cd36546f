import { HeapdumpError } from "../errors.js";
import type { LineBlock } from "../../schemas/line-block.js";
import type { LineRun } from "./id-runs.js";
import type { ReadPiece } from "./open-source.js";
import { sealed } from "./scan-lines.js";
import { lineBytesMaxDefault } from "./split-lines.js";

/** Text that is read at once, in the order in which its lines are to be loaded. Valid until the next one is asked for. */
export type LinePiece = {
  /** With a line feed behind the last line. */
  readonly bytes: Buffer;
  readonly stretches: readonly Stretch[];
  /** A line behind them was too long and is not there. */
  readonly skipsLine: boolean;
  /** Bytes of the dump that were read before. */
  readonly bytesBefore: number;
};

/** Lines that follow one another in bytes[from..to), and in the dump. */
export type Stretch = {
  readonly from: number;
  readonly to: number;
  /** Number of the first line and of the first node. Undefined: those behind the stretch before. */
  readonly first?: { readonly line: number; readonly node: number };
};

/** The lines as they stand in the file. */
export async function* inFileOrder(blocks: AsyncIterable<LineBlock>): AsyncGenerator<LinePiece> {
  for await (const block of blocks) {
    const { bytes, length } = sealed(block);
    yield {
      bytes,
      stretches: [{ from: 0, to: length }],
      skipsLine: block.tooLong !== undefined,
      bytesBefore: block.byteOffsetFirst,
    };
  }
}

/** What is read at once, unless a line is longer. Unit: bytes. */
const pieceBytesDefault = 1 << 20;

/** Runs that stand side by side in the file, in the order of loading. */
type Group = { readonly from: number; readonly to: number; readonly runs: readonly LineRun[] };

/**
 * The lines by the runs' order: documents that arrive in the order of their ids cost a server less. Reads one piece
 * ahead.
 *
 * @param runs - of the whole file, in the order of loading
 * @param read - see `DumpSource.pieces`
 * @param pieceBytes - read at once, unless a line is longer
 * @throws {HeapdumpError} `decode/changed` when a line is longer than any that the first pass took
 */
export async function* inRunOrder(
  runs: readonly LineRun[],
  read: ReadPiece,
  pieceBytes = pieceBytesDefault,
): AsyncGenerator<LinePiece> {
  const pieces = piecesOf(groupsOf(runs, pieceBytes), read, pieceBytes);
  let bytesBefore = 0;
  let coming = pieces.next();
  coming.catch(() => undefined); // Told where it is waited for.
  for (let piece = await coming; piece.done !== true; piece = await coming) {
    coming = pieces.next();
    coming.catch(() => undefined);
    yield { ...piece.value, bytesBefore };
    bytesBefore += piece.value.bytes.length - 1;
  }
}

function groupsOf(runs: readonly LineRun[], pieceBytes: number): Group[] {
  const groups: Group[] = [];
  let open: { from: number; to: number; runs: LineRun[] } | undefined;
  for (const run of runs) {
    if (open !== undefined && run.byteTo - run.byteFrom + open.to - open.from <= pieceBytes) {
      // A heap's pages mostly stand one before the other, the last one first.
      if (run.byteTo === open.from) {
        open.from = run.byteFrom;
        open.runs.push(run);
        continue;
      }
      if (run.byteFrom === open.to) {
        open.to = run.byteTo;
        open.runs.push(run);
        continue;
      }
    }
    open = { from: run.byteFrom, to: run.byteTo, runs: [run] };
    groups.push(open);
  }
  return groups;
}

async function* piecesOf(
  groups: readonly Group[],
  read: ReadPiece,
  pieceBytes: number,
): AsyncGenerator<Omit<LinePiece, "bytesBefore">> {
  // One is worked on while the other is filled.
  const memories = [0, 1].map(() => Buffer.allocUnsafeSlow(pieceBytes + 1));
  let turn = 0;
  const memoryFor = (length: number): Buffer => {
    const memory = memories[turn] as Buffer;
    // One that had to be larger for one line is let go.
    if (memory.length > length && (length > pieceBytes || memory.length <= pieceBytes + 1)) {
      return memory;
    }
    return (memories[turn] = Buffer.allocUnsafeSlow(Math.max(pieceBytes, length) + 1));
  };
  for (const { from, to, runs } of groups) {
    let first: Stretch["first"] = runs[0] as LineRun;
    for (let at = from, wanted = pieceBytes; at < to;) {
      const memory = memoryFor(Math.min(wanted, to - at));
      const length = await read(memory, at, Math.min(wanted, to - at), at + wanted < to);
      if (length === 0) {
        // A line longer than the memory. Without an end, it would be the rest of the file.
        if (wanted > lineBytesMaxDefault) throw changed();
        wanted *= 2;
        continue;
      }
      memory[length] = 0x0a;
      yield {
        bytes: memory.subarray(0, length + 1),
        stretches:
          runs.length === 1
            ? [{ from: 0, to: length, ...(first === undefined ? {} : { first }) }]
            : runs.map((run) => ({
                from: run.byteFrom - from,
                to: run.byteTo - from,
                first: run,
              })),
        skipsLine: false,
      };
      turn = 1 - turn;
      first = undefined;
      at += length;
      wanted = pieceBytes;
    }
  }
}

/** The reader tells by a checksum at its end; this is met before. */
export function changed(): HeapdumpError {
  return new HeapdumpError("decode/changed", "the dump was changed while it was imported");
}
