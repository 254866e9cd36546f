import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, open, rm, stat, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as zlib from "node:zlib";
import { Decompress } from "fzstd";
import { HeapdumpError } from "../errors.js";
import { combinedCrc32 } from "./crc32-combine.js";
import type { ReadInto } from "./split-lines.js";

/** A dump file, however it is compressed or reached. */
export type DumpSource = {
  /** As given; "-" for standard input. */
  readonly path: string;
  /** The file's name without its extensions; "stdin" for standard input. */
  readonly name: string;
  readonly compression: "none" | "gzip" | "zstd";
  readonly bytesOnDisk: number;
  readonly modifiedAt: Date;
  /** The first bytes, decompressed: 64 KiB at most. */
  readonly firstBytes: Buffer;
  /**
   * The whole dump, decompressed; may be read several times. What was whole before damage is given before the error.
   *
   * @throws {HeapdumpError} `decode/corrupt` when the compressed data is cut or damaged; `decode/changed` at the end
   * of a pass that met other bytes than the first one
   */
  chunks(options?: { signal?: AbortSignal | undefined }): AsyncGenerator<Buffer>;
  /**
   * Reads an uncompressed file from its start into the caller's memory, call by call; 0 at its end. Undefined where
   * the file is compressed. Throws as `chunks` does.
   */
  readInto(options?: { signal?: AbortSignal | undefined }): ReadInto | undefined;
  /**
   * Reads an uncompressed file again in pieces, in any order. When all are read they must be, together, what the first
   * pass met. Undefined where the file is compressed.
   */
  pieces(options?: { signal?: AbortSignal | undefined }): DumpPieces | undefined;
  /** Bytes of the file that the last `chunks()` has read. */
  bytesRead(): number;
  /** Size and checksum of the bytes on disk: tells a changed file. Known once `chunks()` has run to its end. */
  fingerprint(): string | undefined;
  /**
   * @throws {HeapdumpError} `decode/changed` when the file is not the one that was opened, by its size and times
   */
  mustBeUnchanged(): Promise<void>;
  /** Removes the spool of standard input. */
  close(): Promise<void>;
};

/**
 * Reads the next piece at a place of the file. Gives how long it is.
 *
 * @param cut - it ends behind a line: the rest of the bytes that were read is another piece's. 0: no line ends in it
 * @throws {HeapdumpError} `decode/changed` when the file ends before
 */
export type ReadPiece = (
  buffer: Buffer,
  position: number,
  length: number,
  cut: boolean,
) => Promise<number>;

export type DumpPieces = {
  readonly read: ReadPiece;
  /** @throws {HeapdumpError} `decode/changed` when the pieces were not those of the first pass */
  end(): Promise<void>;
};

export type OpenOptions = {
  /** Where standard input is kept: it is read twice. Default: the system's folder for temporary files. */
  readonly spoolFolder?: string | undefined;
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** Reads of this size keep the disk busy without holding much. Unit: bytes. */
const readBytes = 1 << 20;
/** What stands in a piece when damage is met is lost: small pieces, little loss. Unit: bytes. */
const inflatedBytes = 32 << 10;
/** What it is fed with at a time: a piece is held with all that it becomes. Unit: bytes. */
const deflatedBytes = 64 << 10;
const firstBytesMax = 64 * 1024;
const gzipMagic = Buffer.from([0x1f, 0x8b]);
const zstdMagic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);

/**
 * Opens a dump: a file, or "-" for standard input, which is spooled to a private file because it is read twice.
 *
 * Compression is told from the content, not from the name.
 *
 * @throws {HeapdumpError} `decode/no-input` when there is no such file or it is none; `decode/spool` when standard
 * input cannot be kept
 */
export async function openSource(path: string, options: OpenOptions = {}): Promise<DumpSource> {
  if (path === "-") return openSpooled(options);
  return openFile(path, path, nameOf(path), options, () => Promise.resolve());
}

