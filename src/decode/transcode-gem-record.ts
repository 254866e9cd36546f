import { putInt32, putInt64, writeDecimal, type BsonWriter } from "../bson-writer.js";
import { putWords, wordsOf } from "../word-bytes.js";
import { reservedFields } from "../../schemas/stored-fields.js";
import type { RecordSpan } from "./decode-line.js";
import {
  copyString,
  equalBytes,
  fastNestingMax,
  hashKeyIdAt,
  numberEnd,
  skipBlank,
  skipNumber,
  skipString,
  skipValue,
  viewOf,
  wholeAt,
} from "./json-bytes.js";
import { keyCodesOf } from "./key-codes.js";
import { createKnownKeys, hashOfKey, isNewIn, keepStep, knownStep } from "./known-keys.js";

/** The references of one object, as ids in dump order: what the scan found. */
export type ReferenceIds = {
  readonly count: number;
  /** NaN: not a whole number below 2^53. */
  readonly idAt: (index: number) => number;
};

/** A longer record goes the plain way, which splits what MongoDB cannot hold in one document. */
export const recordBytesMax = 1 << 20;
/** JSON grows most as `[0,0,…]`: two bytes become type, index, NUL and four bytes. */
export const growthMax = 9;

/** What a top-level key is, by its number in the list. */
const enum Role {
  keep,
  leaveOut,
  type,
  class,
  size,
  reserved,
}

const roles: Readonly<Record<string, Role>> = {
  ...Object.fromEntries(reservedFields.map((name) => [name, Role.reserved])),
  id: Role.leaveOut,
  bt: Role.type,
  class: Role.class,
  size: Role.size,
};
const keyCodeOf = keyCodesOf(Object.keys(roles));
const roleOfCode = Object.values(roles);
const known = createKnownKeys();

const containers = new Uint8Array(fastNestingMax + 2);
const opened = new Int32Array(fastNestingMax + 2);
const indexes = new Int32Array(fastNestingMax + 2);
const serials = new Int32Array(fastNestingMax + 2);

/** Hashes of the keys of each object of the record, to see a key given twice. */
const seenSlots = 1 << 13;
const seenHash = new Int32Array(seenSlots);
const seenObject = new Int32Array(seenSlots);
/** Numbers objects over all records, so that the table need not be cleared. */
let objectSerial = 0;
let recordSerial = 0;
let seenCount = 0;

/** Whether the object has not had a key of this hash yet; also false when the table is full. */
function isNewKey(hash: number, object: number): boolean {
  if (++seenCount > seenSlots / 2) return false;
  let slot = (hash ^ Math.imul(object, 0x9e3779b1)) >>> 0;
  for (slot &= seenSlots - 1; ; slot = (slot + 1) & (seenSlots - 1)) {
    const holder = seenObject[slot] as number;
    if (holder < recordSerial) {
      seenObject[slot] = object;
      seenHash[slot] = hash;
      return true;
    }
    if (holder === object && seenHash[slot] === hash) return false;
  }
}

/** Names of references, as places in the output. Grows with the largest record. */
let nameStarts = new Int32Array(1024);
let nameEnds = new Int32Array(1024);

const className = wordsOf(Buffer.from("class\0"));
const memsizeName = wordsOf(Buffer.from("memsize\0"));
const namesName = wordsOf(Buffer.from("reference_names\0"));
const dumpPrefix = wordsOf(Buffer.from("dump_"));
const dataType = Buffer.from("T_DATA");

/**
 * Writes an ordinary record's own fields as BSON, from its bytes, behind the fields that the caller has written. False:
 * not ordinary; nothing counts that was written, the plain path must do it.
 *
 * Writes of an ordinary record exactly the bytes that `encodeRecord` writes (a property test holds it).
 */
