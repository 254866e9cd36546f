import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as zlib from "node:zlib";
import { HeapdumpError } from "../../src/errors.js";

/**
 * Writes a dump's bytes to `file`, compressed as its name says (`.gz`, `.zst`): 0600, under a temporary name until it
 * is whole and on the disk.
 *
 * @returns the file's size in bytes
 * @throws {HeapdumpError} `capture/no-space`; `usage/bad-option` for `.zst` where nothing here can write it
 */
export async function writeDump(
  source: AsyncIterable<Uint8Array>,
  file: string,
  signal?: AbortSignal,
): Promise<number> {
  const path = resolve(file);
  const part = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.part`);
  const output = await open(part, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    throw new HeapdumpError("capture/failed", `${path} cannot be written: ${error.code}`, {
      cause: error,
    });
  });
  try {
    const target = output.createWriteStream({ flush: true, highWaterMark: 1 << 20 });
    const compressor = await compressorOf(path);
    const input = Readable.from(source, { objectMode: false, highWaterMark: 1 << 20 });
    const options = signal === undefined ? {} : { signal };
    if (compressor === undefined) await pipeline(input, target, options);
    else await pipeline(input, compressor, target, options);
    await rename(part, path);
    return (await stat(path)).size;
  } catch (error) {
    signal?.throwIfAborted();
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") {
      throw new HeapdumpError("capture/no-space", `${path}: the disk is full`, { cause: error });
    }
    throw error;
  } finally {
    await output.close().catch(() => undefined);
    await rm(part, { force: true });
  }
}

/** Fast levels: a dump shrinks to a tenth at any of them. */
const gzipLevel = 3;

async function compressorOf(path: string): Promise<Duplex | undefined> {
  if (path.endsWith(".gz")) return zlib.createGzip({ level: gzipLevel });
  if (!path.endsWith(".zst")) return undefined;
  // Node has it since 22.15; before, the program of that name.
  const native = (zlib as { createZstdCompress?: () => Duplex }).createZstdCompress;
  return native === undefined ? zstdProgram() : native();
}

async function zstdProgram(): Promise<Duplex> {
  const child = spawn("zstd", ["-q", "-c"], { stdio: ["pipe", "pipe", "ignore"] });
  await new Promise<void>((done, failed) => {
    child.once("spawn", done);
    child.once("error", failed);
  }).catch((error: unknown) => {
    throw new HeapdumpError(
      "usage/bad-option",
      ".zst: this Node cannot write it and no zstd is on PATH; use .gz",
      { cause: error },
    );
  });
  return Duplex.from({ writable: child.stdin, readable: child.stdout });
}
