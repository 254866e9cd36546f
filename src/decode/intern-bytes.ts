import { wordsOf, wordsStandAt, type Words } from "../word-bytes.js";
import { viewOf } from "./json-bytes.js";

/** Distinct short texts, numbered in the order of their first appearance. */
export type Interner = {
  /** The number of the text in bytes[start..end). The bytes must be valid UTF-8. */
  codeOfBytes(bytes: Buffer, start: number, end: number): number;
  /** The same for the inside of a JSON string; -1: it holds a backslash, the bytes are not the text. */
  codeOfPlain(bytes: Buffer, start: number, end: number): number;
  codeOf(text: string): number;
  readonly names: string[];
};

const recentMax = 8;
const recentBytesMax = 200;

/**
 * Numbers texts without making a string for each occurrence: types, files and class names repeat millions of times.
 *
 * Open addressing on a 32-bit FNV-1a hash; a hit is checked byte by byte.
 */
export function createInterner(): Interner {
  let mask = 255;
  let slots = new Int32Array(mask + 1).fill(-1);
  const hashes: number[] = [];
  const stored: Buffer[] = [];
  const names: string[] = [];

  function insert(hash: number, code: number): void {
    let slot = hash & mask;
    while (slots[slot] !== -1) slot = (slot + 1) & mask;
    slots[slot] = code;
  }

  function add(hash: number, bytes: Buffer): number {
    const code = stored.length;
    stored.push(bytes);
    names.push(bytes.toString("utf8"));
    hashes.push(hash);
    if (stored.length * 2 > mask) {
      mask = mask * 2 + 1;
      slots = new Int32Array(mask + 1).fill(-1);
      hashes.forEach((old, oldCode) => insert(old, oldCode));
    } else insert(hash, code);
    return code;
  }

  function codeOfBytes(bytes: Buffer, start: number, end: number): number {
    let hash = 0x811c9dc5 | 0;
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    hash ^= hash >>> 15;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const code = slots[slot] as number;
      if (code === -1) return add(hash, Buffer.from(bytes.subarray(start, end)));
      const candidate = stored[code] as Buffer;
      if (candidate.length !== end - start || hashes[code] !== hash) continue;
      let same = true;
      for (let at = 0; same && at < candidate.length; at++)
        same = candidate[at] === bytes[start + at];
      if (same) return code;
    }
  }

  /** Met lately, without a backslash, the usual one first. */
  const recent: { readonly words: Words; readonly code: number }[] = [];

  function codeOfPlain(bytes: Buffer, start: number, end: number): number {
    const view = viewOf(bytes);
    for (let index = 0; index < recent.length; index++) {
      const candidate = recent[index] as { readonly words: Words; readonly code: number };
      if (candidate.words.length !== end - start) continue;
      if (!wordsStandAt(candidate.words, view, start, bytes.length)) continue;
      if (index > 0) {
        recent[index] = recent[index - 1] as { readonly words: Words; readonly code: number };
        recent[index - 1] = candidate;
      }
      return candidate.code;
    }
    const text = bytes.subarray(start, end);
    for (let at = start; at < end; at++) if (bytes[at] === 0x5c) return -1;
    const code = codeOfBytes(bytes, start, end);
    if (text.length <= recentBytesMax) {
      recent.splice(recentMax - 1);
      recent.push({ words: wordsOf(text), code });
    }
    return code;
  }

  return {
    codeOfBytes,
    codeOfPlain,
    codeOf: (text) => {
      const bytes = Buffer.from(text, "utf8");
      return codeOfBytes(bytes, 0, bytes.length);
    },
    get names() {
      return names;
    },
  };
}
