import { statfs } from "node:fs/promises";
import { HeapdumpError } from "../errors.js";

/**
 * What a dump takes on disk, for each byte of used heap: V8's snapshot, and the converted lines beside it until the
 * snapshot is removed. Measured by bench/producer-pause.ts, rounded up.
 */
const snapshotBytesPerHeapByte = 3;
const linesBytesPerHeapByte = 6;

/** The space a dump of `heapBytes` may need. */
export function dumpBytesMax(heapBytes: number, converts: boolean): number {
  return heapBytes * (snapshotBytesPerHeapByte + (converts ? linesBytesPerHeapByte : 0));
}

/** @throws {HeapdumpError} `capture/no-space` when the folder's disk has fewer than `bytes` free for us */
export async function ensureSpace(folder: string, bytes: number): Promise<void> {
  const disk = await statfs(folder).catch((error: unknown) => {
    throw new HeapdumpError("capture/no-space", `${folder}: no such folder`, { cause: error });
  });
  const free = disk.bavail * disk.bsize;
  if (free < bytes) {
    throw new HeapdumpError(
      "capture/no-space",
      `${folder} has ${mebibytes(free)} MiB free, the dump may need ${mebibytes(bytes)} MiB`,
    );
  }
}

const mebibytes = (bytes: number): number => Math.ceil(bytes / 1_048_576);
