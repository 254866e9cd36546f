/**
 * The scan of ordinary records of `ObjectSpace.dump_all` and of our own producers, from bytes to columns, for
 * `../record-scanner.ts`, which lays out the memory and answers what is asked here.
 *
 * Says of an ordinary record exactly what the plain path says (a property test holds it).
 */
import {
  addressAt,
  hasEscape,
  isSame,
  keyEnd,
  numberEnd,
  skipBlank,
  skipString,
  skipStrings,
  skipValue,
  stringCount,
  wholeAt,
} from "./json-steps";

/** The number of a type met for the first time; -1: it holds an escape. */
declare function newType(at: usize, end: usize): i32;
/** What the scan makes of a type. */
declare function typeKindOf(code: i32): i32;
declare function newFile(at: usize, end: usize): i32;
declare function newSite(file: i32, line: i32): i32;
/** Looks at a record that says more than usual, whose fields stand at `starts` and `ends`. 0: not ordinary. */
declare function finishRecord(kind: i32, line: i32): i32;

const enum Key {
  Address,
  Type,
  Class,
  References,
  Memsize,
  File,
  Line,
  Generation,
  Name,
  RealClassName,
  ClassName,
  ReferenceNames,
  ReferenceKinds,
  Root,
  Struct,
  ImemoType,
  Value,
  Proc,
  EnvOf,
  Other = -1,
}

const keyCount = 19;

/** As in ../record-scanner.ts. */
const enum TypeKind {
  Ordinary,
  NotAnObject,
  Class,
  IncludedClass,
  Imemo,
  String,
  Closure,
}

/** Where the value of each key stands and ends. */
export const starts: usize = memory.data(keyCount * 4, 16);
export const ends: usize = memory.data(keyCount * 4, 16);

/** Keys whose records are looked at by `finishRecord`. */
const unusual: u32 =
  (1 << Key.ClassName) |
  (1 << Key.ReferenceNames) |
  (1 << Key.ReferenceKinds) |
  (1 << Key.Struct) |
  (1 << Key.ImemoType) |
  (1 << Key.Proc) |
  (1 << Key.EnvOf);

// Columns of the block, in the order in which `../record-scanner.ts` gives them.
let ids: usize = 0;
let classIds: usize = 0;
let sizes: usize = 0;
let textHashes: usize = 0;
let references: usize = 0;
let siteCodes: usize = 0;
let generations: usize = 0;
let classNameCodes: usize = 0;
let firstReference: usize = 0;
let lines: usize = 0;
let lineOffsets: usize = 0;
let typeCodes: usize = 0;

/** Rows of the columns. */
export let objectCount: i32 = 0;
export let referenceCount: i32 = 0;
/** The line that is scanned, from 0 in its block. */
export let line: i32 = 0;

export function setCounts(objects: i32, candidates: i32, lineIndex: i32): void {
  objectCount = objects;
  referenceCount = candidates;
  line = lineIndex;
}

export function setColumns(
  idsAt: usize,
  classIdsAt: usize,
  sizesAt: usize,
  textHashesAt: usize,
  referencesAt: usize,
  siteCodesAt: usize,
  generationsAt: usize,
  classNameCodesAt: usize,
  firstReferenceAt: usize,
  linesAt: usize,
  lineOffsetsAt: usize,
  typeCodesAt: usize,
): void {
  ids = idsAt;
  classIds = classIdsAt;
  sizes = sizesAt;
  textHashes = textHashesAt;
  references = referencesAt;
  siteCodes = siteCodesAt;
  generations = generationsAt;
  classNameCodes = classNameCodesAt;
  firstReference = firstReferenceAt;
  lines = linesAt;
  lineOffsets = lineOffsetsAt;
  typeCodes = typeCodesAt;
}

let blockAt: usize = 0;

export function setBlock(at: usize): void {
  blockAt = at;
}

/** Where what is known of the dump is kept: names and tables, for all its blocks. */
export let arenaAt: usize = 0;

export function setArena(at: usize): void {
  arenaAt = at;
  types = emptyTable();
  files = emptyTable();
  sites = emptyTable();
}

export function heapBase(): usize {
  return __heap_base;
}

