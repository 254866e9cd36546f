import type { HeapdumpError } from "../errors.js";
import type { LineBlock } from "../../schemas/line-block.js";
import { countLines } from "./split-lines.js";
import { untilDamage } from "./until-damage.js";

export type ArrayOptions = {
  /** A block is closed at this size. Unit: bytes. */
  readonly blockBytes?: number;
  /** A longer element is skipped and told of. Unit: bytes. */
  readonly elementBytesMax?: number;
};

const blockBytesDefault = 2 << 20;
/** As of a line in `split-lines.ts`. */
const elementBytesMaxDefault = 0x2000_0000 - 1;
const headBytes = 1024;
/** The parser refuses what is nested deeper, so that brackets need not be told apart there. */
const kindsMax = 100_000;
/** The mark between two elements is looked for in windows that overlap by this much. Unit: bytes. */
const overlapBytes = 512;

/** A byte order mark may stand before the array. */
const markBytes = Buffer.from([0xef, 0xbb, 0xbf]);
const quote = 0x22;
const backslash = 0x5c;
const feed = 0x0a;

/** What stood before a byte, without blanks: enough to see that an element is no JSON. */
type Before = "start" | "open" | "comma" | "colon" | "value" | "scalar";

/**
 * Takes apart a JSON array of any layout: each element becomes one line of the block, with its place in the dump; so do
 * the array's brackets.
 *
 * The bytes stay exact (numbers, escapes, broken text). An element that is no JSON costs no other: it ends where
 * `},{` and the first element's first key come next, and the record decoder refuses it. Holds one block, or one element
 * where that is longer. Equal to `array-elements-plain.ts`, which parses with stream-json, at ten times its speed.
 *
 * @throws {HeapdumpError} `decode/corrupt` behind the last whole bytes, when the chunks end so
 */
