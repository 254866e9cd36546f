import {
  addressAt,
  endsAt,
  equalBytes,
  fastNestingMax,
  hashKeyIdAt,
  numberEnd,
  skipBlank,
  skipNumber,
  skipString,
  skipStrings,
  skipValue,
  skipWord,
  stringCount,
  viewOf,
  wholeAt,
} from "./json-bytes.js";
import { closureLabel, placeIn, procLabel } from "./format-objspace.js";
import { keyCodesOf } from "./key-codes.js";
import { JsonFault, parseJson } from "./parse-json.js";
import { keepObject, keepStep, knownObject, knownStep } from "./known-keys.js";
import { isNamedBy, namedReferencesMax, type ScanSink } from "./scan-sink.js";

/**
 * Scans one ordinary record of the format into the sink. Gives the offset behind it. -1: not ordinary, nothing was
 * added, the plain path must decide. `bytes[end]` or a later byte must be below 0x20 (the line feed).
 *
 * Says of an ordinary record exactly what the plain path says (a property test holds it).
 *
 * @param end - where the record must end; `atLineEnd`: before a line feed
 */
export type ScanRecord = (bytes: Buffer, start: number, end: number, sink: ScanSink) => number;

const objspaceKey = keyCodesOf([
  "address",
  "type",
  "class",
  "references",
  "memsize",
  "file",
  "line",
  "generation",
  "name",
  "real_class_name",
  "class_name",
  "reference_names",
  "reference_kinds",
  "root",
  "struct",
  "imemo_type",
  "value",
  "proc",
  "env_of",
]);

const classType = Buffer.from("CLASS");
const moduleType = Buffer.from("MODULE");
/** What the scan makes of a type. */
const enum TypeKind {
  ordinary,
  /** A root or a header: the plain path knows them. */
  notAnObject,
  /** A class or a module. */
  class,
  includedClass,
  imemo,
  string,
  /** V8's, in dumps of our own producer. */
  closure,
}

function typeKindOf(name: string): TypeKind {
  switch (name) {
    case "ROOT":
    case "HEADER":
      return TypeKind.notAnObject;
    case "CLASS":
    case "MODULE":
      return TypeKind.class;
    case "ICLASS":
      return TypeKind.includedClass;
    case "IMEMO":
      return TypeKind.imemo;
    case "STRING":
      return TypeKind.string;
    case "closure":
      return TypeKind.closure;
    default:
      return TypeKind.ordinary;
  }
}

const procStruct = Buffer.from("proc");
const envStruct = Buffer.from("VM/env");
const envImemo = Buffer.from("env");

/** Where the value of each key stands; -1: not met. Reused: one record is scanned at a time. */
const starts = new Int32Array(19);
const ends = new Int32Array(19);