function allocate(length: usize): usize {
  const at = arenaAt;
  arenaAt = (at + length + 15) & ~15;
  return at;
}

// --- Tables: open addressing, at most half full. An entry: hash, length, place of the bytes, number.

const entryBytes: u32 = 16;
/** Before the entries: their number less one, how many are in use. */
const tableHead: u32 = 16;

function emptyTable(): usize {
  return tableOf(64);
}

function tableOf(slots: u32): usize {
  const at = allocate(tableHead + slots * entryBytes);
  memory.fill(at, 0, tableHead + slots * entryBytes);
  store<u32>(at, slots - 1);
  return at;
}

/** The table with one more entry: another one where this is half full. */
function inserted(table: usize, hash: u32, length: u32, at: usize, code: i32): usize {
  let into = table;
  const mask = load<u32>(table);
  const used = load<u32>(table, 4);
  if ((used + 1) * 2 > mask) {
    into = tableOf((mask + 1) * 2);
    for (let slot: u32 = 0; slot <= mask; slot++) {
      const entry = table + tableHead + slot * entryBytes;
      if (load<u32>(entry, 12) === 0) continue;
      put(into, load<u32>(entry), load<u32>(entry, 4), load<u32>(entry, 8), load<i32>(entry, 12));
    }
    store<u32>(into, used, 4);
  }
  put(into, hash, length, at, code + 1);
  store<u32>(into, used + 1, 4);
  return into;
}

function put(table: usize, hash: u32, length: u32, at: usize, codeAndOne: i32): void {
  const mask = load<u32>(table);
  let slot = hash & mask;
  while (load<u32>(table + tableHead + slot * entryBytes, 12) !== 0) slot = (slot + 1) & mask;
  const entry = table + tableHead + slot * entryBytes;
  store<u32>(entry, hash);
  store<u32>(entry, length, 4);
  store<u32>(entry, at as u32, 8);
  store<i32>(entry, codeAndOne, 12);
}

function mixed(hash: u64, word: u64): u64 {
  const product = (hash ^ word) * 0x9e3779b97f4a7c15;
  return product ^ (product >> 29);
}

/** Of bytes, eight at a time; up to seven behind them are read, but do not count. */
function hashOf(from: usize, length: u32): u32 {
  let hash: u64 = length;
  let at = from;
  let rest = length;
  while (rest >= 8) {
    hash = mixed(hash, load<u64>(at));
    at += 8;
    rest -= 8;
  }
  if (rest > 0) hash = mixed(hash, load<u64>(at) & (((1 as u64) << (rest << 3)) - 1));
  return (hash >> 32) as u32;
}

/** A copy for later blocks, with room for whole words behind it. */
function kept(from: usize, length: u32): usize {
  const at = allocate(length + 16);
  memory.copy(at, from, length);
  return at;
}

function entryOf(table: usize, hash: u32, from: usize, length: u32): usize {
  const mask = load<u32>(table);
  let slot = hash & mask;
  while (true) {
    const entry = table + tableHead + slot * entryBytes;
    if (load<u32>(entry, 12) === 0) return 0;
    if (
      load<u32>(entry) === hash &&
      load<u32>(entry, 4) === length &&
      isSame(load<u32>(entry, 8), from, length)
    )
      return entry;
    slot = (slot + 1) & mask;
  }
}

let types: usize = 0;
let files: usize = 0;
let sites: usize = 0;

/** What `typeCodeOf` found the type to be. */
let typeKind: i32 = 0;

/** The number of a type, and behind its first occurrence its kind. */
function typeCodeOf(from: usize, to: usize): i32 {
  const length = (to - from) as u32;
  const hash = hashOf(from, length);
  const entry = entryOf(types, hash, from, length);
  if (entry !== 0) {
    // The kind in the lowest bits.
    const both = load<i32>(entry, 12) - 1;
    typeKind = both & 7;
    return both >> 3;
  }
  const code = newType(from, to);
  if (code < 0) return -1;
  typeKind = typeKindOf(code);
  types = inserted(types, hash, length, kept(from, length), (code << 3) | typeKind);
  return code;
}

