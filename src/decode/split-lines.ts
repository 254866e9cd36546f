import type { HeapdumpError } from "../errors.js";
import type { LineBlock } from "../../schemas/line-block.js";
import { untilDamage } from "./until-damage.js";

export type SplitOptions = {
  /** Blocks are about this large, more where a line is. Unit: bytes. */
  readonly blockBytes?: number;
  /** A longer line is skipped and told of. Unit: bytes. */
  readonly lineBytesMax?: number;
};

/** As long as a document may ever be made of, and below the longest Buffer. */
export const lineBytesMaxDefault = 0x2000_0000 - 1;
/** Large enough that a block's overhead is nothing, small enough to stay in the processor's cache. */
const blockBytesDefault = 2 << 20;
const headBytes = 1024;

/**
 * Cuts a dump into blocks of whole lines. A byte order mark at the start is skipped.
 *
 * Holds one block, or one line where that is longer.
 */
export async function* lineBlocks(
  chunks: AsyncIterable<Buffer>,
  options: SplitOptions = {},
): AsyncGenerator<LineBlock> {
  const blockBytes = options.blockBytes ?? blockBytesDefault;
  const lineBytesMax = options.lineBytesMax ?? lineBytesMaxDefault;
  let parts: Buffer[] = [];
  let held = 0;
  let byteOffset = 0;
  let first = true;
  /** Bytes of a line above the limit that were let go. */
  let skipped = 0;
  let skippedHead = Buffer.alloc(0);

  function blockOf(bytes: Buffer): LineBlock {
    const block = { bytes, byteOffsetFirst: byteOffset };
    byteOffset += bytes.length;
    return block;
  }

  function endOfTooLong(): LineBlock {
    const block: LineBlock = {
      bytes: Buffer.alloc(0),
      byteOffsetFirst: byteOffset,
      tooLong: { byteOffset, lineBytes: skipped, head: skippedHead },
    };
    byteOffset += skipped;
    skipped = 0;
    return block;
  }

  /** Damage further on does not cost what came before it: it is told behind that. */
  let damage: HeapdumpError | undefined;
  for await (const chunk of withoutMark(untilDamage(chunks, (error) => (damage = error)))) {
    if (first) byteOffset = chunk.markBytes;
    first = false;
    let rest = chunk.bytes;
    if (skipped > 0) {
      const feed = rest.indexOf(0x0a);
      if (feed < 0) {
        skipped += rest.length;
        continue;
      }
      skipped += feed + 1;
      yield endOfTooLong();
      rest = rest.subarray(feed + 1);
    }
    parts.push(rest);
    held += rest.length;
    if (held < blockBytes) continue;
    const last = rest.lastIndexOf(0x0a);
    if (last < 0) {
      if (held <= lineBytesMax) continue;
      const bytes = Buffer.concat(parts);
      const start = bytes.lastIndexOf(0x0a) + 1;
      if (start > 0) yield blockOf(bytes.subarray(0, start));
      skippedHead = Buffer.from(bytes.subarray(start, start + headBytes));
      skipped = bytes.length - start;
      parts = [];
      held = 0;
      continue;
    }
    const tail = rest.subarray(last + 1);
    parts[parts.length - 1] = rest.subarray(0, last + 1);
    const [only] = parts;
    const bytes = parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
    yield* withoutTooLong(bytes, lineBytesMax, blockOf, (line) => {
      skippedHead = Buffer.from(line.subarray(0, headBytes));
      skipped = line.length;
      return endOfTooLong();
    });
    parts = tail.length > 0 ? [tail] : [];
    held = tail.length;
  }
  if (skipped > 0) yield endOfTooLong();
  if (held > 0) yield blockOf(Buffer.concat(parts));
  if (damage !== undefined) throw damage;
}

/** A line that arrived whole, but above the limit. */
function* withoutTooLong(
  bytes: Buffer,
  lineBytesMax: number,
  blockOf: (bytes: Buffer) => LineBlock,
  tooLong: (line: Buffer) => LineBlock,
): Generator<LineBlock> {
  if (bytes.length <= lineBytesMax) {
    yield blockOf(bytes);
    return;
  }
  let from = 0;
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0x0a, at) + 1;
    if (end - at > lineBytesMax) {
      if (at > from) yield blockOf(bytes.subarray(from, at));
      yield tooLong(bytes.subarray(at, end));
      from = end;
    }
    at = end;
  }
  if (from < bytes.length) yield blockOf(bytes.subarray(from));
}