export function transcodeGemRecord(
  bytes: Buffer,
  span: RecordSpan,
  writer: BsonWriter,
  references: ReferenceIds,
): boolean {
  const recordBytes = span.end - span.start;
  if (recordBytes > recordBytesMax || bytes[span.start] !== 0x7b) return false;
  writer.reserve(recordBytes * growthMax + 4096);
  const { bytes: out, view: outView } = writer;
  const view = viewOf(bytes);
  let to = writer.offset;
  let at = span.start + 1;
  let depth = 1;
  containers[1] = 0x7b;
  if (objectSerial > 0x7000_0000) {
    objectSerial = 0;
    seenObject.fill(0);
  }
  recordSerial = ++objectSerial;
  serials[1] = recordSerial;
  seenCount = 0;
  let behindValue = false;
  let edge = 0;
  let named = false;
  let typeSeen = false;
  let isData = false;
  let step = known.start;
  for (;;) {
    const behind = at;
    const followed = depth === 1 ? knownStep(step, view, at, bytes.length) : undefined;
    if (followed === undefined) {
      at = skipBlank(bytes, at);
      if (behindValue) {
        if (bytes[at] === (containers[depth] as number) + 2) {
          at++;
          if (--depth === 0) break;
          out[to++] = 0;
          const start = opened[depth + 1] as number;
          putInt32(outView, start, to - start);
          continue;
        }
        if (bytes[at] !== 0x2c) return false;
        at = skipBlank(bytes, at + 1);
      }
    }
    behindValue = true;
    const typeAt = to++;
    let keyAt = to;
    let keyEnd = to;
    let role: Role = Role.keep;
    const inObject = containers[depth] === 0x7b;
    if (depth === 1) {
      if (followed === undefined) {
        if (bytes[at] !== 0x22) return false;
        const keyFrom = ++at;
        for (let byte = bytes[at] as number; byte !== 0x22; byte = bytes[++at] as number) {
          // Keys with escapes or beyond ASCII are not ordinary.
          if (byte < 0x20 || byte > 0x7e || byte === 0x5c) return false;
        }
        const keyTo = at;
        if (!isNewIn(step, hashOfKey(bytes, keyFrom, keyTo))) return false;
        at = skipBlank(bytes, at + 1);
        if (bytes[at] !== 0x3a) return false;
        at = skipBlank(bytes, at + 1);
        const places = { from: behind, keyFrom, keyTo, to: at };
        step = keepStep(known, step, bytes, places, keyCodeOf(bytes, keyFrom, keyTo));
      } else {
        at = skipBlank(bytes, at + followed.text.length);
        step = followed;
      }
      if (step.code >= 0) role = roleOfCode[step.code] as Role;
      if (role === Role.reserved) {
        to = putWords(outView, to, dumpPrefix);
        keyAt = to; // The edge's name is the dump's own.
      }
      to = putWords(outView, to, step.name);
      keyEnd = to - 1;
    } else if (inObject) {
      if (bytes[at] !== 0x22) return false;
      const keyFrom = ++at;
      let hash = 0x811c9dc5 | 0;
      for (let byte = bytes[at] as number; byte !== 0x22; byte = bytes[++at] as number) {
        // Keys with escapes or beyond ASCII are not ordinary.
        if (byte < 0x20 || byte > 0x7e || byte === 0x5c) return false;
        hash = Math.imul(hash ^ byte, 0x01000193);
        out[to++] = byte;
      }
      if (!isNewKey(hash, serials[depth] as number)) return false;
      if (bytes[keyFrom] === 0x5f && bytes[keyFrom + 1] === 0x5f) {
        const keyId = hashKeyIdAt(bytes, keyFrom, at);
        if (keyId === -2) return false;
        if (keyId >= 0 && edge < references.count && references.idAt(edge) === keyId) {
          reserveNames(edge);
          nameStarts[edge] = nameEnds[edge] = 0;
          edge++;
        }
      }
      keyEnd = to;
      out[to++] = 0;
      at = skipBlank(bytes, at + 1);
      if (bytes[at] !== 0x3a) return false;
      at = skipBlank(bytes, at + 1);
    } else {
      to = writeDecimal(out, to, (indexes[depth] as number)++);
      keyAt = keyEnd = to;
      out[to++] = 0;
    }
    const byte = bytes[at] as number;
    switch (role) {
      case Role.keep:
      case Role.reserved:
        break;
      case Role.leaveOut:
        at = skipValue(bytes, at);
        if (at < 0) return false;
        to = typeAt;
        continue;
      case Role.type: {
        if (byte !== 0x22) return false;
        const end = skipString(bytes, at + 1);
        if (end < 0) return false;
        typeSeen = true;
        isData = equalBytes(bytes, at + 1, end - 1, dataType);
        at = end;
        to = typeAt;
        continue;
      }
      case Role.class: {
        if (byte === 0x6e) {
          at = skipValue(bytes, at);
          if (at < 0) return false;
          out[typeAt] = 0x0a;
          to = putWords(outView, typeAt + 1, className);
          continue;
        }
        const id = wholeAt(bytes, at);
        if (id < 0) return false;
        at = numberEnd;
        out[typeAt] = 0x12;
        to = putInt64(outView, putWords(outView, typeAt + 1, className), id);
        continue;
      }
      case Role.size: {
        const size = wholeAt(bytes, at);
        if (size < 0 || !typeSeen) return false;
        at = numberEnd;
        to = putWhole(outView, typeAt, to, size);
        // It is a candidate like every integer.
        if (edge < references.count && references.idAt(edge) === size) {
          reserveNames(edge);
          nameStarts[edge] = keyAt;
          nameEnds[edge] = keyEnd;
          named = true;
          edge++;
        }
        if (isData) {
          const memsizeAt = to;
          to = putWhole(outView, memsizeAt, putWords(outView, memsizeAt + 1, memsizeName), size);
        }
        continue;
      }
    }
    if (byte === 0x22) {
      const end = skipString(bytes, at + 1);
      if (end < 0) return false;
      out[typeAt] = 0x02;
      const copied = copyString(bytes, at + 1, end - 1, writer, to + 4);
      putInt32(outView, to, copied - to - 3);
      out[copied] = 0;
      to = copied + 1;
      at = end;
    } else if (byte >= 0x30 && byte <= 0x39) {
      const value = wholeAt(bytes, at);
      if (value < 0) {
        const end = skipNumber(bytes, at);
        if (end < 0 || end === numberEnd) return false; // 16 digits and more.
        out[typeAt] = 0x01;
        to = out.writeDoubleLE(Number(bytes.toString("latin1", at, end)), to);
        at = end;
      } else {
        at = numberEnd;
        to = putWhole(outView, typeAt, to, value);
        if (edge < references.count && references.idAt(edge) === value) {
          reserveNames(edge);
          nameStarts[edge] = keyAt;
          nameEnds[edge] = keyEnd;
          if (keyEnd > keyAt) named = true;
          edge++;
        }
      }
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > fastNestingMax) return false;
      containers[depth] = byte;
      indexes[depth] = 0;
      serials[depth] = ++objectSerial;
      opened[depth] = to;
      out[typeAt] = byte === 0x7b ? 0x03 : 0x04;
      to += 4;
      at = skipBlank(bytes, at + 1);
      if (bytes[at] === byte + 2) {
        at++;
        depth--;
        out[to++] = 0;
        putInt32(outView, to - 5, 5);
      } else behindValue = false;
    } else if (byte === 0x2d) {
      const value = wholeAt(bytes, at + 1);
      if (value > 0) {
        at = numberEnd;
        to = putWhole(outView, typeAt, to, -value);
      } else {
        const end = skipNumber(bytes, at);
        if (end < 0 || end === numberEnd) return false;
        out[typeAt] = 0x01;
        to = out.writeDoubleLE(Number(bytes.toString("latin1", at, end)), to);
        at = end;
      }
    } else if (byte === 0x6e) {
      if (bytes[at + 1] !== 0x75 || bytes[at + 2] !== 0x6c || bytes[at + 3] !== 0x6c) return false;
      out[typeAt] = 0x0a;
      at += 4;
    } else {
      const end = skipValue(bytes, at);
      if (end < 0) return false;
      out[typeAt] = 0x08;
      out[to++] = byte === 0x74 ? 1 : 0;
      at = end;
    }
  }
  if (at !== span.end || !typeSeen) return false;
  if (edge !== references.count) return false;
  if (named) to = putGemNames(writer, to, edge);
  writer.offset = to;
  return true;
}

