import type { DumpHeader } from "../../schemas/dump-header.js";
import type { LineBlock } from "../../schemas/line-block.js";
import type { Reject } from "../../schemas/reject.js";
import type { ScanBlock } from "../../schemas/scan-block.js";
import { decodeLine, recordSpan } from "./decode-line.js";
import type { LineFormat } from "./line-format.js";
import { BrokenText, holdsBrokenText } from "./parse-json.js";
import { createRecordScanner } from "./record-scanner.js";
import { createScanNames, ScanSink } from "./scan-sink.js";
import { textHashOf } from "./text-hash.js";

/** The lines of a block, with a line feed or more behind them, which the fast path needs to stop at. */
export type SealedBlock = Pick<LineBlock, "byteOffsetFirst" | "places"> & {
  readonly bytes: Buffer;
  /** Of the lines. Unit: bytes. */
  readonly length: number;
};

/** A line that says something of the dump as a whole. */
export type Mark = {
  readonly lineNumber: number;
  /** Of the block, before this line. */
  readonly objectsBefore: number;
} & ({ readonly bracket: "open" | "close" } | { readonly header: DumpHeader });

/** What one block says by itself: it can be passed from thread to thread. */
export type LineFindings = {
  /** Its codes are the scanner's own. */
  readonly scan: ScanBlock;
  /** Names that the scanner met in this block for the first time, in the order of their codes. */
  readonly newNames: {
    readonly types: readonly string[];
    readonly classNames: readonly string[];
    readonly sites: readonly string[];
    readonly references: readonly string[];
  };
  readonly lineCount: number;
  readonly blankCount: number;
  readonly repairedCount: number;
  /** Line in the block of each object. */
  readonly objectLines: Int32Array;
  /** Where that line begins in the block. */
  readonly lineOffsets: Uint32Array;
  /** Their line numbers count from 1 in this block, as those of `marks`, unless the block says the places of its lines. */
  readonly rejects: readonly Reject[];
  readonly marks: readonly Mark[];
  /** Objects known by a root's name alone, by position: their ids depend on the blocks before. */
  readonly rootNames: ReadonlyMap<number, string>;
};

/** Scans blocks one after the other; its arrays are used again for the next block. */
export type LineScanner = (block: SealedBlock) => LineFindings;

/** Raw bytes that a reject keeps at most. */
const rejectRawMax = 1 << 20;

/**
 * Makes a scanner for lines of a format. Never throws for a bad line.
 *
 * @param plain - decides every record by the plain path: to compare the two
 */
export function createLineScanner(format: LineFormat, plain: boolean): LineScanner {
  const names = createScanNames();
  const sink = new ScanSink(names);
  const isGem = format.name === "heap-dump-gem";
  const fast = plain ? undefined : createRecordScanner(format, sink);

  return (block) => {
    if (fast === undefined) sink.clear();
    const namesBefore = {
      types: names.types.names.length,
      classNames: names.classNames.names.length,
      sites: names.sites.names.length,
      references: names.references.names.length,
    };
    const rejects: Reject[] = [];
    const marks: Mark[] = [];
    const rootNames = new Map<number, string>();
    const { length } = block;
    const bytes = fast?.begin(block.bytes, length) ?? block.bytes;
    let blankCount = 0;
    let repairedCount = 0;
    let line = 0;

    for (let from = 0; from < length; line++) {
      if (fast !== undefined) {
        // The usual line is a record and nothing else: it need not be looked for where it ends.
        ({ at: from, line } = fast.scanLines(from, line));
        if (from >= length) break;
      }
      const feed = bytes.indexOf(0x0a, from);
      const to = feed < 0 || feed > length ? length : feed;
      const span = recordSpan(bytes, from, to);
      if (span.opens || span.closes) {
        const { lineNumber } = placeOf(block, line, from);
        const objectsBefore = sink.objectCount;
        if (span.opens) marks.push({ lineNumber, objectsBefore, bracket: "open" });
        if (span.closes) marks.push({ lineNumber, objectsBefore, bracket: "close" });
      }
      if (span.start === span.end) blankCount++;
      else if (fast?.scanSpan(span.start, span.end, { line, from }) !== true) {
        const outcome = decodeLine(format, bytes, span);
        if ("record" in outcome) {
          const { record } = outcome;
          if (record.id === undefined) rootNames.set(sink.objectCount, record.rootName ?? "");
          sink.push(record, record.id ?? "", { line, from });
          // The gem's texts are not read at all: counting some of them would pass for all.
          const value = isGem ? undefined : record.fields.last("value");
          const text = value instanceof BrokenText ? value.text : value;
          if (record.type === "STRING" && typeof text === "string") {
            sink.textHashes[sink.objectCount - 1] = textHashOf(text);
          }
          if (holdsBrokenText(record.fields)) repairedCount++;
        } else if ("header" in outcome) {
          blankCount++;
          const { lineNumber } = placeOf(block, line, from);
          marks.push({ lineNumber, objectsBefore: sink.objectCount, header: outcome.header });
        } else if ("blank" in outcome) blankCount++;
        else {
          const raw = rawOf(bytes, from, to);
          rejects.push({ ...placeOf(block, line, from), ...outcome.refused, raw });
        }
      }
      from = to + 1;
    }
    return {
      scan: sink.block(),
      newNames: {
        types: names.types.names.slice(namesBefore.types),
        classNames: names.classNames.names.slice(namesBefore.classNames),
        sites: names.sites.names.slice(namesBefore.sites),
        references: names.references.names.slice(namesBefore.references),
      },
      lineCount: line,
      blankCount,
      repairedCount,
      objectLines: sink.lines.subarray(0, sink.objectCount),
      lineOffsets: sink.lineOffsets.subarray(0, sink.objectCount),
      rejects,
      marks,
      rootNames,
    };
  };
}

/** The line of an object that is refused after all: an earlier one has its id. Its line number counts as the block's. */
export function duplicateReject(block: SealedBlock, line: number, path: string): Reject {
  const { bytes, length } = block;
  let from = 0;
  for (let before = 0; before < line; before++) from = bytes.indexOf(0x0a, from) + 1;
  const feed = bytes.indexOf(0x0a, from);
  const to = feed < 0 || feed > length ? length : feed;
  return {
    ...placeOf(block, line, from),
    code: "duplicate-id",
    path,
    message: "an earlier record has this id",
    raw: rawOf(bytes, from, to),
  };
}

function placeOf(
  block: Pick<LineBlock, "byteOffsetFirst" | "places">,
  line: number,
  from: number,
): { lineNumber: number; byteOffset: number } {
  return block.places === undefined
    ? { lineNumber: line + 1, byteOffset: block.byteOffsetFirst + from }
    : {
        lineNumber: block.places.lineNumbers[line] ?? 0,
        byteOffset: block.places.byteOffsets[line] ?? 0,
      };
}

function rawOf(bytes: Buffer, from: number, to: number): Buffer {
  return Buffer.from(bytes.subarray(from, Math.min(to, from + rejectRawMax)));
}

/** The lines as they are, or a copy with a line feed behind them. */
export function sealed(block: LineBlock): SealedBlock {
  const { bytes, byteOffsetFirst, places } = block;
  const rest = { byteOffsetFirst, ...(places === undefined ? {} : { places }) };
  const isSealed = bytes.length === 0 || bytes[bytes.length - 1] === 0x0a;
  return {
    bytes: isSealed ? bytes : Buffer.concat([bytes, Buffer.from("\n")]),
    length: bytes.length,
    ...rest,
  };
}
