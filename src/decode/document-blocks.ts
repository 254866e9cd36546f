import { BsonWriter } from "../bson-writer.js";
import {
  blockRoom,
  type ComputedFields,
  type DocumentBlock,
  type HeapIds,
} from "../../schemas/document-block.js";
import type { HeapGraph } from "../../schemas/heap-graph.js";
import { decodeLine, recordSpan, type RecordSpan } from "./decode-line.js";
import { encodeRecord } from "./encode-record.js";
import type { HeapRecord } from "./heap-record.js";
import { changed, type LinePiece } from "./line-pieces.js";
import type { Scan } from "./scan-dump.js";
import { closeDocument, openDocument, type OpenDocument } from "./split-document.js";
import { createRecordTranscoder, documentBlockBytes } from "./record-transcoder.js";

const blockBytes = documentBlockBytes;
/** For the record that fills the block. Unit: bytes. */
const headroomBytes = 2 << 20;
const memoryBytes = blockBytes + headroomBytes;

/** What one document may have: MongoDB's 16 MB less room for its own bookkeeping. */
const documentBytesMax = 15_500_000;

export type DocumentOptions = {
  readonly computed: ComputedFields;
  /** So many objects, in the order of loading, are left out: they were loaded before. */
  readonly nodeFirst?: number;
  readonly plain?: boolean;
  /** Changes a record's fields before they are stored. Every record then goes the plain way. */
  readonly redact?: (record: HeapRecord) => HeapRecord;
};

/**
 * The second pass: each record's bytes become a document, with the computed fields added.
 *
 * @param scan - of the first pass over the same bytes
 * @throws {HeapdumpError} `decode/changed` when they are not the same
 */
export async function* documentBlocks(
  pieces: AsyncIterable<LinePiece>,
  scan: Scan,
  heap: { readonly graph: HeapGraph; readonly ids: HeapIds },
  options: DocumentOptions,
): AsyncGenerator<DocumentBlock> {
  const { firstEdge, edgeTo } = heap.graph;
  const { integerOf, other } = heap.ids;
  const { computed, redact } = options;
  const nodeFirst = options.nodeFirst ?? 0;
  const transcoder =
    options.plain === true || redact !== undefined
      ? undefined
      : createRecordTranscoder(scan.format);
  /** Of the transcoder, for what is written now. A record that is too large for it is written elsewhere. */
  let own = transcoder?.takeMemory();
  const writer = new BsonWriter(own ?? memoryBytes, blockRoom);
  const spare: Buffer[] = [];
  let node = 0;
  let nodesDone = 0;
  let documentCount = 0;
  let lineIndex = 0;
  let edgeFirst = 0;
  const references = {
    count: 0,
    idAt: (index: number) => integerOf[edgeTo[edgeFirst + index] as number] as number,
  };

  function write(bytes: Buffer, span: RecordSpan): void {
    edgeFirst = firstEdge[node] as number;
    references.count = (firstEdge[node + 1] as number) - edgeFirst;
    const open = openDocument(writer, computed, node);
    if (transcoder?.transcode(bytes, span, writer, references) === true) {
      writer.end(open.start);
      documentCount += 1 + computed.continue(writer, node, 1);
      return;
    }
    writer.offset = open.ownFrom;
    writePlain(bytes, span, open);
  }

  function writePlain(bytes: Buffer, span: RecordSpan, open: OpenDocument): void {
    const outcome = decodeLine(scan.format, bytes, span);
    if (!("record" in outcome)) throw changed();
    const record = redact === undefined ? outcome.record : redact(outcome.record);
    let edge = 0;
    encodeRecord(writer, scan.format, record, (reference) => {
      if (edge >= references.count) return false;
      const target = edgeTo[edgeFirst + edge] as number;
      const targetId = integerOf[target] as number;
      const same =
        targetId === targetId ? reference.id === targetId : reference.id === other.get(target);
      if (same) edge++;
      return same;
    });
    documentCount += closeDocument(writer, open, computed, node, documentBytesMax);
  }

  /** The documents written so far: the next ones are written elsewhere. */
  function taken(): Pick<DocumentBlock, "bson" | "release"> {
    const memory = writer.bytes;
    if (memory !== own) {
      const bson = writer.take(own ?? spare.pop() ?? memoryBytes);
      return { bson, release: () => release(memory) };
    }
    const next = transcoder?.takeMemory();
    if (next === undefined) return copied();
    own = next;
    return { bson: writer.take(next), release: () => transcoder?.releaseMemory(memory) };
  }

  /** As `taken`, where the transcoder has no other memory: the next documents are written in the same place. */
  function copied(): Pick<DocumentBlock, "bson" | "release"> {
    const written = writer.bytes.subarray(0, writer.offset);
    const isUsual = written.length <= memoryBytes;
    const memory =
      (isUsual ? spare.pop() : undefined) ??
      Buffer.allocUnsafeSlow(Math.max(written.length, memoryBytes));
    written.copy(memory);
    writer.offset = blockRoom;
    return { bson: memory.subarray(blockRoom, written.length), release: () => release(memory) };
  }

  /** A buffer that had to be larger for one record is let go. */
  function release(memory: Buffer): void {
    if (memory.length === memoryBytes) spare.push(memory);
  }

  try {
    for await (const piece of pieces) {
      const bytes = transcoder?.begin(piece.bytes) ?? piece.bytes;
      let { bytesBefore: bytesDone } = piece;
      for (const stretch of piece.stretches) {
        if (stretch.first !== undefined) ({ line: lineIndex, node } = stretch.first);
        for (let from = stretch.from; from < stretch.to; lineIndex++) {
          const feed = bytes.indexOf(0x0a, from);
          const to = feed < 0 || feed > stretch.to ? stretch.to : feed;
          bytesDone += to + 1 - from;
          if (scan.objectLines.has(lineIndex)) {
            if (nodesDone >= nodeFirst) write(bytes, recordSpan(bytes, from, to));
            node++;
            nodesDone++;
            if (writer.offset >= blockBytes) {
              yield { ...taken(), documentCount, nodeEnd: nodesDone, bytesDone };
              documentCount = 0;
            }
          }
          from = to + 1;
        }
      }
      if (piece.skipsLine) lineIndex++;
    }
    if (nodesDone !== heap.graph.nodeCount) throw changed();
    if (documentCount > 0) {
      yield { ...taken(), documentCount, nodeEnd: nodesDone, bytesDone: Infinity };
    }
  } finally {
    if (own !== undefined) transcoder?.releaseMemory(own);
    transcoder?.end();
  }
}
