import {
  endsAt,
  equalBytes,
  fastNestingMax,
  hasEscape,
  hashKeyIdAt,
  numberEnd,
  skipBlank,
  skipNumber,
  skipString,
  skipWord,
  wholeAt,
} from "./json-bytes.js";
import { keyCodesOf } from "./key-codes.js";
import type { LinePlace, ScanSink } from "./scan-sink.js";

const gemKey = keyCodesOf(["id", "bt", "class", "size", "name"]);
const containers = new Uint8Array(fastNestingMax + 2);

/** Where the value of each key stands; -1: not met. Reused: one record is scanned at a time. */
const starts = new Int32Array(5);
const ends = new Int32Array(5);

/**
 * Scans one ordinary record of the `heap_dump` gem into the sink: every integer anywhere may be a reference. Gives the
 * offset behind it. -1: not ordinary, nothing was added, the plain path must decide. `bytes[end]` or a later byte must be
 * below 0x20 (the line feed).
 *
 * Says of an ordinary record exactly what the plain path says (a property test holds it).
 *
 * @param end - where the record must end; `atLineEnd`: before a line feed
 * @param place - of its line
 */
export function scanGemRecord(
  bytes: Buffer,
  start: number,
  end: number,
  place: LinePlace,
  sink: ScanSink,
): number {
  starts.fill(-1);
  let at = start;
  if (bytes[at] !== 0x7b) return -1;
  sink.reserveObject();
  const position = sink.objectCount;
  let depth = 1;
  containers[1] = 0x7b;
  at++;
  let id = -1;
  let classId = NaN;
  let size = 0;
  let behindValue = false;
  for (;;) {
    at = skipBlank(bytes, at);
    if (behindValue) {
      const container = containers[depth] as number;
      if (bytes[at] === container + 2) {
        at++;
        if (--depth === 0) break;
        continue;
      }
      if (bytes[at] !== 0x2c) return rolledBack(sink);
      at = skipBlank(bytes, at + 1);
    }
    behindValue = true;
    let key = -1;
    if (containers[depth] === 0x7b) {
      if (bytes[at] !== 0x22) return rolledBack(sink);
      const keyFrom = at + 1;
      at = skipString(bytes, keyFrom);
      if (at < 0) return rolledBack(sink);
      const keyTo = at - 1;
      if (hasEscape(bytes, keyFrom, keyTo)) return rolledBack(sink);
      if (depth === 1) key = gemKey(bytes, keyFrom, keyTo);
      else if (
        bytes[keyFrom] === 0x5f &&
        bytes[keyFrom + 1] === 0x5f &&
        bytes[keyFrom + 2] === 0x69
      ) {
        const keyId = hashKeyIdAt(bytes, keyFrom, keyTo);
        if (keyId === -2) return rolledBack(sink);
        if (keyId >= 0) sink.reference(keyId);
      }
      at = skipBlank(bytes, at);
      if (bytes[at] !== 0x3a) return rolledBack(sink);
      at = skipBlank(bytes, at + 1);
      if (key >= 0) {
        if (starts[key] !== -1) return rolledBack(sink);
        starts[key] = at;
      }
    }
    const byte = bytes[at] as number;
    if (byte === 0x22) {
      at = skipString(bytes, at + 1);
      if (at < 0 || key === 0 || key === 3) return rolledBack(sink);
    } else if (byte >= 0x30 && byte <= 0x39) {
      const value = wholeAt(bytes, at);
      if (value < 0) {
        // Not a whole number, or one of 16 digits and more.
        if (key >= 0) return rolledBack(sink);
        const behind = skipNumber(bytes, at);
        if (behind < 0 || behind === numberEnd) return rolledBack(sink);
        at = behind;
      } else {
        at = numberEnd;
        if (key === 0) id = value;
        else if (key === 2) classId = value;
        else if (key === 1) return rolledBack(sink);
        else {
          if (key === 3) size = value;
          sink.reference(value);
        }
      }
    } else if (byte === 0x7b || byte === 0x5b) {
      if (key >= 0 && key < 4) return rolledBack(sink);
      if (++depth > fastNestingMax) return rolledBack(sink);
      containers[depth] = byte;
      at = skipBlank(bytes, at + 1);
      if (bytes[at] === byte + 2) {
        at++;
        depth--;
      } else behindValue = false;
    } else if (byte === 0x2d) {
      if (key >= 0) return rolledBack(sink);
      at = skipNumber(bytes, at);
      if (at < 0) return rolledBack(sink);
    } else {
      at = skipWord(bytes, at);
      if (at < 0) return rolledBack(sink);
      // null is a class or a size, the others are of the wrong type.
      if (key >= 0 && key < 4 && (key < 2 || byte !== 0x6e)) return rolledBack(sink);
    }
    if (key >= 0) ends[key] = at;
  }
  if (!endsAt(bytes, at, end) || id < 0 || starts[1] === -1) return rolledBack(sink);
  // "T_OBJECT": without quotes and prefix.
  const typeFrom = (starts[1] as number) + 3;
  const typeTo = (ends[1] as number) - 1;
  if (bytes[typeFrom - 2] !== 0x54 || bytes[typeFrom - 1] !== 0x5f) return rolledBack(sink);
  if (typeTo <= typeFrom || typeTo - typeFrom > 30) return rolledBack(sink);
  for (let next = typeFrom; next < typeTo; next++) {
    const byte = bytes[next] as number;
    if (byte < 0x41 || byte > 0x5a) return rolledBack(sink);
  }
  sink.ids[position] = id;
  sink.classIds[position] = classId;
  sink.sizes[position] = equalBytes(bytes, typeFrom, typeTo, dataType) ? size : 0;
  sink.typeCodes[position] = sink.names.types.codeOfBytes(bytes, typeFrom, typeTo);
  sink.siteCodes[position] = -1;
  sink.generations[position] = -1;
  sink.classNameCodes[position] = -1;
  if (
    starts[4] !== -1 &&
    bytes[starts[4] as number] === 0x22 &&
    (equalBytes(bytes, typeFrom, typeTo, classType) ||
      equalBytes(bytes, typeFrom, typeTo, moduleType))
  ) {
    const from = (starts[4] as number) + 1;
    const to = (ends[4] as number) - 1;
    if (hasEscape(bytes, from, to)) return rolledBack(sink);
    if (to > from) sink.classNames.set(position, bytes.toString("utf8", from, to));
  }
  sink.commit(place);
  return at;
}

const dataType = Buffer.from("DATA");
const classType = Buffer.from("CLASS");
const moduleType = Buffer.from("MODULE");

function rolledBack(sink: ScanSink): -1 {
  sink.rollBack();
  return -1;
}
