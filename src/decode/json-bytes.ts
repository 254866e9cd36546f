import { escaped, escapedCodePoint, hexDigit, putCodePoint } from "./parse-json.js";

/**
 * Steps over JSON bytes for the fast path. Each takes the place of a first byte and gives the place behind the last
 * one, or -1: "not ordinary", which sends the record to the plain path. Only what is ordinary must be right here.
 *
 * A byte below 0x20 must follow the text (the line feed): that is what ends every loop, so that none checks bounds.
 */

let viewed: Uint8Array | undefined;
let viewOfViewed: DataView = new DataView(new ArrayBuffer(0));

/** Words of the bytes. Made once for a block: all its records ask for it. */
export function viewOf(bytes: Uint8Array): DataView {
  if (bytes !== viewed) {
    viewed = bytes;
    viewOfViewed = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  return viewOfViewed;
}

/** Instead of a record's end: it goes as far as its line. */
export const atLineEnd = -1;

/** Whether the record that was read up to `at` ends there. A record of the fast path holds no line feed. */
export function endsAt(bytes: Uint8Array, at: number, end: number): boolean {
  if (end !== atLineEnd) return at === end;
  return bytes[at] === 0x0a || (bytes[at] === 0x0d && bytes[at + 1] === 0x0a);
}

/** Behind blanks. */
export function skipBlank(bytes: Uint8Array, at: number): number {
  let next = at;
  while (bytes[next] === 0x20 || bytes[next] === 0x09) next++;
  return next;
}

/**
 * Whether none of four bytes ends or interrupts plain text: quote, backslash, control character, beyond ASCII.
 * @see Sean Eron Anderson, Bit Twiddling Hacks, "Determine if a word has a byte less than n"
 */
function isPlainWord(word: number): boolean {
  const quote = word ^ 0x22222222;
  const backslash = word ^ 0x5c5c5c5c;
  return (
    ((word |
      (word - 0x20202020) |
      ((quote - 0x01010101) & ~quote) |
      ((backslash - 0x01010101) & ~backslash)) &
      0x80808080) ===
    0
  );
}

/** A string, from behind its opening quote. */
export function skipString(bytes: Uint8Array, at: number): number {
  const view = viewOf(bytes);
  const lastWord = bytes.length - 4;
  let next = at;
  for (;;) {
    while (next <= lastWord && isPlainWord(view.getInt32(next, true))) next += 4;
    const byte = bytes[next++] as number;
    if (byte === 0x22) return next;
    if (byte >= 0x20 && byte < 0x80 && byte !== 0x5c) continue;
    if (byte < 0x20) return -1;
    next = byte === 0x5c ? skipEscape(bytes, next) : skipUtf8(bytes, next, byte);
    if (next < 0) return -1;
  }
}

/** An escape, from behind its backslash. A lone surrogate is not ordinary. */
function skipEscape(bytes: Uint8Array, at: number): number {
  const letter = bytes[at] as number;
  if (letter !== 0x75) return escaped(letter) < 0 ? -1 : at + 1;
  for (let digit = 1; digit <= 4; digit++) {
    if (hexDigit(bytes[at + digit] as number) < 0) return -1;
  }
  const point = escapedCodePoint(bytes, at - 1);
  if (point >= 0xd800 && point < 0xe000) return -1;
  if (point < 0x10000) return at + 5;
  for (let digit = 7; digit <= 10; digit++) {
    if (hexDigit(bytes[at + digit] as number) < 0) return -1;
  }
  return at + 11;
}

/** The rest of a character of several bytes, from behind its first byte. @see RFC 3629, section 4 */
function skipUtf8(bytes: Uint8Array, at: number, first: number): number {
  const second = bytes[at] as number;
  if (first < 0xc2) return -1;
  if (first < 0xe0) return (second & 0xc0) === 0x80 ? at + 1 : -1;
  const third = bytes[at + 1] as number;
  if (first < 0xf0) {
    if ((second & 0xc0) !== 0x80 || (third & 0xc0) !== 0x80) return -1;
    if (first === 0xe0 && second < 0xa0) return -1;
    return first === 0xed && second > 0x9f ? -1 : at + 2;
  }
  if (first > 0xf4) return -1;
  const fourth = bytes[at + 2] as number;
  if ((second & 0xc0) !== 0x80 || (third & 0xc0) !== 0x80 || (fourth & 0xc0) !== 0x80) return -1;
  if (first === 0xf0 && second < 0x90) return -1;
  return first === 0xf4 && second > 0x8f ? -1 : at + 3;
}

/** A number, checked by the grammar of RFC 8259. */
export function skipNumber(bytes: Uint8Array, at: number): number {
  let next = at;
  if (bytes[next] === 0x2d) next++;
  if (bytes[next] === 0x30) next++;
  else {
    const from = next;
    next = skipDigits(bytes, next);
    if (next === from) return -1;
  }
  if (bytes[next] === 0x2e) {
    const from = next + 1;
    next = skipDigits(bytes, from);
    if (next === from) return -1;
  }
  if (bytes[next] === 0x65 || bytes[next] === 0x45) {
    next++;
    if (bytes[next] === 0x2b || bytes[next] === 0x2d) next++;
    const from = next;
    next = skipDigits(bytes, from);
    if (next === from) return -1;
  }
  return next;
}

export function skipDigits(bytes: Uint8Array, at: number): number {
  let next = at;
  while ((bytes[next] as number) >= 0x30 && (bytes[next] as number) <= 0x39) next++;
  return next;
}

/** `true`, `false` or `null`. */
export function skipWord(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  if (first === 0x74) {
    return bytes[at + 1] === 0x72 && bytes[at + 2] === 0x75 && bytes[at + 3] === 0x65 ? at + 4 : -1;
  }
  if (first === 0x6e) {
    return bytes[at + 1] === 0x75 && bytes[at + 2] === 0x6c && bytes[at + 3] === 0x6c ? at + 4 : -1;
  }
  return first === 0x66 &&
    bytes[at + 1] === 0x61 &&
    bytes[at + 2] === 0x6c &&
    bytes[at + 3] === 0x73 &&
    bytes[at + 4] === 0x65
    ? at + 5
    : -1;
}

/** Nesting that the fast path follows: far below what the plain path allows, far above what real dumps hold. */
export const fastNestingMax = 60;

const containers = new Uint8Array(fastNestingMax + 2);

/** Any value. Keys of objects are checked for NUL (an escape that could be one is not ordinary). */
export function skipValue(bytes: Uint8Array, at: number): number {
  let next = at;
  let depth = 0;
  for (;;) {
    next = skipBlank(bytes, next);
    const byte = bytes[next] as number;
    if (byte === 0x22) next = skipString(bytes, next + 1);
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > fastNestingMax) return -1;
      containers[depth] = byte;
      next = skipBlank(bytes, next + 1);
      const closing = byte + 2; // { and }, [ and ] are two apart in ASCII.
      if (bytes[next] !== closing) {
        if (byte === 0x7b) next = skipKey(bytes, next);
        if (next < 0) return -1;
        continue;
      }
      depth--;
      next++;
    } else if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) next = skipNumber(bytes, next);
    else next = skipWord(bytes, next);
    if (next < 0) return -1;
    // Behind a value: close what ends here, or go on to the next value.
    for (;;) {
      if (depth === 0) return next;
      next = skipBlank(bytes, next);
      const container = containers[depth] as number;
      if (bytes[next] === 0x2c) {
        next++;
        if (container === 0x7b) next = skipKey(bytes, next);
        if (next < 0) return -1;
        break;
      }
      if (bytes[next] !== container + 2) return -1;
      depth--;
      next++;
    }
  }
}

