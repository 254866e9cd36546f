/**
 * A JSON value that kept what `JSON.parse` loses: integers beyond 2^53, the bytes of broken text, keys given twice.
 *
 * Whole numbers are numbers where they are safe and bigints beyond; every other number is a `JsonDouble`.
 */
export type JsonValue =
  null | boolean | number | bigint | string | JsonDouble | BrokenText | JsonArray | JsonObject;
export type JsonArray = readonly JsonValue[];

/** A number with a fraction, an exponent, or a negative zero. */
export class JsonDouble {
  constructor(readonly value: number) {}
}

/** Text that is no valid UTF-8, or holds lone surrogates: as it can be shown, and its exact bytes. */
export class BrokenText {
  constructor(
    /** With U+FFFD for what is broken. */
    readonly text: string,
    /** Escapes resolved; a lone surrogate as the three bytes of its generalised UTF-8 (WTF-8). */
    readonly bytes: Uint8Array,
  ) {}
}

export type JsonEntry = {
  readonly key: string;
  /** The exact bytes of a key that is broken text. */
  readonly keyBytes: Uint8Array | undefined;
  readonly value: JsonValue;
};

/** Entries in the order of the text, keys given twice included. */
export class JsonObject {
  constructor(readonly entries: readonly JsonEntry[]) {}

  /** The value `JSON.parse` would give: the last one of that key. */
  last(key: string): JsonValue | undefined {
    for (let index = this.entries.length - 1; index >= 0; index--) {
      const entry = this.entries[index];
      if (entry?.key === key) return entry.value;
    }
    return undefined;
  }
}

/** The text is no JSON, or nested deeper than a document may be. */
export class JsonFault {
  constructor(
    readonly code: "not-json" | "too-deep" | "nul-in-key",
    readonly message: string,
    /** From 0, in the bytes given. */
    readonly byteOffset: number,
  ) {}
}

/**
 * MongoDB stores 200 levels at most. @see https://www.mongodb.com/docs/manual/reference/limits/
 * The record is level 1, and fields that we add around a value take a few more.
 */
export const nestingMax = 180;

/**
 * Parses one JSON text from bytes, exactly. Accepts what `JSON.parse` accepts of the same bytes decoded as UTF-8
 * (a property test holds it), up to `nestingMax` levels, with one difference: a key that holds NUL is a fault,
 * because BSON has no place for it.
 */
export function parseJson(bytes: Buffer, start = 0, end = bytes.length): JsonValue | JsonFault {
  const parser = new Parser(bytes, start, end);
  try {
    return parser.document();
  } catch (fault) {
    if (fault instanceof JsonFault) return fault;
    throw fault;
  }
}

const quote = 0x22;
const backslash = 0x5c;

/** Recursive descent: `nestingMax` bounds the stack. */
class Parser {
  #at: number;
  #depth = 0;

  constructor(
    readonly bytes: Buffer,
    readonly start: number,
    readonly end: number,
  ) {
    this.#at = start;
  }

  document(): JsonValue {
    const value = this.#value();
    this.#blank();
    if (this.#at < this.end) this.#fail(`text behind the value: ${this.#shown()}`);
    return value;
  }

  #blank(): void {
    while (this.#at < this.end) {
      const byte = this.bytes[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.#at++;
    }
  }

  #peek(): number {
    return this.#at < this.end ? (this.bytes[this.#at] ?? -1) : -1;
  }

  #fail(message: string): never {
    throw new JsonFault("not-json", message, this.#at - this.start);
  }

  #shown(): string {
    if (this.#at >= this.end) return "the end of the line";
    const byte = this.#peek();
    return byte >= 0x21 && byte < 0x7f
      ? `"${String.fromCharCode(byte)}"`
      : `byte 0x${byte.toString(16).padStart(2, "0")}`;
  }

