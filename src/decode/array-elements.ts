import type { LineBlock } from "../../schemas/line-block.js";

/** A block is closed at this size. Unit: bytes. */
const blockBytes = 2 << 20;
const quote = 0x22;
const backslash = 0x5c;

/**
 * Takes apart a JSON array of any layout: each element becomes one line of the block, with its place in the dump.
 *
 * Only strings and brackets are looked at, so the bytes stay exact (numbers, escapes, broken text), and an element
 * that is no JSON is told of by the record decoder and costs no other. Line feeds between tokens become blanks.
 */
export async function* arrayElementBlocks(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<LineBlock> {
  let out = Buffer.allocUnsafe(blockBytes * 2);
  let length = 0;
  let lineNumbers: number[] = [];
  let byteOffsets: number[] = [];
  let depth = 0;
  let inString = false;
  let escaped = false;
  /** Whether an element has begun. */
  let open = false;
  let lineNumber = 1;
  let byteOffset = 0;
  let opened = false;

  function put(byte: number): void {
    if (length === out.length) {
      const bigger = Buffer.allocUnsafe(length * 2);
      out.copy(bigger, 0, 0, length);
      out = bigger;
    }
    out[length++] = byte;
  }

  function close(): void {
    if (open) put(0x0a);
    open = false;
  }

  function take(): LineBlock {
    const block = {
      bytes: out.subarray(0, length),
      lineNumberFirst: lineNumbers[0] ?? lineNumber,
      byteOffsetFirst: byteOffsets[0] ?? byteOffset,
      places: {
        lineNumbers: Float64Array.from(lineNumbers),
        byteOffsets: Float64Array.from(byteOffsets),
      },
    };
    out = Buffer.allocUnsafe(blockBytes * 2);
    length = 0;
    lineNumbers = [];
    byteOffsets = [];
    return block;
  }

  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      const isBlank = byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === 0x0a;
      if (inString) {
        // A line feed in a string is no JSON: as a blank it would be. The record decoder must see it.
        put(byte === 0x0a ? 0x01 : byte);
        if (escaped) escaped = false;
        else if (byte === backslash) escaped = true;
        else if (byte === quote) inString = false;
      } else if (isBlank) {
        if (open) put(0x20);
      } else if (byte === 0x5b && !opened) {
        opened = true;
      } else if (depth === 0 && byte === 0x2c) close();
      else if (depth === 0 && byte === 0x5d) close();
      else {
        if (!open) {
          open = true;
          lineNumbers.push(lineNumber);
          byteOffsets.push(byteOffset + at);
        }
        put(byte);
        if (byte === quote) inString = true;
        else if (byte === 0x7b || byte === 0x5b) depth++;
        else if ((byte === 0x7d || byte === 0x5d) && depth > 0) depth--;
      }
      if (byte === 0x0a) lineNumber++;
      if (length >= blockBytes && !open) yield take();
    }
    byteOffset += chunk.length;
  }
  if (open) put(0x0a);
  if (length > 0) yield take();
}