/** `app` for `/var/dumps/app.json.gz`. */
function nameOf(path: string): string {
  const name = basename(path);
  const bare = name.replace(/(\.(json|ndjson|jsonl|heapsnapshot|dump|gz|gzip|zst|zstd))+$/i, "");
  return bare === "" ? name : bare;
}

async function openSpooled(options: OpenOptions): Promise<DumpSource> {
  const spoolFolder = options.spoolFolder ?? tmpdir();
  let folder: string | undefined;
  const close = async (): Promise<void> => {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  };
  try {
    folder = await mkdtemp(join(spoolFolder, "heapdump-spool-"));
    const file = join(folder, "stdin");
    const input = Readable.from(options.stdin ?? process.stdin);
    const sink = createWriteStream(file, { mode: 0o600 });
    await pipeline(input, sink, options.signal === undefined ? {} : { signal: options.signal });
    return await openFile(file, "-", "stdin", options, close);
  } catch (error) {
    await close();
    if (options.signal?.aborted === true) throw options.signal.reason;
    if (error instanceof HeapdumpError) throw error;
    throw new HeapdumpError(
      "decode/spool",
      `cannot keep standard input in ${spoolFolder}: ${spoolReasonOf(error)}`,
      {
        cause: error,
      },
    );
  }
}

async function openFile(
  file: string,
  path: string,
  name: string,
  options: OpenOptions,
  close: () => Promise<void>,
): Promise<DumpSource> {
  const { size, modifiedAt, head } = await lookAt(file, path);
  const compression = head.subarray(0, 2).equals(gzipMagic)
    ? "gzip"
    : head.subarray(0, 4).equals(zstdMagic)
      ? "zstd"
      : "none";
  let bytesRead = 0;
  let fingerprint: string | undefined;
  let reading: FileHandle | undefined;

  async function* onDisk(signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
    // Of this pass alone: an earlier one that was given up may still be ending.
    let passBytes = (bytesRead = 0);
    let checksum = newChecksum();
    const stream = createReadStream(file, {
      highWaterMark: readBytes,
      ...(signal === undefined ? {} : { signal }),
    });
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        bytesRead = passBytes += chunk.length;
        checksum = checksum.with(chunk);
        yield chunk;
      }
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      throw new HeapdumpError("decode/no-input", `${path}: cannot be read: ${reasonOf(error)}`, {
        cause: error,
      });
    }
    passed(`${passBytes}-${checksum.text()}`);
  }

  /** Keeps what the first whole pass met; every other one must meet the same. */
  function passed(found: string): void {
    fingerprint ??= found;
    if (found !== fingerprint) throw changed(path);
  }

  function readInto(readOptions: { signal?: AbortSignal | undefined } = {}): ReadInto | undefined {
    if (compression !== "none") return undefined;
    const signal = readOptions.signal ?? options.signal;
    bytesRead = 0;
    let checksum = newChecksum();
    let handle: FileHandle | undefined;
    return async (buffer, offset, length) => {
      try {
        signal?.throwIfAborted();
        if (handle === undefined) {
          // A pass that was given up leaves its handle: one is open at a time.
          await reading?.close().catch(() => undefined);
          reading = handle = await open(file, "r");
        }
        const { bytesRead: count } = await handle.read(buffer, offset, length, bytesRead);
        bytesRead += count;
        checksum = checksum.with(buffer.subarray(offset, offset + count));
        if (count > 0) return count;
        await handle.close();
        passed(`${bytesRead}-${checksum.text()}`);
        return 0;
      } catch (error) {
        await handle?.close().catch(() => undefined);
        throw failedRead(error, path, signal);
      }
    };
  }

  function pieces(pieceOptions: { signal?: AbortSignal | undefined } = {}): DumpPieces | undefined {
    if (compression !== "none" || crc32 === undefined) return undefined;
    const checksumOf = crc32;
    const signal = pieceOptions.signal ?? options.signal;
    const met: { position: number; length: number; checksum: number }[] = [];
    const handleOf = async (): Promise<FileHandle> => {
      // As for a pass: one handle is open at a time.
      if (met.length > 0 && reading !== undefined) return reading;
      await reading?.close().catch(() => undefined);
      return (reading = await open(file, "r"));
    };
    return {
      read: async (buffer, position, length, cut) => {
        try {
          signal?.throwIfAborted();
          const handle = await handleOf();
          for (let at = 0; at < length;) {
            const { bytesRead: count } = await handle.read(buffer, at, length - at, position + at);
            if (count === 0) throw changed(path);
            at += count;
          }
          const end = cut ? buffer.lastIndexOf(0x0a, length - 1) + 1 : length;
          if (end > 0) {
            met.push({ position, length: end, checksum: checksumOf(buffer.subarray(0, end)) });
          }
          return end;
        } catch (error) {
          throw failedRead(error, path, signal);
        }
      },
      end: async () => {
        let total = 0;
        let checksum = 0;
        for (const piece of met.sort((one, two) => one.position - two.position)) {
          if (piece.position !== total) throw changed(path);
          checksum = combinedCrc32(checksum, piece.checksum, piece.length);
          total += piece.length;
        }
        try {
          const handle = await handleOf();
          const { bytesRead: more } = await handle.read(Buffer.alloc(1), 0, 1, total);
          if (more > 0) throw changed(path);
          await handle.close();
        } catch (error) {
          throw failedRead(error, path, signal);
        }
        passed(`${total}-${textOfCrc32(checksum)}`);
      },
    };
  }

  async function* chunks(
    chunkOptions: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<Buffer> {
    const raw = onDisk(chunkOptions.signal ?? options.signal);
    if (compression === "none") yield* raw;
    else yield* decompressed(raw, compression, path);
  }

  const source = {
    path,
    name,
    compression,
    bytesOnDisk: size,
    modifiedAt,
    chunks,
    readInto,
    pieces,
    bytesRead: () => bytesRead,
    fingerprint: () => fingerprint,
    mustBeUnchanged: async () => {
      const now = await stat(file).catch(() => undefined);
      if (now?.size !== size || now.mtime.getTime() !== modifiedAt.getTime()) throw changed(path);
    },
    close: async () => {
      await reading?.close().catch(() => undefined);
      await close();
    },
  } as const;
  return { ...source, firstBytes: compression === "none" ? head : await firstOf(chunks()) };
}

