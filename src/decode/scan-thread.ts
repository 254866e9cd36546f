import { parentPort, Worker, workerData } from "node:worker_threads";
import type { LineBlock } from "../../schemas/line-block.js";
import type { ScanBlock } from "../../schemas/scan-block.js";
import { lineFormats } from "./formats.js";
import type { LineFormat } from "./line-format.js";
import { createLineScanner, type LineFindings, type SealedBlock } from "./scan-lines.js";

/** A thread that scans blocks. */
export type ScanThread = {
  /** Blocks that it has not answered. */
  readonly blockCount: number;
  /** @param memory - where the block's bytes are: must stay as it is until the findings are there */
  scan(block: SealedBlock, memory: SharedArrayBuffer): Promise<LineFindings>;
  stop(): Promise<void>;
};

const bytesMax = (4 << 20) + 1;

/** Blocks in memory that threads share. */
export const sharedBlock = {
  bytesMax,
  hasRoomFor: ({ bytes }: LineBlock): boolean => bytes.length < bytesMax,
  /** Copies the block's lines, with a line feed behind them. */
  copyTo: (memory: SharedArrayBuffer, block: LineBlock): SealedBlock => {
    const { byteOffsetFirst, places } = block;
    const { length } = block.bytes;
    const bytes = Buffer.from(memory, 0, length + 1);
    bytes.set(block.bytes);
    bytes[length] = 0x0a;
    return {
      ...{ bytes, length, byteOffsetFirst },
      ...(places === undefined ? {} : { places }),
    };
  },
};

type Task = Omit<SealedBlock, "bytes"> & { readonly memory: SharedArrayBuffer };
type Start = { readonly scanFormat: string };

/** Starts a thread that scans lines of the format. */
export function startScanThread(format: LineFormat): ScanThread {
  const start: Start = { scanFormat: format.name };
  const worker = new Worker(new URL(import.meta.url), { workerData: start });
  const waiting: { resolve(findings: LineFindings): void; reject(error: unknown): void }[] = [];
  let failure: Error | undefined;
  worker.on("message", (findings: LineFindings) => waiting.shift()?.resolve(withBuffers(findings)));
  worker.on("error", fail);
  worker.on("exit", () => fail(new Error("a scanning thread ended")));

  function fail(error: Error): void {
    failure ??= error;
    for (const one of waiting.splice(0)) one.reject(failure);
  }

  return {
    get blockCount() {
      return waiting.length;
    },
    scan: ({ length, byteOffsetFirst, places }, memory) =>
      new Promise((resolve, reject) => {
        if (failure !== undefined) {
          reject(failure);
          return;
        }
        waiting.push({ resolve, reject });
        const task: Task = {
          ...{ memory, length, byteOffsetFirst },
          ...(places === undefined ? {} : { places }),
        };
        worker.postMessage(task);
      }),
    stop: async () => {
      await worker.terminate();
    },
  };
}

/** Buffers cross over as plain arrays of bytes. */
function withBuffers(findings: LineFindings): LineFindings {
  return {
    ...findings,
    rejects: findings.rejects.map((reject) => ({ ...reject, raw: Buffer.from(reject.raw) })),
  };
}

/** The thread's own side: answers each block in turn. */
function serve(port: NonNullable<typeof parentPort>, { scanFormat }: Start): void {
  const format = lineFormats.find(({ name }) => name === scanFormat);
  if (format === undefined) throw new Error(`no line format ${scanFormat}`);
  const scanner = createLineScanner(format, false);
  port.on("message", ({ memory, ...block }: Task) => {
    const found = scanner({ ...block, bytes: Buffer.from(memory, 0, block.length + 1) });
    const scan = copyOf(found.scan);
    const objectLines = found.objectLines.slice();
    const lineOffsets = found.lineOffsets.slice();
    const moved = [objectLines, lineOffsets, ...Object.values(scan)].flatMap((column: unknown) =>
      ArrayBuffer.isView(column) ? [column.buffer as ArrayBuffer] : [],
    );
    port.postMessage({ ...found, scan, objectLines, lineOffsets }, moved);
  });
}

/** Columns of their own: the scanner's are used again. */
function copyOf(scan: ScanBlock): ScanBlock {
  return {
    ...scan,
    ids: scan.ids.slice(),
    classIds: scan.classIds.slice(),
    sizes: scan.sizes.slice(),
    typeCodes: scan.typeCodes.slice(),
    siteCodes: scan.siteCodes.slice(),
    generations: scan.generations.slice(),
    classNameCodes: scan.classNameCodes.slice(),
    firstReference: scan.firstReference.slice(),
    ...(scan.textHashes === undefined ? {} : { textHashes: scan.textHashes.slice() }),
    references: scan.references.slice(),
    weak: scan.weak?.slice(),
    referenceNames: scan.referenceNames?.slice(),
  };
}

const start = workerData as Partial<Start> | null;
if (parentPort !== null && start?.scanFormat !== undefined) serve(parentPort, start as Start);
