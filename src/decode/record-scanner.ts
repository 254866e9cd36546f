import {
  ends,
  finishRecord,
  keyCount,
  starts,
  typeKindOf,
  type TypeKind,
} from "./finish-record.js";
import { atLineEnd } from "./json-bytes.js";
import type { LineFormat } from "./line-format.js";
import { scanGemRecord } from "./scan-gem-record.js";
import type { LinePlace, ScanColumns, ScanSink } from "./scan-sink.js";
import { instanceOf, type WasmGlobal, type WasmMemory } from "./wasm-module.js";

/**
 * The fast path of the first pass: scans the ordinary records of a block into a sink. Of the others it adds nothing, so
 * that the plain path decides.
 */
export type RecordScanner = {
  /** Takes the next block. Gives its bytes where the scanner reads them, with a line feed behind them. */
  begin(bytes: Buffer, length: number): Buffer;
  /** Scans lines that are an ordinary record and nothing else. Gives the first that is not, or the end. */
  scanLines(from: number, line: number): { readonly at: number; readonly line: number };
  /** Whether the record in bytes[start..end) of that line was ordinary. */
  scanSpan(start: number, end: number, place: LinePlace): boolean;
};

/** Makes a scanner of the format's records. */
export function createRecordScanner(format: LineFormat, sink: ScanSink): RecordScanner {
  return format.name === "heap-dump-gem" ? createGemScanner(sink) : createObjspaceScanner(sink);
}

function createGemScanner(sink: ScanSink): RecordScanner {
  let bytes = Buffer.alloc(0);
  let length = 0;
  return {
    begin: (block, blockLength) => {
      sink.clear();
      bytes = block as Buffer<ArrayBuffer>;
      length = blockLength;
      return bytes;
    },
    scanLines: (from, lineFirst) => {
      let at = from;
      let line = lineFirst;
      for (; at < length && bytes[at] === 0x7b; line++) {
        const behind = scanGemRecord(bytes, at, atLineEnd, { line, from: at }, sink);
        if (behind < 0) break;
        at = bytes[behind] === 0x0d ? behind + 2 : behind + 1;
      }
      return { at, line };
    },
    scanSpan: (start, end, place) => scanGemRecord(bytes, start, end, place, sink) >= 0,
  };
}

/** What wasm/scan-records.ts exports. */
type ScanModule = {
  readonly memory: WasmMemory;
  readonly starts: WasmGlobal;
  readonly ends: WasmGlobal;
  readonly objectCount: WasmGlobal;
  readonly referenceCount: WasmGlobal;
  readonly line: WasmGlobal;
  readonly arenaAt: WasmGlobal;
  heapBase(): number;
  setArena(at: number): void;
  setColumns(...places: number[]): void;
  setCounts(objects: number, references: number, line: number): void;
  setBlock(at: number): void;
  scanLines(from: number, end: number): number;
  scanRecord(start: number, end: number, lineFrom: number): number;
};

const pageBytes = 1 << 16;
/** So many bytes beside the text are read with it: those of a vector, and more. */
const slackBytes = 64;
/** A record has more bytes than this, and a reference more than that. */
const recordBytesMin = 16;
const referenceBytesMin = 4;
/** Names that a block says for the first time are kept with their tables in less than so many times its bytes. */
const arenaPerByte = 8;

/**
 * Scans records of `ObjectSpace.dump_all` and of our own producers in WebAssembly, which takes sixteen bytes at a time
 * where JavaScript takes four.
 *
 * Its memory holds the names met so far, then the block, then columns with room for the worst block; what is never
 * written takes no memory.
 */
