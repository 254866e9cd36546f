import { viewOf } from "./json-bytes.js";

/** The hash of a text that the plain path decoded: as dump_all escapes it. */
export function textHashOf(text: string): number {
  // Words are read where a text ends, too.
  const bytes = Buffer.from(`${JSON.stringify(text)}\n\n\n\n`);
  return textHash(bytes, 1, bytes.length - 5);
}

/**
 * 53 bits of two hashes, of the text as it is escaped, four bytes at a time. wasm/scan-records.ts has the same.
 *
 * @see MurmurHash3, for its multipliers
 */
function textHash(bytes: Buffer, from: number, to: number): number {
  const view = viewOf(bytes);
  let one = 0x811c9dc5 | 0;
  let two = to - from;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    const word = view.getInt32(at, true);
    one = Math.imul(one ^ word, 0x85ebca6b);
    one ^= one >>> 13;
    two = Math.imul(two ^ word, 0xcc9e2d51);
    two ^= two >>> 15;
  }
  for (; at < to; at++) {
    const byte = bytes[at] as number;
    one = Math.imul(one ^ byte, 0x01000193);
    two = Math.imul(two ^ byte, 0xc2b2ae35);
    two ^= two >>> 15;
  }
  return ((one ^ (one >>> 15)) >>> 0) * 0x20_0000 + ((two ^ (two >>> 13)) & 0x1f_ffff);
}
