import { BsonWriter } from "../bson-writer.js";
import { HeapdumpError } from "../errors.js";
import type { ComputedFields, DocumentBlock, HeapIds } from "../../schemas/document-block.js";
import type { DumpHeader } from "../../schemas/dump-header.js";
import type { HeapGraph } from "../../schemas/heap-graph.js";
import type { LineBlock } from "../../schemas/line-block.js";
import type { Reject } from "../../schemas/reject.js";
import type { ScanBlock } from "../../schemas/scan-block.js";
import { createBitset, type Bitset } from "./bitset.js";
import { decodeLine, recordSpan, type RecordSpan } from "./decode-line.js";
import { encodeRecord } from "./encode-record.js";
import type { HeapRecord, ObjectId } from "./heap-record.js";
import type { LineFormat } from "./line-format.js";
import { holdsBrokenText } from "./parse-json.js";
import { scanGemRecord, scanObjspaceRecord } from "./scan-record.js";
import { createScanNames, ScanSink, type ScanNames } from "./scan-sink.js";
import { closeDocument } from "./split-document.js";
import { transcoderOf } from "./transcode-record.js";

/** How many lines were what: lines = objects + rejected + blank, always. */
export type Ledger = {
  lines: number;
  objects: number;
  rejected: number;
  /** Objects with text that is no valid UTF-8. */
  repaired: number;
  /** Blank lines, brackets, headers and trailers. */
  blank: number;
};

/** What the first pass over a dump finds, besides the graph. */
export type Scan = {
  readonly format: LineFormat;
  readonly names: ScanNames;
  readonly ledger: Ledger;
  /** Which lines hold an object of the graph, by number from 0. */
  readonly objectLines: Bitset;
  header: DumpHeader | undefined;
  trailer: DumpHeader | undefined;
  /** The array's brackets were met. */
  opened: boolean;
  closed: boolean;
};

/** One block after the first pass. */
export type ScannedBlock = {
  readonly scan: ScanBlock;
  readonly rejects: readonly Reject[];
  /** Turns an object of this block into a reject: its id is that of an earlier one. */
  readonly refuseDuplicate: (position: number) => Reject;
  readonly bytesDone: number;
};

/** Raw bytes that a reject keeps at most. */
const rejectRawMax = 1 << 20;

export type ScanOptions = {
  /** For messages. */
  readonly file: string;
  /** Decides every record by the plain path: to compare the two. */
  readonly plain?: boolean;
};

/** Begins the first pass over a dump. */
export function beginScan(format: LineFormat): Scan {
  return {
    format,
    names: createScanNames(),
    ledger: { lines: 0, objects: 0, rejected: 0, repaired: 0, blank: 0 },
    objectLines: createBitset(),
    header: undefined,
    trailer: undefined,
    opened: false,
    closed: false,
  };
}

/**
 * The first pass: what each record says about the graph, and what is refused. Never throws for a bad line.
 *
 * The arrays of a block are used again for the next one.
 *
 * @throws {HeapdumpError} `decode/corrupt` when a second dump begins in the same file
 */