/** Line feeds in the bytes. */
export function countLines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) count++;
  return count;
}

/** The chunks without a UTF-8 byte order mark in front, however they are cut. */
async function* withoutMark(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<{ bytes: Buffer; markBytes: number }> {
  const mark = Buffer.from([0xef, 0xbb, 0xbf]);
  let start: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of chunks) {
    if (start === undefined) {
      yield { bytes: chunk, markBytes: 0 };
      continue;
    }
    start = start.length === 0 ? chunk : Buffer.concat([start, chunk]);
    if (start.length < mark.length && mark.subarray(0, start.length).equals(start)) continue;
    const marked = start.subarray(0, mark.length).equals(mark);
    yield marked
      ? { bytes: start.subarray(mark.length), markBytes: mark.length }
      : { bytes: start, markBytes: 0 };
    start = undefined;
  }
  if (start !== undefined && start.length > 0) yield { bytes: start, markBytes: 0 };
}

/** Reads the next bytes of a file into the buffer; 0 at its end. */
export type ReadInto = (buffer: Buffer, offset: number, length: number) => Promise<number>;

/**
 * `lineBlocks` for a file that can be read into one buffer over and over: no chunk is allocated, none is copied but
 * the rest of a line. A block's bytes are valid until the next block is asked for.
 */
export async function* lineBlocksOfFile(
  readInto: ReadInto,
  options: SplitOptions = {},
): AsyncGenerator<LineBlock> {
  const lineBytesMax = options.lineBytesMax ?? lineBytesMaxDefault;
  let buffer = Buffer.allocUnsafeSlow(2 * (options.blockBytes ?? blockBytesDefault));
  let held = 0;
  let byteOffset = 0;
  let first = true;
  for (;;) {
    const length = await readInto(buffer, held, buffer.length - held);
    held += length;
    let start = 0;
    if (first && held >= 3 && buffer.readUIntBE(0, 3) === 0xefbbbf) start = 3;
    byteOffset += start;
    if (held >= 3) first = false;
    const ended = length === 0;
    const end = ended ? held : buffer.lastIndexOf(0x0a, held - 1) + 1;
    if (end > start) {
      const bytes = buffer.subarray(start, end);
      yield { bytes, byteOffsetFirst: byteOffset };
      byteOffset += bytes.length;
      buffer.copyWithin(0, end, held);
      held -= end;
    } else if (start > 0) {
      buffer.copyWithin(0, start, held);
      held -= start;
    }
    if (ended) return;
    if (held < buffer.length) continue;
    if (held > lineBytesMax) {
      const skipped = await skipLine(buffer, held, readInto);
      yield {
        bytes: Buffer.alloc(0),
        byteOffsetFirst: byteOffset,
        tooLong: { byteOffset, lineBytes: skipped.lineBytes, head: skipped.head },
      };
      byteOffset += skipped.lineBytes;
      held = skipped.rest;
      continue;
    }
    // A line longer than the buffer.
    const bigger = Buffer.allocUnsafeSlow(Math.min(buffer.length * 2, lineBytesMax + 1));
    buffer.copy(bigger, 0, 0, held);
    buffer = bigger;
  }
}

/** Reads on to the end of a line that is too long; what stands behind it goes to the buffer's start. */
async function skipLine(
  buffer: Buffer,
  held: number,
  readInto: ReadInto,
): Promise<{ lineBytes: number; head: Buffer; rest: number }> {
  const head = Buffer.from(buffer.subarray(0, headBytes));
  let lineBytes = held;
  for (;;) {
    const length = await readInto(buffer, 0, buffer.length);
    if (length === 0) return { lineBytes, head, rest: 0 };
    const feed = buffer.subarray(0, length).indexOf(0x0a);
    if (feed < 0) {
      lineBytes += length;
      continue;
    }
    buffer.copyWithin(0, feed + 1, length);
    return { lineBytes: lineBytes + feed + 1, head, rest: length - feed - 1 };
  }
}