/** What a read that failed is told as. */
function failedRead(error: unknown, path: string, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (error instanceof HeapdumpError) return error;
  return new HeapdumpError("decode/no-input", `${path}: cannot be read: ${reasonOf(error)}`, {
    cause: error,
  });
}

function changed(path: string): HeapdumpError {
  return new HeapdumpError("decode/changed", `${path}: was changed while it was imported`);
}

async function lookAt(
  file: string,
  path: string,
): Promise<{ size: number; modifiedAt: Date; head: Buffer }> {
  try {
    const status = await stat(file);
    if (status.isDirectory()) {
      throw new HeapdumpError("decode/no-input", `${path}: is a folder, not a dump`);
    }
    if (!status.isFile()) {
      throw new HeapdumpError("decode/no-input", `${path}: is no regular file; pipe it to "-"`);
    }
    const handle = await open(file, "r");
    try {
      const head = Buffer.alloc(Math.min(firstBytesMax, status.size));
      const { bytesRead } = await handle.read(head, 0, head.length, 0);
      return { size: status.size, modifiedAt: status.mtime, head: head.subarray(0, bytesRead) };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof HeapdumpError) throw error;
    throw new HeapdumpError("decode/no-input", `${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** The first bytes, as far as they can be decompressed. */
async function firstOf(chunks: AsyncGenerator<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of chunks) {
      parts.push(chunk);
      length += chunk.length;
      if (length >= firstBytesMax) break;
    }
  } catch (error) {
    // Damage further on is told when the dump is read.
    if (!(error instanceof HeapdumpError) || length === 0) throw error;
  }
  return Buffer.concat(parts).subarray(0, firstBytesMax);
}

/** What was whole comes first, then the error. */
async function* decompressed(
  raw: AsyncGenerator<Buffer>,
  compression: "gzip" | "zstd",
  path: string,
): AsyncGenerator<Buffer> {
  const damaged = (error: unknown): HeapdumpError =>
    new HeapdumpError(
      "decode/corrupt",
      `${path}: the ${compression} data is cut or damaged (${reasonOf(error)}); what stood before is whole`,
      { cause: error },
    );
  if (compression === "zstd" && !("createZstdDecompress" in zlib)) {
    yield* unzstd(raw, damaged);
    return;
  }
  const create =
    compression === "gzip"
      ? zlib.createGunzip
      : (zlib as unknown as { createZstdDecompress: typeof zlib.createGunzip })
          .createZstdDecompress;
  const inflate = create({ chunkSize: inflatedBytes });
  // Into an array, not from the stream's buffer: a stream that fails forgets what was not read yet, and how much that is
  // would depend on how fast the reader is. Both passes must get the same.
  let ready: Buffer[] = [];
  inflate.on("data", (chunk: Buffer) => ready.push(chunk));
  const ended = new Promise<void>((resolve, reject) => {
    inflate.once("end", resolve).once("error", reject);
  });
  ended.catch(() => undefined); // Told where it is waited for.
  let fault: unknown;
  const until = async (fed: Promise<void>): Promise<Buffer[]> => {
    await Promise.race([fed, ended]).catch((error: unknown) => (fault ??= error));
    const whole = ready;
    ready = [];
    return whole;
  };
  try {
    for await (const chunk of raw) {
      for (let at = 0; at < chunk.length && !inflate.readableEnded; at += deflatedBytes) {
        const piece = chunk.subarray(at, at + deflatedBytes);
        yield* await until(new Promise((done) => inflate.write(piece, () => done())));
        if (fault !== undefined) throw damaged(fault);
      }
    }
    inflate.end();
    yield* await until(ended);
    if (fault !== undefined) throw damaged(fault);
  } finally {
    inflate.destroy();
  }
}

/** On Node before 22.15, which has no zstd of its own. */
async function* unzstd(
  raw: AsyncGenerator<Buffer>,
  damaged: (error: unknown) => HeapdumpError,
): AsyncGenerator<Buffer> {
  let ready: Buffer[] = [];
  const decompress = new Decompress((chunk) => {
    if (chunk.length > 0) ready.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
  });
  let fault: unknown;
  const push = (chunk: Uint8Array, last: boolean): void => {
    try {
      decompress.push(chunk, last);
    } catch (error) {
      fault = error;
    }
  };
  for await (const chunk of raw) {
    push(chunk, false);
    // The library reuses its window: what it gave must be copied before the next push.
    for (const part of ready) yield Buffer.from(part);
    ready = [];
    if (fault !== undefined) throw damaged(fault);
  }
  push(new Uint8Array(0), true);
  for (const part of ready) yield Buffer.from(part);
  if (fault !== undefined) throw damaged(fault);
}

type Checksum = { with(chunk: Buffer): Checksum; text(): string };

/** Where Node has it (20.15 and 22.2 on): several gigabytes a second. */
const { crc32 } = zlib as { crc32?: (data: Buffer, value?: number) => number };

function textOfCrc32(value: number): string {
  return value.toString(16).padStart(8, "0");
}

/** crc32, else SHA-1. */
function newChecksum(): Checksum {
  if (crc32 === undefined) {
    const hash = createHash("sha1");
    const checksum: Checksum = {
      with: (chunk) => {
        hash.update(chunk);
        return checksum;
      },
      text: () => hash.copy().digest("hex"),
    };
    return checksum;
  }
  const from = (value: number): Checksum => ({
    with: (chunk) => from(crc32(chunk, value)),
    text: () => textOfCrc32(value),
  });
  return from(0);
}

function spoolReasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EACCES" || code === "EPERM") return "it may not be written by this user";
  if (code === "ENOTDIR") return "it is no folder";
  return reasonOf(error);
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "there is no such file or folder";
  if (code === "EACCES" || code === "EPERM") return "it may not be read by this user";
  if (code === "ENOSPC") return "the disk is full";
  if (code === "EROFS") return "the disk is read-only";
  return message;
}
