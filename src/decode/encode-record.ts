import type { BsonWriter } from "../bson-writer.js";
import { reservedFields } from "../../schemas/stored-fields.js";
import {
  idOf,
  idOfAddress,
  type HeapRecord,
  type ObjectId,
  type Reference,
} from "./heap-record.js";
import {
  BrokenText,
  JsonDouble,
  JsonObject,
  type JsonEntry,
  type JsonValue,
} from "./parse-json.js";
import type { LineFormat } from "./line-format.js";

const reserved: ReadonlySet<string> = new Set(reservedFields);

/** The name under which a record's own field is stored. */
export function storedName(key: string): string {
  return reserved.has(key) ? `dump_${key}` : key;
}

/**
 * Writes a record's own fields into an open document: the plain definition of what the fast path writes.
 *
 * @param isReference - whether a candidate, asked in dump order, is an object of the dump
 * @returns whether broken text was repaired
 */
export function encodeRecord(
  writer: BsonWriter,
  format: LineFormat,
  record: HeapRecord,
  isReference: (reference: Reference) => boolean,
): { repaired: boolean } {
  const state: State = { writer, repaired: false, duplicates: [] };
  const entries = withoutDuplicates(record.fields, "", state);
  const used = new Set([...reserved, ...entries.map((entry) => storedName(entry.key))]);
  for (const { key, keyBytes, value } of entries) {
    const role = keyBytes === undefined ? format.roleOf(key) : "keep";
    if (role === "leave-out" || role === "type") continue;
    if (role === "class") writeClass(writer, value);
    else if (role === "size" && key === "memsize") writer.integer(key, record.sizeBytes);
    else {
      writeField(state, storedName(key), key, keyBytes, value, used);
      if (role === "size" && record.type === "DATA") writer.integer("memsize", record.sizeBytes);
    }
  }
  writeReferences(writer, record.references, isReference, format.name !== "heap-dump-gem");
  if (state.duplicates.length > 0) {
    const list = writer.beginArray("duplicate_keys");
    for (const [index, duplicate] of state.duplicates.entries()) {
      writer.indexKey(0x03, index);
      const entry = writer.begin();
      writer.string("path", duplicate.path);
      writeField(state, "value", duplicate.path, undefined, duplicate.value, new Set());
      writer.end(entry);
    }
    writer.end(list);
  }
  return { repaired: state.repaired };
}

type State = {
  readonly writer: BsonWriter;
  repaired: boolean;
  /** Values of keys given twice that a later one replaced. */
  readonly duplicates: { path: string; value: JsonValue }[];
};

function writeClass(writer: BsonWriter, value: JsonValue): void {
  if (value === null) writer.null("class");
  else if (typeof value === "number" || typeof value === "bigint") {
    writer.id("class", idOf(value));
  } else if (value instanceof JsonDouble) writer.int64("class", value.value);
  else if (value instanceof BrokenText) writer.string("class", value.text);
  else if (typeof value === "string") {
    if (/^0x[0-9a-f]{1,16}$/.test(value)) writer.id("class", idOfAddress(value));
    else writer.string("class", value);
  }
}

function writeReferences(
  writer: BsonWriter,
  candidates: readonly Reference[],
  isReference: (reference: Reference) => boolean,
  listed: boolean,
): void {
  const references: Reference[] = [];
  const dangling: ObjectId[] = [];
  for (const candidate of candidates) {
    if (isReference(candidate)) references.push(candidate);
    else if (listed) dangling.push(candidate.id);
  }
  if (references.some((reference) => reference.name !== "")) {
    const names = writer.beginArray("reference_names");
    for (const [index, reference] of references.entries()) {
      writer.indexKey(0x02, index);
      writer.stringValue(reference.name);
    }
    writer.end(names);
  }
  const kinds = references.map((reference) => reference.kind).join("");
  if (kinds !== "") writer.string("reference_kinds", kinds);
  if (dangling.length === 0) return;
  const list = writer.beginArray("dangling_references");
  for (const [index, id] of dangling.entries()) {
    writer.indexKey(typeof id === "string" ? 0x02 : 0x12, index);
    if (typeof id === "string") writer.stringValue(id);
    else writer.int64Value(id);
  }
  writer.end(list);
}