function fileCodeOf(from: usize, to: usize): i32 {
  const length = (to - from) as u32;
  const hash = hashOf(from, length);
  const entry = entryOf(files, hash, from, length);
  if (entry !== 0) return load<i32>(entry, 12) - 1;
  if (hasEscape(from, to)) return -1;
  const code = newFile(from, to);
  files = inserted(files, hash, length, kept(from, length), code);
  return code;
}

/** The number of a file and a line; both take the places of an entry's length and bytes. */
function siteCodeOf(file: i32, atLine: i32): i32 {
  const hash = (mixed(file, atLine) >> 32) as u32;
  const mask = load<u32>(sites);
  for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
    const entry = sites + tableHead + slot * entryBytes;
    const code = load<i32>(entry, 12);
    if (code === 0) break;
    if (load<i32>(entry, 4) === file && load<i32>(entry, 8) === atLine) return code - 1;
  }
  const code = newSite(file, atLine);
  sites = inserted(sites, hash, file, atLine as usize, code);
  return code;
}

// --- Objects that are a key's value over and over: an object's flags repeat millions of times.

const objectsMax = 16;
const objectBytesMax: usize = 400;
const objectPlaces = memory.data(objectsMax * 8, 16);
let objectsKept = 0;

/** Behind an object that was found ordinary before; 0: it is another one. */
function skipKnownObject(at: usize): usize {
  for (let index = 0; index < objectsKept; index++) {
    const place = objectPlaces + (index << 3);
    const length = load<u32>(place, 4);
    if (!isSame(load<u32>(place), at, length)) continue;
    if (index > 0) {
      // The usual one first.
      const before = load<u64>(place - 8);
      store<u64>(place - 8, load<u64>(place));
      store<u64>(place, before);
    }
    return at + length;
  }
  return 0;
}

function keepObject(from: usize, to: usize): void {
  const length = to - from;
  if (objectsKept === objectsMax || length > objectBytesMax) return;
  const place = objectPlaces + (objectsKept << 3);
  store<u32>(place, kept(from, length as u32) as u32);
  store<u32>(place, length as u32, 4);
  objectsKept++;
}

// --- Records

/** Which key the text is. */
function keyOf(at: usize, length: u32): Key {
  const words = load<u64>(at);
  switch (length) {
    case 4: {
      const word = words as u32;
      if (word === 0x65707974) return Key.Type;
      if (word === 0x656c6966) return Key.File;
      if (word === 0x656e696c) return Key.Line;
      if (word === 0x656d616e) return Key.Name;
      if (word === 0x746f6f72) return Key.Root;
      if (word === 0x636f7270) return Key.Proc;
      return Key.Other;
    }
    case 5: {
      const word = words & 0xff_ffff_ffff;
      if (word === 0x7373616c63) return Key.Class;
      if (word === 0x65756c6176) return Key.Value;
      return Key.Other;
    }
    case 6: {
      const word = words & 0xffff_ffff_ffff;
      if (word === 0x746375727473) return Key.Struct;
      if (word === 0x666f5f766e65) return Key.EnvOf;
      return Key.Other;
    }
    case 7: {
      const word = words & 0xff_ffff_ffff_ffff;
      if (word === 0x73736572646461) return Key.Address;
      if (word === 0x657a69736d656d) return Key.Memsize;
      return Key.Other;
    }
    case 10: {
      const more = load<u16>(at + 8);
      if (words === 0x636e657265666572 && more === 0x7365) return Key.References;
      if (words === 0x69746172656e6567 && more === 0x6e6f) return Key.Generation;
      if (words === 0x616e5f7373616c63 && more === 0x656d) return Key.ClassName;
      if (words === 0x79745f6f6d656d69 && more === 0x6570) return Key.ImemoType;
      return Key.Other;
    }
    case 15: {
      const more = load<u64>(at + 8) & 0xff_ffff_ffff_ffff;
      if (words === 0x636e657265666572) {
        if (more === 0x73656d616e5f65) return Key.ReferenceNames;
        if (more === 0x73646e696b5f65) return Key.ReferenceKinds;
      }
      if (words === 0x616c635f6c616572 && more === 0x656d616e5f7373) return Key.RealClassName;
      return Key.Other;
    }
    default:
      return Key.Other;
  }
}

function rolledBack(): usize {
  referenceCount = load<i32>(firstReference + (objectCount << 2));
  return 0;
}