  #value(): JsonValue {
    this.#blank();
    const byte = this.#peek();
    if (byte === quote) return this.#string();
    if (byte === 0x7b) return this.#object();
    if (byte === 0x5b) return this.#array();
    if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) return this.#number();
    if (byte === 0x74) return this.#word("true", true);
    if (byte === 0x66) return this.#word("false", false);
    if (byte === 0x6e) return this.#word("null", null);
    return this.#fail(`expected a value, found ${this.#shown()}`);
  }

  #word<T>(word: string, value: T): T {
    const found = this.bytes.toString(
      "latin1",
      this.#at,
      Math.min(this.#at + word.length, this.end),
    );
    if (found !== word) this.#fail(`expected a value, found ${this.#shown()}`);
    this.#at += word.length;
    return value;
  }

  #enter(): void {
    if (++this.#depth > nestingMax) {
      throw new JsonFault(
        "too-deep",
        `nested deeper than ${nestingMax} levels`,
        this.#at - this.start,
      );
    }
    this.#at++;
  }

  #object(): JsonObject {
    this.#enter();
    const entries: JsonEntry[] = [];
    this.#blank();
    if (this.#peek() === 0x7d) {
      this.#at++;
      this.#depth--;
      return new JsonObject(entries);
    }
    for (;;) {
      this.#blank();
      if (this.#peek() !== quote) this.#fail(`expected a key, found ${this.#shown()}`);
      const keyAt = this.#at;
      const key = this.#string();
      const keyText = key instanceof BrokenText ? key.text : key;
      if (keyText.includes("\0")) {
        throw new JsonFault("nul-in-key", "a key holds NUL", keyAt - this.start);
      }
      this.#blank();
      if (this.#peek() !== 0x3a) this.#fail(`expected ":", found ${this.#shown()}`);
      this.#at++;
      const keyBytes = key instanceof BrokenText ? key.bytes : undefined;
      entries.push({ key: keyText, keyBytes, value: this.#value() });
      this.#blank();
      const byte = this.#peek();
      if (byte !== 0x2c && byte !== 0x7d) this.#fail(`expected "," or "}", found ${this.#shown()}`);
      this.#at++;
      if (byte === 0x7d) break;
    }
    this.#depth--;
    return new JsonObject(entries);
  }

  #array(): JsonArray {
    this.#enter();
    const values: JsonValue[] = [];
    this.#blank();
    if (this.#peek() === 0x5d) {
      this.#at++;
      this.#depth--;
      return values;
    }
    for (;;) {
      values.push(this.#value());
      this.#blank();
      const byte = this.#peek();
      if (byte !== 0x2c && byte !== 0x5d) this.#fail(`expected "," or "]", found ${this.#shown()}`);
      this.#at++;
      if (byte === 0x5d) break;
    }
    this.#depth--;
    return values;
  }

  #digits(): number {
    const from = this.#at;
    for (let byte = this.#peek(); byte >= 0x30 && byte <= 0x39; byte = this.#peek()) this.#at++;
    if (this.#at === from) this.#fail(`expected a digit, found ${this.#shown()}`);
    return this.#at - from;
  }

  #number(): number | bigint | JsonDouble {
    const from = this.#at;
    if (this.#peek() === 0x2d) this.#at++;
    const zero = this.#peek() === 0x30;
    if (this.#digits() > 1 && zero) {
      this.#at = from;
      this.#fail("a number begins with 0");
    }
    let whole = true;
    if (this.#peek() === 0x2e) {
      whole = false;
      this.#at++;
      this.#digits();
    }
    if (this.#peek() === 0x65 || this.#peek() === 0x45) {
      whole = false;
      this.#at++;
      if (this.#peek() === 0x2b || this.#peek() === 0x2d) this.#at++;
      this.#digits();
    }
    const text = this.bytes.toString("latin1", from, this.#at);
    const number = Number(text);
    if (!whole || Object.is(number, -0)) return new JsonDouble(number);
    return Number.isSafeInteger(number) ? number : BigInt(text);
  }

  #string(): string | BrokenText {
    const from = ++this.#at;
    // Most strings are plain ASCII: one look, one slice.
    let plain = true;
    for (; ; this.#at++) {
      if (this.#at >= this.end) this.#fail("a string without end");
      const byte = this.bytes[this.#at] as number;
      if (byte === quote) break;
      if (byte < 0x20) this.#fail(`a control character in a string: ${this.#shown()}`);
      if (byte === backslash) {
        plain = false;
        this.#at++;
        this.#escape();
      } else if (byte > 0x7f) plain = false;
    }
    const to = this.#at++;
    if (plain) return this.bytes.toString("latin1", from, to);
    return textOf(this.bytes.subarray(from, to));
  }

  /** Checks an escape; `#at` stands on the byte behind the backslash and is left on the escape's last byte. */
  #escape(): void {
    if (this.#at >= this.end) this.#fail("a string without end");
    const byte = this.bytes[this.#at] as number;
    if (byte === 0x75) {
      for (let digit = 0; digit < 4; digit++) {
        this.#at++;
        if (this.#at >= this.end) this.#fail("a string without end");
        if (hexDigit(this.bytes[this.#at] as number) < 0) {
          this.#fail(`expected a hexadecimal digit, found ${this.#shown()}`);
        }
      }
    } else if (escaped(byte) < 0) this.#fail(`a wrong escape in a string: ${this.#shown()}`);
  }
}

/** The value of a hexadecimal digit's byte, or -1. */
export function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  if (byte >= 0x61 && byte <= 0x66) return byte - 0x57;
  if (byte >= 0x41 && byte <= 0x46) return byte - 0x37;
  return -1;
}

/** The byte that a one-letter escape stands for, or -1. */
export function escaped(byte: number): number {
  switch (byte) {
    case 0x22: // "
    case 0x5c: // \
    case 0x2f: // /
      return byte;
    case 0x62: // b
      return 0x08;
    case 0x66: // f
      return 0x0c;
    case 0x6e: // n
      return 0x0a;
    case 0x72: // r
      return 0x0d;
    case 0x74: // t
      return 0x09;
    default:
      return -1;
  }
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenientUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** The text of a string's inside (escapes checked before); broken text keeps its bytes. */
function textOf(inside: Uint8Array): string | BrokenText {
  const bytes = unescaped(inside, false);
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return new BrokenText(lenientUtf8.decode(unescaped(inside, true)), bytes);
  }
}

/**
 * Resolves escapes. A pair of surrogates becomes one character; a lone one its three bytes (WTF-8), or, to be
 * shown, one byte that no UTF-8 holds, so that it becomes one U+FFFD and not three.
 */
function unescaped(inside: Uint8Array, toBeShown: boolean): Uint8Array {
  const out = new Uint8Array(inside.length);
  let length = 0;
  let index = 0;
  while (index < inside.length) {
    const byte = inside[index] as number;
    if (byte !== backslash) {
      out[length++] = byte;
      index++;
      continue;
    }
    const letter = inside[index + 1] as number;
    if (letter !== 0x75) {
      out[length++] = escaped(letter);
      index += 2;
      continue;
    }
    const point = escapedCodePoint(inside, index);
    index += point > 0xffff ? 12 : 6;
    if (toBeShown && point >= 0xd800 && point < 0xe000) out[length++] = 0xff;
    else length = putCodePoint(out, length, point);
  }
  return out.subarray(0, length);
}

/** The code point of the `\uXXXX` at `at`, or of the pair of them that begins there; a lone surrogate as it is. */
export function escapedCodePoint(bytes: Uint8Array, at: number): number {
  const high = unitAt(bytes, at + 2);
  if (high < 0xd800 || high >= 0xdc00) return high;
  if (bytes[at + 6] !== backslash || bytes[at + 7] !== 0x75) return high;
  const low = unitAt(bytes, at + 8);
  return low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00) : high;
}

function unitAt(bytes: Uint8Array, at: number): number {
  let unit = 0;
  for (let digit = 0; digit < 4; digit++) unit = unit * 16 + hexDigit(bytes[at + digit] ?? 0);
  return unit;
}

/** Writes a code point's UTF-8 (a surrogate's WTF-8); gives the offset behind it. An escape is never shorter. */
export function putCodePoint(out: Uint8Array, offset: number, point: number): number {
  let at = offset;
  if (point < 0x80) out[at++] = point;
  else if (point < 0x800) {
    out[at++] = 0xc0 | (point >> 6);
    out[at++] = 0x80 | (point & 0x3f);
  } else if (point < 0x10000) {
    out[at++] = 0xe0 | (point >> 12);
    out[at++] = 0x80 | ((point >> 6) & 0x3f);
    out[at++] = 0x80 | (point & 0x3f);
  } else {
    out[at++] = 0xf0 | (point >> 18);
    out[at++] = 0x80 | ((point >> 12) & 0x3f);
    out[at++] = 0x80 | ((point >> 6) & 0x3f);
    out[at++] = 0x80 | (point & 0x3f);
  }
  return at;
}

/** Whether any text or key in the value is broken. */
export function holdsBrokenText(value: JsonValue): boolean {
  if (value instanceof BrokenText) return true;
  if (value instanceof JsonObject) {
    return value.entries.some(
      (entry) => entry.keyBytes !== undefined || holdsBrokenText(entry.value),
    );
  }
  return Array.isArray(value) && value.some((element: JsonValue) => holdsBrokenText(element));
}
