import type { BsonWriter } from "../bson-writer.js";
import type { RecordSpan } from "./decode-line.js";
import type { LineFormat } from "./line-format.js";
import {
  growthMax,
  recordBytesMax,
  transcodeGemRecord,
  type ReferenceIds,
} from "./transcode-gem-record.js";
import { instanceOf, type WasmMemory } from "./wasm-module.js";

/**
 * The fast path of the second pass: writes an ordinary record's own fields as BSON, from its bytes, behind the fields
 * that the caller has written.
 */
export type RecordTranscoder = {
  /**
   * Where documents must be written, for the fast path to go on writing there: taken until it is released. Undefined: they
   * may be written anywhere, or else all of it is taken.
   */
  takeMemory(): Buffer | undefined;
  /** Nobody reads the documents any more that were written there. */
  releaseMemory(memory: Buffer): void;
  /** Takes the next block of lines. Gives its bytes where the transcoder reads them. */
  begin(bytes: Buffer): Buffer;
  /** False: not ordinary; nothing counts that was written, the plain path must do it. */
  transcode(bytes: Buffer, span: RecordSpan, writer: BsonWriter, references: ReferenceIds): boolean;
  /** Gives its memory back, for another pass. */
  end(): void;
};

/** Makes a transcoder of the format's records. */
export function createRecordTranscoder(format: LineFormat): RecordTranscoder {
  if (format.name === "heap-dump-gem") {
    return {
      takeMemory: () => undefined,
      releaseMemory: () => undefined,
      begin: (bytes) => bytes,
      transcode: transcodeGemRecord,
      end: () => undefined,
    };
  }
  return idle.pop() ?? createObjspaceTranscoder();
}

/** Those whose passes have ended: making a memory costs more than a small dump does. */
const idle: RecordTranscoder[] = [];

/** What wasm/transcode-records.ts exports. */
type TranscodeModule = {
  readonly memory: WasmMemory;
  heapBase(): number;
  transcodeRecord(start: number, end: number, out: number, referenceCount: number): number;
};

/** A block of documents is closed at this size: large enough that a message's overhead is nothing. Unit: bytes. */
export const documentBlockBytes = 4 << 20;
const pageBytes = 1 << 16;
/** Bytes beside a text or a document that are read or written with it: those of a vector, and more. */
const slackBytes = 64;
/** A block with a line that is longer is none for the fast path. Unit: bytes. */
const linesBytesMax = 8 << 20;
/** Six that are being sent, one that waits for it, and one that is written. */
const memoryCount = 8;
/** Computed fields of the record that fills a block: its references take most. Unit: bytes. */
const computedBytesMax = 8 << 20;

/** Of `ObjectSpace.dump_all` and of our own producers, in WebAssembly. Its memory is made once: what is never written takes none. */
function createObjspaceTranscoder(): RecordTranscoder {
  let lines = Buffer.alloc(0);
  const wasm = instanceOf("transcode-records", {
    doubleOf: (from, end) => Number(lines.toString("latin1", from - linesAt, end - linesAt)),
  }) as TranscodeModule;
  const linesAt = (wasm.heapBase() + slackBytes) & ~15;
  const documentsFrom = linesAt + linesBytesMax + slackBytes;
  const documentsBytes = documentBlockBytes + computedBytesMax + recordBytesMax * growthMax;
  const end = documentsFrom + memoryCount * (documentsBytes + slackBytes);
  wasm.memory.grow(Math.ceil((end - wasm.memory.buffer.byteLength) / pageBytes));
  const { buffer } = wasm.memory;
  /** Where each begins. */
  const placeOf = new Map<Buffer, number>();
  for (let index = 0; index < memoryCount; index++) {
    const at = documentsFrom + index * (documentsBytes + slackBytes);
    placeOf.set(Buffer.from(buffer, at, documentsBytes), at);
  }
  const free = [...placeOf.keys()];
  let current: Buffer | undefined;
  let documentsAt = 0;
  let hasEnded = false;

  const transcoder: RecordTranscoder = {
    takeMemory: () => {
      const memory = free.pop();
      if (memory === undefined) return undefined;
      hasEnded = false;
      current = memory;
      documentsAt = placeOf.get(memory) as number;
      return memory;
    },
    releaseMemory: (memory) => {
      free.push(memory);
      // Another pass may have it only when the last document of this one was sent.
      if (hasEnded && free.length === memoryCount) idle.push(transcoder);
    },
    begin: (bytes) => {
      if (bytes.length > linesBytesMax) return bytes;
      lines = Buffer.from(buffer, linesAt, bytes.length);
      lines.set(bytes);
      return lines;
    },
    transcode: (bytes, span, writer, references) => {
      const recordBytes = span.end - span.start;
      if (bytes !== lines || writer.bytes !== current || recordBytes > recordBytesMax) return false;
      if (writer.offset + recordBytes * growthMax > documentsBytes) return false;
      const behind = wasm.transcodeRecord(
        ...([linesAt + span.start, linesAt + span.end] as const),
        ...([documentsAt + writer.offset, references.count] as const),
      );
      if (behind === 0) return false;
      writer.offset = behind - documentsAt;
      return true;
    },
    end: () => {
      hasEnded = true;
      if (free.length === memoryCount) idle.push(transcoder);
    },
  };
  return transcoder;
}
