import { isUtf8 } from "node:buffer";
import type { BsonWriter } from "../../bson-writer.js";

/** The texts of a snapshot, kept as the bytes of their JSON form and decoded on demand. */
export type TextPool = {
  readonly count: number;
  /** Takes a text without its quotes. The bytes are copied. */
  add(json: Uint8Array): void;
  /** The text, or its beginning if it is longer than this. Unit: UTF-8 bytes. */
  text(index: number, bytesMax?: number): string;
  /** Length as JavaScript tells it. Unit: UTF-16 units. */
  units(index: number): number;
  /** Whether the text is longer than this when it is decoded. */
  isLonger(index: number, bytesMax: number): boolean;
  /** Appends a BSON string's length, bytes and NUL. */
  write(writer: BsonWriter, index: number): void;
};

/** Texts are kept together in blocks of this size; a longer text has a block of its own. Unit: bytes. */
const blockBytes = 1 << 22;
const backslash = 0x5c;
/** A character in JSON is six bytes at most for every one that is decoded. */
const escapeBytesMax = 6;

export function createTextPool(): TextPool {
  const blocks: Buffer[] = [];
  let block = Buffer.alloc(0);
  let used = 0;
  let count = 0;
  /** For each text: its block, where it begins, its length, and whether it is UTF-8 without escapes. */
  let blockOf = new Uint32Array(1 << 12);
  let startOf = new Uint32Array(1 << 12);
  let lengthOf = new Float64Array(1 << 12);
  let isPlain = new Uint8Array(1 << 12);

  function add(json: Uint8Array): void {
    if (count === blockOf.length) {
      blockOf = grown(blockOf, new Uint32Array(count * 2));
      startOf = grown(startOf, new Uint32Array(count * 2));
      lengthOf = grown(lengthOf, new Float64Array(count * 2));
      isPlain = grown(isPlain, new Uint8Array(count * 2));
    }
    const length = json.length;
    if (blocks.length === 0 || used + length > block.length) {
      // The first ones are small: so are most snapshots.
      const usual = Math.min(blockBytes, 1 << Math.min(22, 12 + blocks.length));
      block = Buffer.allocUnsafeSlow(Math.max(usual, length));
      blocks.push(block);
      used = 0;
    }
    let isAscii = true;
    let isEscaped = false;
    for (let at = 0; at < length; at++) {
      const byte = json[at] as number;
      block[used + at] = byte;
      if (byte === backslash) isEscaped = true;
      else if (byte > 0x7f) isAscii = false;
    }
    blockOf[count] = blocks.length - 1;
    startOf[count] = used;
    lengthOf[count] = length;
    isPlain[count++] = !isEscaped && (isAscii || isUtf8(json)) ? 1 : 0;
    used += length;
  }

  const rawOf = (index: number): Buffer => {
    const start = startOf[index] as number;
    const from = blocks[blockOf[index] as number] as Buffer;
    return from.subarray(start, start + (lengthOf[index] as number));
  };

  function text(index: number, bytesMax = Infinity): string {
    const raw = rawOf(index);
    if (isPlain[index] === 1) {
      if (raw.length <= bytesMax) return raw.toString("utf8");
      let end = bytesMax;
      while (end > 0 && ((raw[end] as number) & 0xc0) === 0x80) end--;
      return raw.toString("utf8", 0, end);
    }
    const rawMax = bytesMax * escapeBytesMax + escapeBytesMax;
    const decoded = decodeEscapes(raw.length <= rawMax ? raw : raw.subarray(0, rawMax));
    if (Buffer.byteLength(decoded) <= bytesMax) return decoded;
    const utf8 = Buffer.from(decoded, "utf8");
    let end = bytesMax;
    while (end > 0 && ((utf8[end] as number) & 0xc0) === 0x80) end--;
    return utf8.toString("utf8", 0, end);
  }

  return {
    get count() {
      return count;
    },
    add,
    text,
    units: (index) => unitsOf(rawOf(index)),
    isLonger: (index, bytesMax) => {
      const { length } = rawOf(index);
      if (length <= bytesMax) {
        // Broken bytes become U+FFFD, three bytes each.
        return isPlain[index] === 1 ? false : Buffer.byteLength(text(index)) > bytesMax;
      }
      if (isPlain[index] === 1) return true;
      const rawMax = bytesMax * escapeBytesMax + escapeBytesMax;
      return length > rawMax || Buffer.byteLength(text(index)) > bytesMax;
    },
    write: (writer, index) => {
      if (isPlain[index] === 0) {
        writer.stringValue(text(index));
        return;
      }
      const length = lengthOf[index] as number;
      writer.reserve(length + 5);
      const from = blocks[blockOf[index] as number] as Buffer;
      const start = startOf[index] as number;
      const out = writer.bytes;
      let at = writer.offset;
      const written = length + 1;
      out[at++] = written;
      out[at++] = written >>> 8;
      out[at++] = written >>> 16;
      out[at++] = written >>> 24;
      if (length > 64) from.copy(out, at, start, start + length);
      else for (let byte = 0; byte < length; byte++) out[at + byte] = from[start + byte] as number;
      at += length;
      out[at++] = 0;
      writer.offset = at;
    },
  };
}

/** A text from its JSON form, which may be cut: what an escape at the end lacks is left out. */
function decodeEscapes(raw: Buffer): string {
  const json = raw.toString("utf8");
  let decoded = "";
  let from = 0;
  for (let at = json.indexOf("\\"); at !== -1; at = json.indexOf("\\", from)) {
    decoded += json.slice(from, at);
    const letter = json[at + 1];
    if (letter === "u") {
      const digits = json.slice(at + 2, at + 6);
      if (/^[0-9a-fA-F]{4}$/.test(digits)) decoded += String.fromCharCode(parseInt(digits, 16));
      from = at + 6;
    } else {
      decoded += letter === undefined ? "" : (escapes[letter] ?? letter);
      from = at + 2;
    }
  }
  return decoded + json.slice(from);
}

const escapes: Readonly<Record<string, string>> = {
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

function unitsOf(raw: Buffer): number {
  let units = 0;
  for (let at = 0; at < raw.length; at++) {
    const byte = raw[at] as number;
    if (byte === backslash) {
      units++;
      at += raw[at + 1] === 0x75 ? 5 : 1;
    } else if ((byte & 0xc0) !== 0x80) units += byte >= 0xf0 ? 2 : 1;
  }
  return units;
}

function grown<T extends Uint32Array | Float64Array | Uint8Array>(old: T, bigger: T): T {
  bigger.set(old);
  return bigger;
}
