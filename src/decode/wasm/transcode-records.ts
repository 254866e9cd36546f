/**
 * Writes the own fields of ordinary records of `ObjectSpace.dump_all` and of our own producers as BSON, from their bytes,
 * for `../record-transcoder.ts`, which lays out the memory.
 *
 * Writes of an ordinary record exactly the bytes that `encodeRecord` writes (a property test holds it).
 *
 * @see https://bsonspec.org/spec.html
 */
import {
  addressAt,
  escapedByte,
  isSame,
  keyEnd,
  numberEnd,
  skipBlank,
  skipNumber,
  skipString,
  skipStrings,
  skipUtf8,
  skipValue,
  skipWord,
  stops,
  stringCount,
  unitAt,
  wholeAt,
} from "./json-steps";

/** The number whose digits stand there: reading one exactly is the runtime's business. */
declare function doubleOf(at: usize, end: usize): f64;

const nestingMax: i32 = 60;

/** What a top-level key is. */
const enum Role {
  Keep,
  LeaveOut,
  Type,
  Class,
  Size,
  References,
  Names,
  Kinds,
  Reserved,
}

export function heapBase(): usize {
  return __heap_base;
}

/** Where the next byte of the document goes. */
let to: usize = 0;

// --- Objects that are a key's value over and over, and what becomes of them: an object's flags repeat millions of times.

const objectsMax = 16;
const objectBytesMax: usize = 400;
/** Each: place and length of the JSON bytes, place and length of the BSON ones. */
const objectPlaces = memory.data(objectsMax * 16, 16);
const objectBytes = memory.data(objectsMax * 1600, 16);
let objectsKept = 0;
let objectBytesUsed: usize = 0;

function keepObject(from: usize, end: usize, bsonFrom: usize): void {
  const length = end - from;
  const bsonLength = to - bsonFrom;
  const room = (length + 31) & ~15;
  const bsonRoom = (bsonLength + 31) & ~15;
  if (objectsKept === objectsMax || length > objectBytesMax || room + bsonRoom > 1600) return;
  const place = objectPlaces + (objectsKept << 4);
  const at = objectBytes + objectBytesUsed;
  memory.copy(at, from, length);
  memory.copy(at + room, bsonFrom, bsonLength);
  store<u32>(place, at as u32);
  store<u32>(place, length as u32, 4);
  store<u32>(place, (at + room) as u32, 8);
  store<u32>(place, bsonLength as u32, 12);
  objectBytesUsed += room + bsonRoom;
  objectsKept++;
}

/** Writes an object that was found ordinary before. Gives the place behind it; 0: it is another one. */
function putKnownObject(at: usize): usize {
  for (let index = 0; index < objectsKept; index++) {
    const place = objectPlaces + (index << 4);
    const length = load<u32>(place, 4);
    if (!isSame(load<u32>(place), at, length)) continue;
    const bson = load<u32>(place, 8) as usize;
    const bsonLength = load<u32>(place, 12) as usize;
    for (let copied: usize = 0; copied < bsonLength; copied += 16) {
      v128.store(to + copied, v128.load(bson + copied));
    }
    to += bsonLength;
    if (index > 0) {
      // The usual one first.
      const before = v128.load(place - 16);
      v128.store(place - 16, v128.load(place));
      v128.store(place, before);
    }
    return at + length;
  }
  return 0;
}

// --- Keys given twice in one object: hashes of those met, of all objects that are open.

const keysMax = 2048;
const keyHashes = memory.data(keysMax * 8, 16);
let keysOpen = 0;