export async function* scanBlocks(
  blocks: AsyncIterable<LineBlock>,
  scan: Scan,
  options: ScanOptions,
): AsyncGenerator<ScannedBlock> {
  const sink = new ScanSink(scan.names);
  const rootCounts = new Map<string, number>();
  const fast = scan.format.name === "heap-dump-gem" ? scanGemRecord : scanObjspaceRecord;
  for await (const raw of blocks) {
    const block = withSentinel(raw);
    sink.clear();
    const rejects: Reject[] = [];
    /** Line in the block of each object. */
    const lineOf: number[] = [];
    const lineFirst = scan.ledger.lines;
    const spanStarts: number[] = [];
    const spanEnds: number[] = [];
    const { bytes } = block;
    const { ledger } = scan;
    let line = 0;
    for (let from = 0; from < block.length; line++) {
      const feed = bytes.indexOf(0x0a, from);
      const to = feed < 0 || feed > block.length ? block.length : feed;
      const span = recordSpan(bytes, from, to);
      ledger.lines++;
      if (span.opens || span.closes) markBrackets(scan, span, options, placeOf(raw, line, from));
      spanStarts.push(from);
      spanEnds.push(to);
      if (span.start === span.end) ledger.blank++;
      else if (options.plain !== true && fast(bytes, span, sink)) {
        ledger.objects++;
        scan.objectLines.add(lineFirst + line);
        lineOf.push(line);
      } else {
        const outcome = decodeLine(scan.format, bytes, span);
        if ("record" in outcome) {
          sink.push(outcome.record, idOfRecord(outcome.record, rootCounts));
          ledger.objects++;
          if (holdsBrokenText(outcome.record.fields)) ledger.repaired++;
          scan.objectLines.add(lineFirst + line);
          lineOf.push(line);
        } else if ("header" in outcome) {
          ledger.blank++;
          markHeader(scan, outcome.header, options, placeOf(raw, line, from));
        } else if ("blank" in outcome) ledger.blank++;
        else {
          ledger.rejected++;
          rejects.push({
            ...placeOf(raw, line, from),
            ...outcome.refused,
            raw: rawOf(bytes, from, to),
          });
        }
      }
      from = to + 1;
    }
    if (raw.tooLong !== undefined) {
      ledger.lines++;
      ledger.rejected++;
      rejects.push({
        lineNumber: raw.tooLong.lineNumber,
        byteOffset: raw.tooLong.byteOffset,
        code: "too-long",
        path: "",
        message: `a line of ${raw.tooLong.lineBytes} bytes`,
        raw: raw.tooLong.head,
      });
    }
    yield {
      scan: sink.block(),
      rejects,
      refuseDuplicate: (position) => {
        const at = lineOf[position] ?? 0;
        const from = spanStarts[at] ?? 0;
        ledger.objects--;
        ledger.rejected++;
        scan.objectLines.remove(lineFirst + at);
        return {
          ...placeOf(raw, at, from),
          code: "duplicate-id",
          path: scan.format.name === "heap-dump-gem" ? "id" : "address",
          message: "an earlier record has this id",
          raw: rawOf(bytes, from, spanEnds[at] ?? from),
        };
      },
      bytesDone: raw.byteOffsetFirst + raw.bytes.length,
    };
  }
}

function placeOf(
  block: LineBlock,
  line: number,
  from: number,
): { lineNumber: number; byteOffset: number } {
  return block.places === undefined
    ? { lineNumber: block.lineNumberFirst + line, byteOffset: block.byteOffsetFirst + from }
    : {
        lineNumber: block.places.lineNumbers[line] ?? 0,
        byteOffset: block.places.byteOffsets[line] ?? 0,
      };
}

function rawOf(bytes: Buffer, from: number, to: number): Buffer {
  return Buffer.from(bytes.subarray(from, Math.min(to, from + rejectRawMax)));
}

/** A line feed behind the last line, which the fast path needs to stop at. */
function withSentinel(block: LineBlock): { bytes: Buffer; length: number } {
  const { bytes } = block;
  if (bytes.length === 0 || bytes[bytes.length - 1] === 0x0a) {
    return { bytes, length: bytes.length };
  }
  return { bytes: Buffer.concat([bytes, Buffer.from("\n")]), length: bytes.length };
}

/** A root without an address is known by its name; a second one of that name gets a number. */
function idOfRecord(record: HeapRecord, rootCounts: Map<string, number>): ObjectId {
  if (record.id !== undefined) return record.id;
  const name = record.rootName ?? "";
  const count = (rootCounts.get(name) ?? 0) + 1;
  rootCounts.set(name, count);
  return count === 1 ? `root:${name}` : `root:${name}#${count}`;
}

type Place = { readonly lineNumber: number; readonly byteOffset: number };

function markBrackets(scan: Scan, span: RecordSpan, options: ScanOptions, place: Place): void {
  if (span.opens) {
    if (scan.opened || scan.ledger.objects > 0) secondDump(options, place);
    scan.opened = true;
  }
  if (span.closes) scan.closed = true;
}

function markHeader(scan: Scan, header: DumpHeader, options: ScanOptions, place: Place): void {
  if (header.counts !== undefined) scan.trailer = header;
  else if (scan.header !== undefined || scan.ledger.objects > 0) secondDump(options, place);
  else scan.header = header;
}

function secondDump(options: ScanOptions, place: Place): never {
  throw new HeapdumpError(
    "decode/corrupt",
    "a second dump begins here: two dumps are glued together; import each from a file of its own",
    { at: { file: options.file, lineNumber: place.lineNumber } },
  );
}