/** Records of `ObjectSpace.dump_all` and of our own producers. */
export const scanObjspaceRecord: ScanRecord = (bytes, start, end, sink) => {
  starts.fill(-1);
  let at = start;
  if (bytes[at++] !== 0x7b) return -1;
  let referenceNameCount = -1;
  sink.reserveObject();
  const position = sink.objectCount;
  let generation = -1;
  let line = -1;
  let size = 0;
  let id = -1;
  let classId = NaN;
  let isText = false;
  let step = sink.keys.start;
  const view = viewOf(bytes);
  for (let first = true; ; first = false) {
    const followed = knownStep(step, view, at, bytes.length);
    if (followed !== undefined) {
      at = skipBlank(bytes, at + followed.text.length);
      step = followed;
    } else {
      const from = at;
      at = skipBlank(bytes, at);
      if (!first) {
        if (bytes[at] !== 0x2c) break;
        at = skipBlank(bytes, at + 1);
      }
      if (bytes[at] !== 0x22) return rolledBack(sink);
      const keyFrom = at + 1;
      at = keyFrom;
      // Keys of real dumps are plain ASCII; others are not ordinary.
      for (let byte = bytes[at] as number; byte !== 0x22; byte = bytes[++at] as number) {
        if (byte < 0x20 || byte > 0x7e || byte === 0x5c) return rolledBack(sink);
      }
      const keyTo = at;
      at = skipBlank(bytes, at + 1);
      if (bytes[at] !== 0x3a) return rolledBack(sink);
      at = skipBlank(bytes, at + 1);
      const places = { from, keyFrom, keyTo, to: at };
      step = keepStep(sink.keys, step, bytes, places, objspaceKey(bytes, keyFrom, keyTo));
    }
    const key = step.code;
    if (key < 0) {
      const isObject = bytes[at] === 0x7b;
      const known = isObject ? knownObject(step, view, at, bytes.length) : undefined;
      if (known !== undefined) at += known.json.length;
      else {
        const from = at;
        at = skipValue(bytes, at);
        if (at < 0) return rolledBack(sink);
        if (isObject) keepObject(step, bytes.subarray(from, at));
      }
    } else {
      if (starts[key] !== -1) return rolledBack(sink); // A known key twice.
      starts[key] = at;
      switch (key) {
        case 0: // address
          id = addressAt(bytes, at);
          at = numberEnd;
          if (id < 0) return rolledBack(sink);
          break;
        case 2: // class
          classId = addressAt(bytes, at);
          at = numberEnd;
          if (classId < 0) return rolledBack(sink);
          break;
        case 3: // references
          at = scanAddresses(bytes, at, sink);
          if (at < 0) return rolledBack(sink);
          break;
        case 4: // memsize
        case 6: // line
        case 7: {
          // generation
          const from = at;
          const value = wholeAt(bytes, at);
          at = numberEnd;
          if (value < 0 || at === from) return rolledBack(sink);
          if (key === 4) size = value;
          else if (value > 0x7fff_ffff) return rolledBack(sink);
          else if (key === 6) line = value;
          else generation = value;
          break;
        }
        case 11: // reference_names
          at = skipStrings(bytes, at);
          referenceNameCount = stringCount;
          if (at < 0) return rolledBack(sink);
          break;
        case 17: // proc, env_of: what our producer knows of closures.
        case 18:
          at = skipValue(bytes, at);
          if (at < 0) return rolledBack(sink);
          break;
        case 16: // value
          isText = bytes[at] === 0x22;
          at = skipValue(bytes, at);
          if (at < 0) return rolledBack(sink);
          break;
        default:
          // The others are texts, but a `name` that is none is data.
          if (bytes[at] !== 0x22) return rolledBack(sink);
          at = skipString(bytes, at + 1);
          if (at < 0) return rolledBack(sink);
      }
      ends[key] = at;
    }
  }
  if (bytes[at++] !== 0x7d || !endsAt(bytes, at, end) || id < 0 || starts[1] === -1)
    return rolledBack(sink);
  const typeFrom = (starts[1] as number) + 1;
  const typeTo = (ends[1] as number) - 1;
  if (typeTo === typeFrom || typeTo - typeFrom > 60) return rolledBack(sink);
  const typeCode = sink.names.types.codeOfPlain(bytes, typeFrom, typeTo);
  if (typeCode < 0) return rolledBack(sink);
  const kind = (sink.typeKinds[typeCode] ??= typeKindOf(sink.names.types.names[typeCode] ?? ""));
  if (kind === TypeKind.notAnObject) return rolledBack(sink);
  const referenceCount = sink.referenceCount - (sink.firstReference[position] as number);
  if (referenceNameCount >= 0 && referenceNameCount !== referenceCount) return rolledBack(sink);
  if (starts[12] !== -1 && !scanKinds(bytes, referenceCount, sink)) return rolledBack(sink);
  if (starts[13] !== -1) return rolledBack(sink); // `root` belongs to ROOT lines.
  sink.ids[position] = id;
  sink.classIds[position] = kind === TypeKind.imemo ? NaN : classId;
  sink.sizes[position] = size;
  sink.typeCodes[position] = typeCode;
  sink.generations[position] = generation;
  if (!scanNames(bytes, position, kind, line, sink)) return rolledBack(sink);
  if (!scanLabel(bytes, position, kind, line, sink)) return rolledBack(sink);
  if (
    referenceNameCount > 0 &&
    isNamedBy(sink.names.types.names[typeCode] ?? "") &&
    !scanReferenceNames(bytes, starts[11] as number, sink)
  ) {
    return rolledBack(sink);
  }
  sink.textHashes[position] =
    isText && kind === TypeKind.string
      ? textHash(bytes, (starts[16] as number) + 1, (ends[16] as number) - 1)
      : NaN;
  sink.commit();
  return at;
};