/**
 * Scans one record into the columns. Gives the place behind it. 0: not ordinary, nothing was added.
 *
 * @param end - where the record must end; 0: before a line feed
 * @param lineFrom - where its line begins
 */
export function scanRecord(start: usize, end: usize, lineFrom: usize): usize {
  let at = start;
  if (load<u8>(at++) !== 0x7b) return 0;
  let seen: u32 = 0;
  let referenceNameCount: i32 = -1;
  let id: i64 = -1;
  let classId: f64 = NaN;
  let size: i64 = 0;
  let recordLine: i32 = -1;
  let generation: i32 = -1;
  let isText = false;
  let key = Key.Other;
  let typeFrom: usize = 0;
  let typeTo: usize = 0;
  let fileFrom: usize = 0;
  let fileTo: usize = 0;
  let valueFrom: usize = 0;
  let valueTo: usize = 0;
  for (let first = true; ; first = false) {
    at = skipBlank(at);
    if (!first) {
      if (load<u8>(at) !== 0x2c) break;
      at = skipBlank(at + 1);
    }
    if (load<u8>(at) !== 0x22) return rolledBack();
    const keyFrom = at + 1;
    at = keyEnd(keyFrom);
    if (at === 0) return rolledBack();
    key = keyOf(keyFrom, (at - keyFrom) as u32);
    at = skipBlank(at + 1);
    if (load<u8>(at) !== 0x3a) return rolledBack();
    at = skipBlank(at + 1);
    if (key === Key.Other) {
      const byte = load<u8>(at);
      if (byte === 0x7b) {
        const behind = skipKnownObject(at);
        if (behind !== 0) at = behind;
        else {
          const from = at;
          at = skipValue(at);
          if (at === 0) return rolledBack();
          keepObject(from, at);
        }
      } else {
        at = byte === 0x22 ? skipString(at + 1) : skipValue(at);
        if (at === 0) return rolledBack();
      }
      continue;
    }
    const bit: u32 = 1 << key;
    if ((seen & bit) !== 0) return rolledBack(); // A known key twice.
    seen |= bit;
    const from = at;
    switch (key) {
      case Key.Address:
        id = addressAt(at);
        at = numberEnd;
        if (id < 0) return rolledBack();
        break;
      case Key.Class: {
        const found = addressAt(at);
        at = numberEnd;
        if (found < 0) return rolledBack();
        classId = found as f64;
        break;
      }
      case Key.References: {
        if (load<u8>(at) !== 0x5b) return rolledBack();
        at = skipBlank(at + 1);
        if (load<u8>(at) === 0x5d) {
          at++;
          break;
        }
        while (true) {
          const found = addressAt(at);
          if (found < 0) return rolledBack();
          store<f64>(references + (referenceCount << 3), found as f64);
          referenceCount++;
          at = skipBlank(numberEnd);
          const behind = load<u8>(at);
          at++;
          if (behind === 0x5d) break;
          if (behind !== 0x2c) return rolledBack();
          at = skipBlank(at);
        }
        break;
      }
      case Key.Memsize:
        size = wholeAt(at);
        if (size < 0) return rolledBack();
        at = numberEnd;
        break;
      case Key.Line: {
        const value = wholeAt(at);
        if (value < 0 || value > 0x7fff_ffff) return rolledBack();
        at = numberEnd;
        recordLine = value as i32;
        break;
      }
      case Key.Generation: {
        const value = wholeAt(at);
        if (value < 0 || value > 0x7fff_ffff) return rolledBack();
        at = numberEnd;
        generation = value as i32;
        break;
      }
      case Key.ReferenceNames:
        at = skipStrings(at);
        if (at === 0) return rolledBack();
        referenceNameCount = stringCount as i32;
        break;
      case Key.Proc:
      case Key.EnvOf:
        at = skipValue(at);
        if (at === 0) return rolledBack();
        break;
      case Key.Value:
        isText = load<u8>(at) === 0x22;
        valueFrom = at + 1;
        at = isText ? skipString(at + 1) : skipValue(at);
        if (at === 0) return rolledBack();
        valueTo = at - 1;
        break;
      default:
        // The others are texts, but a `name` that is none is data.
        if (load<u8>(at) !== 0x22) return rolledBack();
        at = skipString(at + 1);
        if (at === 0) return rolledBack();
        if (key === Key.Type) {
          typeFrom = from + 1;
          typeTo = at - 1;
        } else if (key === Key.File) {
          fileFrom = from + 1;
          fileTo = at - 1;
        }
    }
    store<i32>(starts + (key << 2), from as i32);
    store<i32>(ends + (key << 2), at as i32);
  }
  if (load<u8>(at++) !== 0x7d || id < 0 || typeFrom === 0) return rolledBack();
  if (end !== 0) {
    if (at !== end) return rolledBack();
  } else {
    const behind = load<u8>(at);
    if (behind !== 0x0a && (behind !== 0x0d || load<u8>(at + 1) !== 0x0a)) return rolledBack();
  }
  if (typeTo === typeFrom || typeTo - typeFrom > 60) return rolledBack();
  const typeCode = typeCodeOf(typeFrom, typeTo);
  if (typeCode < 0) return rolledBack();
  const kind = typeKind;
  if (kind === TypeKind.NotAnObject) return rolledBack();
  const own = referenceCount - load<i32>(firstReference + (objectCount << 2));
  if (referenceNameCount >= 0 && referenceNameCount !== own) return rolledBack();
  if ((seen & (1 << Key.Root)) !== 0) return rolledBack(); // It belongs to ROOT lines.
  let site: i32 = -1;
  if (fileFrom !== 0) {
    const file = fileCodeOf(fileFrom, fileTo);
    if (file < 0) return rolledBack();
    site = siteCodeOf(file, recordLine);
  }
  const row4 = (objectCount as usize) << 2;
  const row8 = (objectCount as usize) << 3;
  store<f64>(ids + row8, id as f64);
  store<f64>(classIds + row8, kind === TypeKind.Imemo ? NaN : classId);
  store<f64>(sizes + row8, size as f64);
  store<u16>(typeCodes + ((objectCount as usize) << 1), typeCode as u16);
  store<i32>(siteCodes + row4, site);
  store<i32>(generations + row4, generation);
  store<i32>(classNameCodes + row4, -1);
  const isNamedKind =
    kind === TypeKind.Class || kind === TypeKind.IncludedClass || kind === TypeKind.Closure;
  if ((seen & unusual) !== 0 || isNamedKind) {
    for (let other = 0; other < keyCount; other++) {
      if ((seen & ((1 as u32) << other)) === 0) store<i32>(starts + (other << 2), -1);
    }
    if (finishRecord(kind, recordLine) === 0) return rolledBack();
  }
  store<f64>(
    textHashes + row8,
    isText && kind === TypeKind.String ? textHash(valueFrom, valueTo) : NaN,
  );
  store<i32>(lines + row4, line);
  store<u32>(lineOffsets + row4, (lineFrom - blockAt) as u32);
  objectCount++;
  store<i32>(firstReference + ((objectCount as usize) << 2), referenceCount);
  return at;
}