/** A key and its colon. A key with an escape is not ordinary: it could hide NUL, or be a known key. */
export function skipKey(bytes: Uint8Array, at: number): number {
  let next = skipBlank(bytes, at);
  if (bytes[next] !== 0x22) return -1;
  const from = next + 1;
  next = skipString(bytes, from);
  if (next < 0) return -1;
  for (let index = from; index < next - 1; index++) if (bytes[index] === 0x5c) return -1;
  next = skipBlank(bytes, next);
  return bytes[next] === 0x3a ? next + 1 : -1;
}

/** Length that pays for a call into the runtime's memcpy. */
const longBytes = 200;

/**
 * Copies a string's inside with its escapes resolved, from behind its opening quote up to `end` (its closing quote's
 * place, as `skipString` found it). Gives the offset behind the copy; up to three bytes behind it are overwritten.
 */
export function copyString(
  bytes: Buffer,
  at: number,
  end: number,
  writer: { readonly bytes: Buffer; readonly view: DataView },
  to: number,
): number {
  const { bytes: out, view: outView } = writer;
  const length = end - at;
  if (length > longBytes) {
    const escapeAt = bytes.subarray(at, end).indexOf(0x5c);
    if (escapeAt < 0) {
      bytes.copy(out, to, at, end);
      return to + length;
    }
  }
  const view = viewOf(bytes);
  const lastWord = Math.min(end, bytes.length) - 4;
  let from = at;
  let offset = to;
  while (from < end) {
    while (from <= lastWord) {
      const word = view.getInt32(from, true);
      const backslash = word ^ 0x5c5c5c5c;
      if (((backslash - 0x01010101) & ~backslash & 0x80808080) !== 0) break;
      outView.setInt32(offset, word, true);
      from += 4;
      offset += 4;
    }
    if (from === end) break;
    const byte = bytes[from++] as number;
    if (byte !== 0x5c) {
      out[offset++] = byte;
      continue;
    }
    const letter = bytes[from] as number;
    if (letter !== 0x75) {
      out[offset++] = escaped(letter);
      from++;
      continue;
    }
    const point = escapedCodePoint(bytes, from - 1);
    offset = putCodePoint(out, offset, point);
    from += point > 0xffff ? 11 : 5;
  }
  return offset;
}