export async function* arrayElementBlocks(
  chunks: AsyncIterable<Buffer>,
  options: ArrayOptions = {},
): AsyncGenerator<LineBlock> {
  const blockBytes = options.blockBytes ?? blockBytesDefault;
  const elementBytesMax = options.elementBytesMax ?? elementBytesMaxDefault;
  let out = Buffer.allocUnsafe(blockBytes + 1024);
  let length = 0;
  let lineNumbers: number[] = [];
  let byteOffsets: number[] = [];
  /** Of the open element. */
  let elementStart = -1;
  let before = "start" as Before;
  let kinds: number[] = [];
  /** The last of them; 0: none. */
  let top = 0;
  let inString = false;
  let escaped = false;
  let broken = false;
  /** Bytes of the open element, which was found too long and let go. */
  let skipped = 0;
  let searchedTo = 0;
  /** What stands between elements, as the first one tells. */
  let mark: RegExp | undefined;
  /** Line feed and blanks before the element, where it begins a line. */
  let indent = "";
  let indentFirst: string | undefined;
  let lineNumber = 1;
  let byteOffset = 0;

  function append(bytes: Buffer): void {
    if (skipped > 0) {
      skipped += bytes.length;
      return;
    }
    if (length + bytes.length + 2 > out.length) {
      const bigger = Buffer.allocUnsafe((length + bytes.length) * 2 + 2);
      out.copy(bigger, 0, 0, length);
      out = bigger;
    }
    bytes.copy(out, length);
    length += bytes.length;
    if (length - elementStart > elementBytesMax) {
      skipped = length - elementStart;
      length = elementStart + headBytes;
    }
  }

  function open(at: number): void {
    elementStart = length;
    lineNumbers.push(lineNumber);
    byteOffsets.push(byteOffset + at);
    before = "start";
    kinds = [];
    top = 0;
    inString = escaped = broken = false;
    skipped = searchedTo = 0;
  }

  /** Ends the element's line. Line feeds between tokens become blanks; in broken text, what no JSON may hold. */
  function close(): LineBlock | undefined {
    if (elementStart < 0) return undefined;
    if (skipped > 0) return closeTooLong();
    for (let at = elementStart; ; at++) {
      at = out.subarray(0, length).indexOf(feed, at);
      if (at < 0) break;
      out[at] = broken || inString ? 0x01 : 0x20;
    }
    mark ??= markOf(out.subarray(elementStart, length), indentFirst);
    out[length++] = feed;
    elementStart = -1;
    return length >= blockBytes ? take() : undefined;
  }

  function closeTooLong(): LineBlock {
    const head = Buffer.from(out.subarray(elementStart, length));
    const at = { lineNumber: lineNumbers.pop() ?? 0, byteOffset: byteOffsets.pop() ?? 0 };
    length = elementStart;
    elementStart = -1;
    return { ...take(), tooLong: { ...at, lineBytes: skipped, head } };
  }

  function take(): LineBlock {
    const block = {
      bytes: out.subarray(0, length),
      byteOffsetFirst: byteOffsets[0] ?? byteOffset,
      places: {
        lineNumbers: Float64Array.from(lineNumbers),
        byteOffsets: Float64Array.from(byteOffsets),
      },
    };
    out = Buffer.allocUnsafe(blockBytes + 1024);
    length = 0;
    lineNumbers = [];
    byteOffsets = [];
    return block;
  }

  /** A bracket of the array itself: a line of its own. */
  function bracket(byte: number, at: number): void {
    open(at);
    append(Buffer.from([byte, feed]));
    elementStart = -1;
  }

  /** A comma without an element: a line that is no JSON, so that it is told of like one. */
  function hole(at: number): LineBlock | undefined {
    open(at);
    append(Buffer.from([0x2c, 0x2c, feed]));
    elementStart = -1;
    return length >= blockBytes ? take() : undefined;
  }

  /** Whether the byte may stand here, as far as brackets, commas and colons tell; moves on. */
  function fits(byte: number): boolean {
    const startsValue =
      before === "start" ||
      before === "colon" ||
      (before === "open" && top === 0x5b) ||
      (before === "comma" && top === 0x5b);
    const ended = before === "value" || before === "scalar";
    switch (byte) {
      case 0x7b:
      case 0x5b:
        if (kinds.length === kindsMax) return false;
        kinds.push(byte);
        top = byte;
        before = "open";
        return startsValue;
      case 0x7d:
      case 0x5d: {
        const fitting = top === byte - 2 && (ended || before === "open");
        kinds.pop();
        top = kinds.length === 0 ? 0 : (kinds[kinds.length - 1] as number);
        before = "value";
        return fitting;
      }
      case quote: {
        const isKey = top === 0x7b && (before === "open" || before === "comma");
        inString = true;
        before = "value";
        return startsValue || isKey;
      }
      case 0x2c:
        before = "comma";
        return ended;
      case 0x3a: {
        const fitting = before === "value" && top === 0x7b;
        before = "colon";
        return fitting;
      }
      default: {
        const fitting = startsValue || before === "scalar";
        before = "scalar";
        return fitting;
      }
    }
  }

  /** Looks for the next element behind one that is broken; gives the offset of its brace in the window. */
  function nextIn(window: Buffer): number {
    mark ??= markOf(window, indentFirst);
    if (mark === undefined) return -1;
    mark.lastIndex = 0;
    const from = Math.max(0, searchedTo - overlapBytes);
    const match = mark.exec(window.subarray(from).toString("latin1"));
    searchedTo = window.length;
    return match === null ? -1 : from + match.index + (match[1] ?? match[2] ?? "").length;
  }

  let inArray = false;
  let behindComma = false;
  let damage: HeapdumpError | undefined;
  for await (const original of untilDamage(chunks, (error) => (damage = error))) {
    let chunk = original;
    /** Where the open element's bytes in this chunk begin. */
    let from = 0;
    let at = 0;
    for (;;) {
      if (broken) {
        // All that is there belongs to it, unless the next element is found.
        append(chunk.subarray(from));
        at = from = chunk.length;
        const next = skipped > 0 ? -1 : nextIn(out.subarray(elementStart, length));
        if (next < 0) break;
        const held = out.subarray(elementStart, elementStart + next);
        const rest = Buffer.from(out.subarray(elementStart + next, length));
        byteOffset = (byteOffsets.at(-1) as number) + next;
        lineNumber = (lineNumbers.at(-1) as number) + countLines(held);
        length = elementStart + held.lastIndexOf(0x2c);
        const block = close();
        if (block !== undefined) yield block;
        // From the next element's brace on, all is read anew.
        chunk = rest;
        broken = inString = false;
        kinds = [];
        top = 0;
        at = from = 0;
      }
      if (at >= chunk.length) break;
      const byte = chunk[at++] as number;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === backslash) escaped = true;
        else if (byte === quote) inString = false;
        if (byte === feed) {
          lineNumber++;
          broken = true;
        }
        continue;
      }
      if (byte === feed) lineNumber++;
      if (byte === 0x20 || byte === feed || byte === 0x0d || byte === 0x09) {
        if (before === "scalar") before = "value";
        if (elementStart < 0) {
          if (byte === feed) indent = "\n";
          else if (indent !== "" && indent.length < 80) indent += String.fromCharCode(byte);
        }
        continue;
      }
      if (top === 0 && (byte === 0x2c || byte === 0x5d)) {
        if (elementStart >= 0) {
          append(chunk.subarray(from, at - 1));
          const block = close();
          if (block !== undefined) yield block;
        } else if (inArray && (byte === 0x2c || behindComma)) {
          const block = hole(at - 1);
          if (block !== undefined) yield block;
        }
        behindComma = byte === 0x2c;
        if (byte === 0x5d) {
          inArray = false;
          bracket(byte, at - 1);
        }
        continue;
      }
      if (elementStart < 0) {
        if (byte === markBytes[byteOffset + at - 1]) continue;
        if (byte === 0x5b && !inArray) {
          inArray = true;
          bracket(byte, at - 1);
          continue;
        }
        indentFirst ??= indent;
        indent = "";
        open(at - 1);
        from = at - 1;
        // An element that is an array must not be taken for the array.
        if (byte === 0x5b) out[length++] = 0x2c;
      }
      if (!fits(byte)) broken = true;
    }
    if (elementStart >= 0 && from < chunk.length) append(chunk.subarray(from));
    byteOffset += chunk.length;
  }
  const block = close();
  if (block !== undefined) yield block;
  if (length > 0) yield take();
  if (damage !== undefined) throw damage;
}

/**
 * What stands between two elements: `},{` and the key that the first element begins with; or a comma, a line feed and
 * the first element's indent.
 */
function markOf(element: Buffer, indent = ""): RegExp | undefined {
  const head = element.subarray(0, 300).toString("latin1");
  const key = /^\{\s{0,80}("(?:[^"\\]|\\.){0,80}")\s*:/.exec(head)?.[1];
  const marks = [
    ...(key === undefined
      ? []
      : [
          `(\\}\\s{0,80},\\s{0,80})(?=\\{\\s{0,80}${key.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")})`,
        ]),
    ...(indent === "" ? [] : [`(,[ \\t\\r]{0,80}${indent})(?=\\{)`]),
  ];
  return marks.length === 0 ? undefined : new RegExp(marks.join("|"), "g");
}