/**
 * Scans lines that are an ordinary record and nothing else. Gives the place of the first other one, or the end; `line`
 * counts on.
 */
export function scanLines(from: usize, end: usize): usize {
  let at = from;
  while (at < end) {
    const behind = scanRecord(at, 0, at);
    if (behind === 0) return at;
    at = behind + (load<u8>(behind) === 0x0d ? 2 : 1);
    line++;
  }
  return at;
}

/** 53 bits of two hashes, of the text as it is escaped, four bytes at a time. @see MurmurHash3, for its multipliers */
export function textHash(from: usize, to: usize): f64 {
  let one: u32 = 0x811c9dc5;
  let two: u32 = (to - from) as u32;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    const word = load<u32>(at);
    one = (one ^ word) * 0x85ebca6b;
    one ^= one >> 13;
    two = (two ^ word) * 0xcc9e2d51;
    two ^= two >> 15;
  }
  for (; at < to; at++) {
    const byte: u32 = load<u8>(at);
    one = (one ^ byte) * 0x01000193;
    two = (two ^ byte) * 0xc2b2ae35;
    two ^= two >> 15;
  }
  return ((one ^ (one >> 15)) as f64) * 0x20_0000 + (((two ^ (two >> 13)) & 0x1f_ffff) as f64);
}