/** The hash of a text that the plain path decoded: as dump_all escapes it. */
export function textHashOf(text: string): number {
  // Words are read where a text ends, too.
  const bytes = Buffer.from(`${JSON.stringify(text)}\n\n\n\n`);
  return textHash(bytes, 1, bytes.length - 5);
}

/** 53 bits of two hashes, of the text as it is escaped, four bytes at a time. @see MurmurHash3, for its multipliers */
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

/** What the object is called on a path, where its class and type do not say it: few are. */
function scanLabel(
  bytes: Buffer,
  position: number,
  kind: TypeKind,
  line: number,
  sink: ScanSink,
): boolean {
  if (kind === TypeKind.class || kind === TypeKind.includedClass)
    return labelled(bytes, starts[8] as number, ends[8] as number, position, sink);
  const [structFrom, structTo] = [starts[14] as number, ends[14] as number];
  const [imemoFrom, imemoTo] = [starts[15] as number, ends[15] as number];
  const hasName = starts[8] !== -1 && (ends[8] as number) - (starts[8] as number) > 2;
  const isNamedClosure = kind === TypeKind.closure && hasName;
  if (structFrom === -1 && imemoFrom === -1 && !isNamedClosure) return true;
  const isStruct = structFrom !== -1 && structTo - structFrom > 2;
  if (isStruct && equalBytes(bytes, structFrom + 1, structTo - 1, procStruct)) {
    for (const key of [17, 18]) {
      if (starts[key] === -1) continue;
      const closure = parseJson(bytes, starts[key], ends[key]);
      if (closure instanceof JsonFault) return false;
      const place = placeIn(closure);
      if (place === undefined) continue;
      sink.labels.set(position, `proc at ${place}`);
      return true;
    }
    const file = sink.names.files.names;
    const code = starts[5] === -1 ? -1 : fileCodeOf(bytes, sink);
    sink.labels.set(position, code < 0 ? "proc" : procLabel(file[code] as string, line));
    return true;
  }
  if (
    (isStruct && equalBytes(bytes, structFrom + 1, structTo - 1, envStruct)) ||
    (imemoFrom !== -1 && equalBytes(bytes, imemoFrom + 1, imemoTo - 1, envImemo))
  ) {
    sink.labels.set(position, "env");
    return true;
  }
  if (isNamedClosure) return closureLabelled(bytes, position, sink);
  const hasClass = starts[2] !== -1 && kind !== TypeKind.imemo;
  if (hasClass || starts[10] !== -1) {
    return !hasEscape(bytes, structFrom, structTo) && !hasEscape(bytes, imemoFrom, imemoTo);
  }
  return isStruct
    ? labelled(bytes, structFrom, structTo, position, sink)
    : labelled(bytes, imemoFrom, imemoTo, position, sink);
}

function closureLabelled(bytes: Buffer, position: number, sink: ScanSink): boolean {
  const [from, end] = [starts[8] as number, ends[8] as number];
  if (hasEscape(bytes, from, end)) return false;
  sink.labels.set(position, closureLabel(bytes.toString("utf8", from + 1, end - 1)));
  return true;
}

/** Takes the text between two quotes for the label, if there is one. */
function labelled(
  bytes: Buffer,
  quoteFrom: number,
  end: number,
  position: number,
  sink: ScanSink,
): boolean {
  if (quoteFrom === -1 || end - quoteFrom <= 2) return true;
  if (hasEscape(bytes, quoteFrom, end)) return false;
  const { labels } = sink.names;
  const code = labels.codeOfBytes(bytes, quoteFrom + 1, end - 1);
  sink.labels.set(position, labels.names[code] as string);
  return true;
}

