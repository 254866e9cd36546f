import { closureLabel, placeIn, procLabel } from "./format-objspace.js";
import { equalBytes, hasEscape, skipBlank, skipString } from "./json-bytes.js";
import { JsonFault, parseJson } from "./parse-json.js";
import { isNamedBy, namedReferencesMax, type ScanSink } from "./scan-sink.js";

/** What the scan makes of a type. */
export const enum TypeKind {
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

export function typeKindOf(name: string): TypeKind {
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

/** Keys with a number in wasm/scan-records.ts. */
export const keyCount = 19;

const procStruct = Buffer.from("proc");
const envStruct = Buffer.from("VM/env");
const envImemo = Buffer.from("env");

/** Where the value of each key stands in the block; -1: not met. Reused: one record is scanned at a time. */
export const starts = new Int32Array(keyCount);
export const ends = new Int32Array(keyCount);

/**
 * Adds what an ordinary record says beyond its usual columns: class name, label, names and kinds of references. False:
 * it is not ordinary after all, and nothing of it is kept.
 *
 * @param bytes - of the block; `starts` and `ends` tell where the record's values stand
 * @param line - that the record says it was made at; -1: it does not say
 */
export function finishRecord(
  bytes: Buffer,
  sink: ScanSink,
  kind: TypeKind,
  line: number,
  typeCode: number,
): boolean {
  const position = sink.objectCount;
  const first = sink.firstReference[position] as number;
  const referenceCount = sink.referenceCount - first;
  if (
    (starts[12] === -1 || scanKinds(bytes, referenceCount, sink)) &&
    scanNames(bytes, position, kind, sink) &&
    scanLabel(bytes, position, kind, line, sink) &&
    (starts[11] === -1 ||
      referenceCount === 0 ||
      !isNamedBy(sink.names.types.names[typeCode] ?? "") ||
      scanReferenceNames(bytes, starts[11] as number, sink))
  ) {
    return true;
  }
  sink.weak.fill(0, first, first + referenceCount);
  sink.classNames.delete(position);
  sink.labels.delete(position);
  sink.rollBack();
  return false;
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

/** Class name, and the name of a class object. */
function scanNames(bytes: Buffer, position: number, kind: TypeKind, sink: ScanSink): boolean {
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
        return false;
    }
  }
  return true;
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