/** Entries with one value a key: the last one, at the place of the first; the others go to `duplicates`. */
function withoutDuplicates(object: JsonObject, path: string, state: State): readonly JsonEntry[] {
  const at = new Map<string, number>();
  const entries: JsonEntry[] = [];
  for (const entry of object.entries) {
    const earlier = at.get(entry.key);
    if (earlier === undefined) {
      at.set(entry.key, entries.length);
      entries.push(entry);
      continue;
    }
    const replaced = entries[earlier] as JsonEntry;
    state.duplicates.push({ path: path + entry.key, value: replaced.value });
    entries[earlier] = { ...entry, keyBytes: entry.keyBytes ?? replaced.keyBytes };
  }
  return entries;
}

/**
 * @param path - of the field in the record, for keys given twice
 * @param used - names taken in the document that is being written
 */
function writeField(
  state: State,
  name: string,
  path: string,
  keyBytes: Uint8Array | undefined,
  value: JsonValue,
  used: Set<string>,
): void {
  const { writer } = state;
  const broken: BrokenAt[] = [];
  writeValue(state, { name }, value, path, broken, "");
  if (keyBytes !== undefined) {
    state.repaired = true;
    writer.binary(unused(`${name}_key_bytes`, used), keyBytes);
  }
  const [first] = broken;
  if (first === undefined) return;
  state.repaired = true;
  const bytesName = unused(`${name}_bytes`, used);
  if (value instanceof BrokenText) {
    writer.binary(bytesName, first.bytes);
    return;
  }
  const document = writer.beginDocument(bytesName);
  for (const { path: below, bytes } of broken) writer.binary(below, bytes);
  writer.end(document);
}

/** Broken text in an array, by its path below the field that holds the array. */
type BrokenAt = { readonly path: string; readonly bytes: Uint8Array };

function unused(name: string, used: Set<string>): string {
  let free = name;
  while (used.has(free)) free += "_";
  used.add(free);
  return free;
}

type Place = { readonly name: string } | { readonly index: number };

function key(writer: BsonWriter, type: number, place: Place): void {
  if ("name" in place) writer.key(type, place.name);
  else writer.indexKey(type, place.index);
}

function writeValue(
  state: State,
  place: Place,
  value: JsonValue,
  path: string,
  broken: BrokenAt[],
  below: string,
): void {
  const { writer } = state;
  if (typeof value === "string") {
    key(writer, 0x02, place);
    writer.stringValue(value);
  } else if (typeof value === "number" || typeof value === "bigint") {
    writeWhole(writer, place, value);
  } else if (value === null) key(writer, 0x0a, place);
  else if (typeof value === "boolean") {
    key(writer, 0x08, place);
    writer.reserve(1);
    writer.bytes[writer.offset++] = value ? 1 : 0;
  } else if (value instanceof JsonDouble) {
    key(writer, 0x01, place);
    writer.reserve(8);
    writer.offset = writer.bytes.writeDoubleLE(value.value, writer.offset);
  } else if (value instanceof BrokenText) {
    key(writer, 0x02, place);
    writer.stringValue(value.text);
    broken.push({ path: below, bytes: value.bytes });
  } else if (value instanceof JsonObject) {
    key(writer, 0x03, place);
    const start = writer.begin();
    const entries = withoutDuplicates(value, `${path}.`, state);
    const used = new Set(entries.map((entry) => entry.key));
    for (const entry of entries) {
      writeField(state, entry.key, `${path}.${entry.key}`, entry.keyBytes, entry.value, used);
    }
    writer.end(start);
  } else {
    key(writer, 0x04, place);
    const start = writer.begin();
    for (const [index, element] of (value as readonly JsonValue[]).entries()) {
      const deeper = below === "" ? String(index) : `${below}.${index}`;
      writeValue(state, { index }, element, `${path}.${index}`, broken, deeper);
    }
    writer.end(start);
  }
}

function writeWhole(writer: BsonWriter, place: Place, value: number | bigint): void {
  if (typeof value === "number") {
    const small = value === (value | 0);
    key(writer, small ? 0x10 : 0x12, place);
    if (small) {
      writer.reserve(4);
      writer.offset = writer.bytes.writeInt32LE(value, writer.offset);
    } else writer.int64Value(value);
    return;
  }
  if (BigInt.asIntN(64, value) === value) {
    key(writer, 0x12, place);
    writer.int64Value(value);
    return;
  }
  // Beyond 64 bits no number type of BSON that every driver reads exactly is left: the digits.
  key(writer, 0x02, place);
  writer.stringValue(value.toString());
}