function fileCodeOf(bytes: Buffer, sink: ScanSink): number {
  return sink.names.files.codeOfBytes(bytes, (starts[5] as number) + 1, (ends[5] as number) - 1);
}

/** Site, class name, and the name of a class object. */
function scanNames(
  bytes: Buffer,
  position: number,
  kind: TypeKind,
  line: number,
  sink: ScanSink,
): boolean {
  sink.siteCodes[position] = -1;
  sink.classNameCodes[position] = -1;
  if (starts[5] !== -1) {
    const from = (starts[5] as number) + 1;
    const to = (ends[5] as number) - 1;
    const file = sink.names.files.codeOfPlain(bytes, from, to);
    if (file < 0) return false;
    sink.siteCodes[position] = sink.names.sites.codeOf(file, line);
  }
  if (starts[10] !== -1) {
    const from = (starts[10] as number) + 1;
    const to = (ends[10] as number) - 1;
    if (to === from) return false;
    const className = sink.names.classNames.codeOfPlain(bytes, from, to);
    if (className < 0) return false;
    sink.classNameCodes[position] = className;
  }
  if (kind === TypeKind.class) {
    for (const key of [8, 9]) {
      const from = (starts[key] as number) + 1;
      const to = (ends[key] as number) - 1;
      if (from === 0 || from === to) continue;
      if (hasEscape(bytes, from, to)) return false;
      sink.classNames.set(position, bytes.toString("utf8", from, to));
      break;
    }
  }
  return true;
}

function scanKinds(bytes: Buffer, referenceCount: number, sink: ScanSink): boolean {
  const from = (starts[12] as number) + 1;
  const to = (ends[12] as number) - 1;
  if (to - from !== referenceCount) return false;
  const first = sink.firstReference[sink.objectCount] as number;
  for (let at = from; at < to; at++) {
    switch (bytes[at]) {
      case 0x77: // w
        sink.markWeak(first + at - from);
        break;
      case 0x63: // c
      case 0x65: // e
      case 0x70: // p
      case 0x69: // i
      case 0x68: // h
      case 0x73: // s
        break;
      default:
        sink.weak.fill(0, first, first + referenceCount);
        return false;
    }
  }
  return true;
}

function rolledBack(sink: ScanSink): -1 {
  sink.rollBack();
  return -1;
}

function hasEscape(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] === 0x5c) return true;
  return false;
}

/** A list of addresses into the sink's candidates. */
function scanAddresses(bytes: Buffer, at: number, sink: ScanSink): number {
  if (bytes[at] !== 0x5b) return -1;
  let next = skipBlank(bytes, at + 1);
  if (bytes[next] === 0x5d) return next + 1;
  for (;;) {
    const id = addressAt(bytes, next);
    if (id < 0) return -1;
    sink.reference(id);
    next = skipBlank(bytes, numberEnd);
    if (bytes[next] === 0x5d) return next + 1;
    if (bytes[next] !== 0x2c) return -1;
    next = skipBlank(bytes, next + 1);
  }
}

/** The first names of a list that was found to be one. */
function scanReferenceNames(bytes: Buffer, listFrom: number, sink: ScanSink): boolean {
  const first = sink.firstReference[sink.objectCount] as number;
  const count = Math.min(sink.referenceCount - first, namedReferencesMax);
  let at = skipBlank(bytes, listFrom + 1);
  for (let index = 0; index < count; index++) {
    const end = skipString(bytes, at + 1);
    if (hasEscape(bytes, at, end)) return false;
    if (end - at > 2) {
      sink.nameReference(first + index, sink.names.references.codeOfBytes(bytes, at + 1, end - 1));
    }
    at = skipBlank(bytes, skipBlank(bytes, end) + 1);
  }
  return true;
}

const gemKey = keyCodesOf(["id", "bt", "class", "size", "name"]);
const containers = new Uint8Array(fastNestingMax + 2);

/** Records of the `heap_dump` gem: every integer anywhere may be a reference. */
export const scanGemRecord: ScanRecord = (bytes, start, end, sink) => {
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
  sink.commit();
  return at;
};

const dataType = Buffer.from("DATA");