/** A block of documents is closed at this size: large enough that a message's overhead is nothing. Unit: bytes. */
const blockBytes = 4 << 20;
/** For the record that fills the block: the fast path asks for nine times its length. Unit: bytes. */
const headroomBytes = 2 << 20;

/** What one document may have: MongoDB's 16 MB less room for its own bookkeeping. */
const documentBytesMax = 15_500_000;

export type DocumentOptions = {
  readonly computed: ComputedFields;
  /** Nodes before this one are left out: they were loaded before. */
  readonly nodeFirst?: number;
  readonly plain?: boolean;
  /** Changes a record's fields before they are stored. Every record then goes the plain way. */
  readonly redact?: (record: HeapRecord) => HeapRecord;
};

/**
 * The second pass: each record's bytes become a document, with the computed fields added.
 *
 * @param scan - of the first pass over the same bytes
 */
export async function* documentBlocks(
  blocks: AsyncIterable<LineBlock>,
  scan: Scan,
  heap: { readonly graph: HeapGraph; readonly ids: HeapIds },
  options: DocumentOptions,
): AsyncGenerator<DocumentBlock> {
  const { firstEdge, edgeTo } = heap.graph;
  const { integerOf, other } = heap.ids;
  const { computed, redact } = options;
  const nodeFirst = options.nodeFirst ?? 0;
  const transcode = transcoderOf(scan.format);
  const plain = options.plain === true || redact !== undefined;
  const writer = new BsonWriter(blockBytes + headroomBytes);
  const spare: Buffer[] = [];
  let node = 0;
  let documentCount = 0;
  let lineIndex = 0;
  let edgeFirst = 0;
  const references = {
    count: 0,
    idAt: (index: number) => integerOf[edgeTo[edgeFirst + index] as number] as number,
  };

  function write(bytes: Buffer, span: RecordSpan): void {
    const start = writer.begin();
    edgeFirst = firstEdge[node] as number;
    references.count = (firstEdge[node + 1] as number) - edgeFirst;
    if (!plain) {
      const id = integerOf[node] as number;
      if (id === id) {
        writer.int64("_id", id);
        if (transcode(bytes, span, writer, references)) {
          computed.append(writer, node);
          writer.end(start);
          documentCount += 1 + computed.continue(writer, node, 1);
          return;
        }
      }
    }
    writer.offset = start;
    writePlain(bytes, span);
  }

  function writePlain(bytes: Buffer, span: RecordSpan): void {
    const outcome = decodeLine(scan.format, bytes, span);
    if (!("record" in outcome)) throw new Error("the dump changed between the two passes");
    const record = redact === undefined ? outcome.record : redact(outcome.record);
    const known = integerOf[node] as number;
    const id = known === known ? known : (other.get(node) ?? "");
    let edge = 0;
    const start = writer.begin();
    encodeRecord(writer, scan.format, record, id, (reference) => {
      if (edge >= references.count) return false;
      const target = edgeTo[edgeFirst + edge] as number;
      const targetId = integerOf[target] as number;
      const same =
        targetId === targetId ? reference.id === targetId : reference.id === other.get(target);
      if (same) edge++;
      return same;
    });
    documentCount += closeDocument(writer, start, id, computed, node, documentBytesMax);
  }

  for await (const raw of blocks) {
    const { bytes, length } = withSentinel(raw);
    for (let from = 0; from < length; lineIndex++) {
      const feed = bytes.indexOf(0x0a, from);
      const to = feed < 0 || feed > length ? length : feed;
      if (scan.objectLines.has(lineIndex)) {
        if (node >= nodeFirst) write(bytes, recordSpan(bytes, from, to));
        node++;
        if (writer.offset >= blockBytes) {
          const memory = writer.bytes;
          yield {
            bson: writer.take(spare.pop() ?? blockBytes + headroomBytes),
            // A buffer that had to grow for one large record is let go.
            release: () => {
              if (memory.length === blockBytes + headroomBytes) spare.push(memory);
            },
            documentCount,
            nodeEnd: node,
            bytesDone: raw.byteOffsetFirst + to,
          };
          documentCount = 0;
        }
      }
      from = to + 1;
    }
    if (raw.tooLong !== undefined) lineIndex++;
  }
  if (documentCount > 0) {
    yield { bson: writer.take(1), documentCount, nodeEnd: node, bytesDone: Infinity };
  }
}