/** reference_names from the places of the keys in the output. */
function putGemNames(writer: BsonWriter, from: number, count: number): number {
  let bytes = 64;
  for (let index = 0; index < count; index++) {
    bytes += (nameEnds[index] as number) - (nameStarts[index] as number) + 16;
  }
  writer.offset = from;
  writer.reserve(bytes);
  const { bytes: out, view } = writer;
  out[from] = 0x04;
  const start = putWords(view, from + 1, namesName);
  let to = start + 4;
  for (let index = 0; index < count; index++) {
    out[to++] = 0x02;
    to = writeDecimal(out, to, index);
    out[to++] = 0;
    const length = (nameEnds[index] as number) - (nameStarts[index] as number);
    putInt32(view, to, length + 1);
    to += 4;
    for (let next = nameStarts[index] as number; next < (nameEnds[index] as number); next++) {
      out[to++] = out[next] as number;
    }
    out[to++] = 0;
  }
  out[to++] = 0;
  putInt32(view, start, to - start);
  return to;
}

function reserveNames(index: number): void {
  if (index < nameStarts.length) return;
  const starts = new Int32Array(index * 2);
  starts.set(nameStarts);
  nameStarts = starts;
  const ends = new Int32Array(index * 2);
  ends.set(nameEnds);
  nameEnds = ends;
}

function putWhole(view: DataView, typeAt: number, to: number, value: number): number {
  if (value === (value | 0)) {
    view.setUint8(typeAt, 0x10);
    putInt32(view, to, value);
    return to + 4;
  }
  view.setUint8(typeAt, 0x12);
  return putInt64(view, to, value);
}