function createObjspaceScanner(sink: ScanSink): RecordScanner {
  const { names } = sink;
  let bytes: Buffer = Buffer.alloc(0);
  let blockAt = 0;
  let blockLength = 0;
  const wasm = instanceOf("scan-records", {
    newType: (from, to) => names.types.codeOfPlain(bytes, from - blockAt, to - blockAt),
    typeKindOf: (code) => typeKindOf(names.types.names[code] ?? ""),
    newFile: (from, to) => names.files.codeOfBytes(bytes, from - blockAt, to - blockAt),
    newSite: (file, line) => names.sites.codeOf(file, line),
    finishRecord: finishUnusual,
  }) as ScanModule;
  wasm.setArena(aligned(wasm.heapBase()));

  function layOut(length: number): void {
    blockAt = aligned(wasm.arenaAt.value + length * arenaPerByte + pageBytes);
    let free = blockAt + length + slackBytes;
    const place = (rowBytes: number, rows: number): number => {
      const at = aligned(free);
      free = at + rowBytes * rows;
      return at;
    };
    const rows = Math.ceil(length / recordBytesMin) + 2;
    const candidates = Math.ceil(length / referenceBytesMin) + 2;
    const at = {
      ...{ ids: place(8, rows), classIds: place(8, rows), sizes: place(8, rows) },
      ...{ textHashes: place(8, rows), references: place(8, candidates) },
      ...{ siteCodes: place(4, rows), generations: place(4, rows) },
      ...{ classNameCodes: place(4, rows), firstReference: place(4, rows + 1) },
      ...{ lines: place(4, rows), lineOffsets: place(4, rows), typeCodes: place(2, rows) },
    };
    const missing = free + slackBytes - wasm.memory.buffer.byteLength;
    if (missing > 0) wasm.memory.grow(Math.ceil(missing / pageBytes));
    const { buffer } = wasm.memory;
    const columns: ScanColumns = {
      ids: new Float64Array(buffer, at.ids, rows),
      classIds: new Float64Array(buffer, at.classIds, rows),
      sizes: new Float64Array(buffer, at.sizes, rows),
      textHashes: new Float64Array(buffer, at.textHashes, rows),
      references: new Float64Array(buffer, at.references, candidates),
      siteCodes: new Int32Array(buffer, at.siteCodes, rows),
      generations: new Int32Array(buffer, at.generations, rows),
      classNameCodes: new Int32Array(buffer, at.classNameCodes, rows),
      firstReference: new Uint32Array(buffer, at.firstReference, rows + 1),
      lines: new Int32Array(buffer, at.lines, rows),
      lineOffsets: new Uint32Array(buffer, at.lineOffsets, rows),
      typeCodes: new Uint16Array(buffer, at.typeCodes, rows),
    };
    wasm.setColumns(...Object.values(at));
    wasm.setBlock(blockAt);
    bytes = Buffer.from(buffer, blockAt, length + slackBytes);
    sink.useColumns(columns);
  }

  function takeCounts(): void {
    sink.objectCount = wasm.objectCount.value;
    sink.referenceCount = wasm.referenceCount.value;
  }

  function finishUnusual(kind: TypeKind, line: number): number {
    takeCounts();
    const { buffer } = wasm.memory;
    starts.set(new Int32Array(buffer, wasm.starts.value, keyCount));
    ends.set(new Int32Array(buffer, wasm.ends.value, keyCount));
    for (let key = 0; key < keyCount; key++) {
      if (starts[key] === -1) continue;
      starts[key] = (starts[key] as number) - blockAt;
      ends[key] = (ends[key] as number) - blockAt;
    }
    const typeCode = sink.typeCodes[sink.objectCount] as number;
    return finishRecord(bytes, sink, kind, line, typeCode) ? 1 : 0;
  }

  return {
    begin: (block, length) => {
      layOut(length);
      blockLength = length;
      bytes.set(block.subarray(0, length));
      bytes.fill(0x0a, length);
      return bytes.subarray(0, length + 1);
    },
    scanLines: (from, line) => {
      wasm.setCounts(sink.objectCount, sink.referenceCount, line);
      const at = wasm.scanLines(blockAt + from, blockAt + blockLength) - blockAt;
      takeCounts();
      return { at, line: wasm.line.value };
    },
    scanSpan: (start, end, { line, from }) => {
      wasm.setCounts(sink.objectCount, sink.referenceCount, line);
      const behind = wasm.scanRecord(blockAt + start, blockAt + end, blockAt + from);
      takeCounts();
      return behind !== 0;
    },
  };
}

function aligned(at: number): number {
  return (at + 15) & ~15;
}