/** Behind the number that `wholeAt` read last; where it declined, behind its digits. */
export let numberEnd = -1;

/** The whole number at `at`, of at most 15 digits; -1: not ordinary (a fraction, an exponent, a sign, longer). */
export function wholeAt(bytes: Uint8Array, at: number): number {
  const end = skipDigits(bytes, at);
  numberEnd = end;
  const digits = end - at;
  if (digits === 0 || digits > 15 || (digits > 1 && bytes[at] === 0x30)) return -1;
  const behind = bytes[end];
  if (behind === 0x2e || behind === 0x65 || behind === 0x45) return -1;
  let value = 0;
  for (let next = at; next < end; next++) value = value * 10 + (bytes[next] as number) - 0x30;
  return value;
}

const hashKeyPrefix = Buffer.from("__id_");

/** The id in a hash key `__id_N`; -1: another key; -2: an id that is not ordinary. */
export function hashKeyIdAt(bytes: Uint8Array, from: number, to: number): number {
  const digitsFrom = from + hashKeyPrefix.length;
  if (to <= digitsFrom || !equalBytes(bytes, from, digitsFrom, hashKeyPrefix)) return -1;
  if (skipDigits(bytes, digitsFrom) !== to) return -1;
  const id = wholeAt(bytes, digitsFrom);
  return id < 0 ? -2 : id;
}

/** Whether bytes[from..to) are the word. */
export function equalBytes(bytes: Uint8Array, from: number, to: number, word: Uint8Array): boolean {
  if (to - from !== word.length) return false;
  for (let at = 0; at < word.length; at++) if (bytes[from + at] !== word[at]) return false;
  return true;
}

/** Whether a backslash stands in bytes[from..to). */
export function hasEscape(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] === 0x5c) return true;
  return false;
}