/** Up to seven bytes behind the key are read. */
function hashOf(from: usize, end: usize): u64 {
  let hash: u64 = end - from;
  let at = from;
  while (at + 8 <= end) {
    hash = (hash ^ load<u64>(at)) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
    at += 8;
  }
  const rest = (end - at) as u64;
  if (rest > 0) {
    hash = (hash ^ (load<u64>(at) & (((1 as u64) << (rest << 3)) - 1))) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

/** Whether the object whose keys begin at `first` has none of this hash yet; false also when there are too many. */
function isNewKey(hash: u64, first: i32): bool {
  if (keysOpen === keysMax) return false;
  for (let index = first; index < keysOpen; index++) {
    if (load<u64>(keyHashes + (index << 3)) === hash) return false;
  }
  store<u64>(keyHashes + (keysOpen << 3), hash);
  keysOpen++;
  return true;
}

/** Writes a key and its NUL. */
function putKey(from: usize, end: usize): void {
  const length = end - from;
  for (let copied: usize = 0; copied < length; copied += 16) {
    v128.store(to + copied, v128.load(from + copied));
  }
  to += length;
  store<u8>(to, 0);
  to++;
}

/** Writes an index as a key: its decimal digits and NUL. */
function putIndex(index: u32): void {
  let digits = 1;
  for (let bound: u32 = 10; bound <= index; bound *= 10) digits++;
  let rest = index;
  for (let at = to + digits - 1; at >= to; at--) {
    const tenth = rest / 10;
    store<u8>(at, (0x30 + rest - tenth * 10) as u8);
    rest = tenth;
  }
  to += digits;
  store<u8>(to, 0);
  to++;
}

// --- Values

/** Writes a string, its escapes resolved, from behind its opening quote. Gives the place behind it. */
function putString(from: usize): usize {
  const start = to;
  let out = to + 4;
  let at = from;
  while (true) {
    const bytes = v128.load(at);
    v128.store(out, bytes);
    const found = stops(bytes);
    if (found === 0) {
      at += 16;
      out += 16;
      continue;
    }
    const plain = ctz(found);
    at += plain;
    out += plain;
    const byte = load<u8>(at);
    if (byte === 0x22) break;
    if (byte < 0x20) return 0;
    if (byte !== 0x5c) {
      const behind = skipUtf8(at + 1, byte);
      if (behind === 0) return 0;
      while (at < behind) {
        store<u8>(out, load<u8>(at));
        out++;
        at++;
      }
      continue;
    }
    const letter = load<u8>(at + 1);
    if (letter !== 0x75) {
      const escaped = escapedByte(letter);
      if (escaped < 0) return 0;
      store<u8>(out, escaped as u8);
      out++;
      at += 2;
      continue;
    }
    let point = unitAt(at + 2);
    if (point < 0 || (point >= 0xdc00 && point < 0xe000)) return 0;
    at += 6;
    if (point >= 0xd800 && point < 0xdc00) {
      if (load<u8>(at) !== 0x5c || load<u8>(at + 1) !== 0x75) return 0;
      const low = unitAt(at + 2);
      if (low < 0xdc00 || low >= 0xe000) return 0;
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
      at += 6;
    }
    out = putCodePoint(out, point);
  }
  store<u8>(out, 0);
  to = out + 1;
  store<u32>(start, (to - start - 4) as u32);
  return at + 1;
}

function putCodePoint(out: usize, point: i32): usize {
  if (point < 0x80) {
    store<u8>(out, point as u8);
    return out + 1;
  }
  if (point < 0x800) {
    store<u8>(out, (0xc0 | (point >> 6)) as u8);
    store<u8>(out + 1, (0x80 | (point & 0x3f)) as u8);
    return out + 2;
  }
  if (point < 0x10000) {
    store<u8>(out, (0xe0 | (point >> 12)) as u8);
    store<u8>(out + 1, (0x80 | ((point >> 6) & 0x3f)) as u8);
    store<u8>(out + 2, (0x80 | (point & 0x3f)) as u8);
    return out + 3;
  }
  store<u8>(out, (0xf0 | (point >> 18)) as u8);
  store<u8>(out + 1, (0x80 | ((point >> 12) & 0x3f)) as u8);
  store<u8>(out + 2, (0x80 | ((point >> 6) & 0x3f)) as u8);
  store<u8>(out + 3, (0x80 | (point & 0x3f)) as u8);
  return out + 4;
}

/** A whole number: int32 where it fits, else int64. */
function putWhole(typeAt: usize, value: i64): void {
  if (value === (value as i32 as i64)) {
    store<u8>(typeAt, 0x10);
    store<i32>(to, value as i32);
    to += 4;
    return;
  }
  store<u8>(typeAt, 0x12);
  store<i64>(to, value);
  to += 8;
}

function putDouble(typeAt: usize, from: usize, digitsEnd: usize): usize {
  const end = skipNumber(from);
  // A whole number after all: of sixteen digits and more, or minus nought.
  if (end === 0 || end === digitsEnd) return 0;
  store<u8>(typeAt, 0x01);
  store<f64>(to, doubleOf(from, end));
  to += 8;
  return end;
}

/**
 * Writes a value behind its name. Gives the place behind it; 0: not ordinary.
 *
 * @param typeAt - where its type goes
 */
function putValue(at: usize, typeAt: usize, depth: i32): usize {
  const byte = load<u8>(at);
  if (byte === 0x22) {
    store<u8>(typeAt, 0x02);
    return putString(at + 1);
  }
  if (byte >= 0x30 && byte <= 0x39) {
    const value = wholeAt(at);
    if (value < 0) return putDouble(typeAt, at, numberEnd);
    putWhole(typeAt, value);
    return numberEnd;
  }
  if (byte === 0x7b) return putObject(at, typeAt, depth + 1);
  if (byte === 0x5b) return putArray(at, typeAt, depth + 1);
  if (byte === 0x2d) {
    const value = wholeAt(at + 1);
    if (value <= 0) return putDouble(typeAt, at, numberEnd);
    putWhole(typeAt, -value);
    return numberEnd;
  }
  const end = skipWord(at);
  if (end === 0) return 0;
  if (byte === 0x6e) {
    store<u8>(typeAt, 0x0a);
    return end;
  }
  store<u8>(typeAt, 0x08);
  store<u8>(to, byte === 0x74 ? 1 : 0);
  to++;
  return end;
}

function putObject(from: usize, typeAt: usize, depth: i32): usize {
  if (depth > nestingMax) return 0;
  store<u8>(typeAt, 0x03);
  const start = to;
  to += 4;
  const keysFirst = keysOpen;
  let at = skipBlank(from + 1);
  if (load<u8>(at) === 0x7d) at++;
  else {
    while (true) {
      if (load<u8>(at) !== 0x22) return 0;
      const keyFrom = at + 1;
      at = keyEnd(keyFrom);
      if (at === 0 || !isNewKey(hashOf(keyFrom, at), keysFirst)) return 0;
      const memberAt = to++;
      putKey(keyFrom, at);
      at = skipBlank(at + 1);
      if (load<u8>(at) !== 0x3a) return 0;
      at = putValue(skipBlank(at + 1), memberAt, depth);
      if (at === 0) return 0;
      at = skipBlank(at);
      const behind = load<u8>(at);
      at++;
      if (behind === 0x7d) break;
      if (behind !== 0x2c) return 0;
      at = skipBlank(at);
    }
  }
  keysOpen = keysFirst;
  store<u8>(to, 0);
  to++;
  store<u32>(start, (to - start) as u32);
  return at;
}

function putArray(from: usize, typeAt: usize, depth: i32): usize {
  if (depth > nestingMax) return 0;
  store<u8>(typeAt, 0x04);
  const start = to;
  to += 4;
  let at = skipBlank(from + 1);
  if (load<u8>(at) === 0x5d) at++;
  else {
    for (let index: u32 = 0; ; index++) {
      const memberAt = to++;
      putIndex(index);
      at = putValue(at, memberAt, depth);
      if (at === 0) return 0;
      at = skipBlank(at);
      const behind = load<u8>(at);
      at++;
      if (behind === 0x5d) break;
      if (behind !== 0x2c) return 0;
      at = skipBlank(at);
    }
  }
  store<u8>(to, 0);
  to++;
  store<u32>(start, (to - start) as u32);
  return at;
}

// --- Records

/** As `reservedFields` and the format say. */
function roleOf(at: usize, length: u32): Role {
  const words = load<u64>(at);
  const more = load<u64>(at + 8);
  switch (length) {
    case 3:
      return (words & 0xff_ffff) === 0x64695f ? Role.Reserved : Role.Keep; // _id
    case 4: {
      const word = words as u32;
      if (word === 0x65707974) return Role.Type;
      return word === 0x74726170 ? Role.Reserved : Role.Keep; // part
    }
    case 5: {
      const word = words & 0xff_ffff_ffff;
      if (word === 0x7373616c63) return Role.Class;
      // depth, parts
      return word === 0x6874706564 || word === 0x7374726170 ? Role.Reserved : Role.Keep;
    }
    case 6:
      return (words & 0xffff_ffff_ffff) === 0x746e65726170 ? Role.Reserved : Role.Keep; // parent
    case 7: {
      const word = words & 0xff_ffff_ffff_ffff;
      if (word === 0x73736572646461) return Role.LeaveOut; // address
      if (word === 0x657a69736d656d) return Role.Size; // memsize
      return word === 0x666f5f74726170 ? Role.Reserved : Role.Keep; // part_of
    }
    case 9:
      // dominator
      return words === 0x6f74616e696d6f64 && (more & 0xff) === 0x72 ? Role.Reserved : Role.Keep;
    case 10: {
      const end = more & 0xffff;
      if (words === 0x636e657265666572 && end === 0x7365) return Role.References;
      // class_name
      return words === 0x616e5f7373616c63 && end === 0x656d ? Role.LeaveOut : Role.Keep;
    }
    case 13:
      // retained_size
      return words === 0x64656e6961746572 && (more & 0xff_ffff_ffff) === 0x657a69735f
        ? Role.Reserved
        : Role.Keep;
    case 14: {
      const end = more & 0xffff_ffff_ffff;
      // retained_count, referrer_count, duplicate_keys
      if (words === 0x64656e6961746572 && end === 0x746e756f635f) return Role.Reserved;
      if (words === 0x7265727265666572 && end === 0x746e756f635f) return Role.Reserved;
      return words === 0x746163696c707564 && end === 0x7379656b5f65 ? Role.Reserved : Role.Keep;
    }
    case 15: {
      const end = more & 0xff_ffff_ffff_ffff;
      if (words !== 0x636e657265666572) return Role.Keep;
      if (end === 0x73656d616e5f65) return Role.Names; // reference_names
      return end === 0x73646e696b5f65 ? Role.Kinds : Role.Keep; // reference_kinds
    }
    case 19:
      // dangling_references
      return words === 0x676e696c676e6164 &&
        more === 0x6e6572656665725f &&
        load<u32>(at + 15) === 0x7365636e
        ? Role.Reserved
        : Role.Keep;
    default:
      return Role.Keep;
  }
}

/**
 * Writes one record's own fields. Gives the place behind the last one. 0: not ordinary; nothing counts that was written.
 *
 * @param outAt - where the first field goes
 * @param referenceCount - of those that the scan found to be objects of the dump
 */
export function transcodeRecord(
  start: usize,
  end: usize,
  outAt: usize,
  referenceCount: u32,
): usize {
  to = outAt;
  keysOpen = 0;
  let at = start;
  if (load<u8>(at++) !== 0x7b) return 0;
  let isTyped = false;
  let namesAt: usize = 0;
  let kindsAt: usize = 0;
  for (let first = true; ; first = false) {
    at = skipBlank(at);
    if (!first) {
      if (load<u8>(at) !== 0x2c) break;
      at = skipBlank(at + 1);
    }
    if (load<u8>(at) !== 0x22) return 0;
    const keyFrom = at + 1;
    at = keyEnd(keyFrom);
    if (at === 0 || !isNewKey(hashOf(keyFrom, at), 0)) return 0;
    const keyTo = at;
    at = skipBlank(at + 1);
    if (load<u8>(at) !== 0x3a) return 0;
    at = skipBlank(at + 1);
    const role = roleOf(keyFrom, (keyTo - keyFrom) as u32);
    switch (role) {
      case Role.References:
        at = skipStrings(at);
        if (at === 0 || stringCount !== referenceCount) return 0;
        continue;
      case Role.LeaveOut:
        at = skipValue(at);
        if (at === 0) return 0;
        continue;
      case Role.Names:
        namesAt = at;
        at = skipValue(at);
        if (at === 0) return 0;
        continue;
      case Role.Kinds:
        kindsAt = at;
        at = skipValue(at);
        if (at === 0) return 0;
        continue;
      case Role.Type:
        if (load<u8>(at) !== 0x22) return 0;
        at = skipString(at + 1);
        if (at === 0) return 0;
        isTyped = true;
        continue;
      case Role.Class: {
        const typeAt = to++;
        putKey(keyFrom, keyTo);
        if (load<u8>(at) === 0x6e) {
          at = skipWord(at);
          if (at === 0) return 0;
          store<u8>(typeAt, 0x0a);
          continue;
        }
        const id = addressAt(at);
        if (id < 0) return 0;
        at = numberEnd;
        store<u8>(typeAt, 0x12);
        store<i64>(to, id);
        to += 8;
        continue;
      }
      case Role.Size: {
        const size = wholeAt(at);
        if (size < 0) return 0;
        at = numberEnd;
        const typeAt = to++;
        putKey(keyFrom, keyTo);
        putWhole(typeAt, size);
        continue;
      }
      default: {
        const typeAt = to++;
        if (role === Role.Reserved) {
          store<u32>(to, 0x706d7564); // dump_
          store<u8>(to + 4, 0x5f);
          to += 5;
        }
        putKey(keyFrom, keyTo);
        if (load<u8>(at) === 0x7b) {
          const bsonFrom = to;
          const behind = putKnownObject(at);
          if (behind !== 0) {
            store<u8>(typeAt, 0x03);
            at = behind;
            continue;
          }
          const from = at;
          at = putValue(at, typeAt, 1);
          if (at === 0) return 0;
          keepObject(from, at, bsonFrom);
          continue;
        }
        at = putValue(at, typeAt, 1);
        if (at === 0) return 0;
      }
    }
  }
  if (load<u8>(at) !== 0x7d || at + 1 !== end || !isTyped) return 0;
  if (namesAt !== 0 && !putNames(namesAt)) return 0;
  if (kindsAt !== 0 && !putKinds(kindsAt)) return 0;
  return to;
}

const namesKey = memory.data<u8>([
  // "reference_"
  0x72, 0x65, 0x66, 0x65, 0x72, 0x65, 0x6e, 0x63, 0x65, 0x5f,
]);

/** reference_names from a list of strings; nothing where all are empty. */
function putNames(from: usize): bool {
  if (load<u8>(from) !== 0x5b) return false;
  const typeAt = to;
  store<u8>(to, 0x04);
  memory.copy(to + 1, namesKey, 10);
  store<u32>(to + 11, 0x656d616e); // names
  store<u16>(to + 15, 0x73);
  const start = to + 17;
  to = start + 4;
  let any = false;
  let at = skipBlank(from + 1);
  for (let index: u32 = 0; load<u8>(at) === 0x22; index++) {
    store<u8>(to, 0x02);
    to++;
    putIndex(index);
    const empty = to + 5;
    at = putString(at + 1);
    if (at === 0) return false;
    if (to > empty) any = true;
    at = skipBlank(at);
    if (load<u8>(at) === 0x2c) at = skipBlank(at + 1);
  }
  if (load<u8>(at) !== 0x5d) return false;
  if (!any) {
    to = typeAt;
    return true;
  }
  store<u8>(to, 0);
  to++;
  store<u32>(start, (to - start) as u32);
  return true;
}

/** reference_kinds, where it is not empty. */
function putKinds(from: usize): bool {
  if (load<u8>(from) !== 0x22) return false;
  if (load<u8>(from + 1) === 0x22) return true;
  store<u8>(to, 0x02);
  memory.copy(to + 1, namesKey, 10);
  store<u32>(to + 11, 0x646e696b); // kinds
  store<u16>(to + 15, 0x73);
  to += 17;
  return putString(from + 1) !== 0;
}
