import { gemRecord } from "../../schemas/gem-record.js";
import { checkRecord } from "./check-record.js";
import {
  idOf,
  RecordFault,
  type HeapRecord,
  type ObjectId,
  type Reference,
} from "./heap-record.js";
import { JsonObject, type JsonValue } from "./parse-json.js";
import type { LineFormat } from "./line-format.js";

const declared = ["id", "bt", "class", "size"] as const;

/** Dumps of the `heap_dump` gem: a JSON array, one object a line. */
export const gemFormat: LineFormat = {
  name: "heap-dump-gem",
  writtenBy: "the heap_dump gem (Ruby 1.9.2 to 2.0)",
  readRecord,
  roleOf: (key) => {
    if (key === "id") return "leave-out";
    if (key === "bt") return "type";
    if (key === "class") return "class";
    if (key === "size") return "size";
    return "keep";
  },
};

function readRecord(fields: JsonObject): HeapRecord | RecordFault {
  const checked = checkRecord(gemRecord, declared, fields);
  if (checked instanceof RecordFault) return checked;
  const type = checked.bt === undefined ? "ROOT" : checked.bt.slice(2);
  const isClass = type === "CLASS" || type === "MODULE";
  const name = fields.last("name");
  const references: Reference[] = [];
  for (const { key, value } of fields.entries) {
    if (key === "id" || key === "class") continue;
    collect(key, value, references);
  }
  return {
    id: typeof checked.id === "string" ? checked.id : idOf(checked.id),
    rootName: undefined,
    isRoot: checked.id === "_ROOTS_",
    type,
    classId:
      checked.class === null || typeof checked.class === "string"
        ? undefined
        : classIdOf(checked.class),
    className: undefined,
    name: isClass && typeof name === "string" && name !== "" ? name : undefined,
    label: undefined,
    sizeBytes: type === "DATA" ? (checked.size ?? 0) : 0,
    file: undefined,
    line: undefined,
    generation: undefined,
    references,
    fields,
  };
}

function classIdOf(value: number | bigint | undefined): ObjectId | undefined {
  return value === undefined ? undefined : idOf(value);
}

/**
 * Every integer may be a reference, and so may the keys of hashes that print as `__id_N`. The name of the edge is the
 * key of the innermost object; elements of arrays have none.
 */
function collect(name: string, value: JsonValue, references: Reference[]): void {
  if (typeof value === "number" || typeof value === "bigint") {
    if (value >= 0) references.push({ id: idOf(value), name, kind: "" });
  } else if (value instanceof JsonObject) {
    for (const entry of value.entries) {
      const keyId = idOfKey(entry.key);
      if (keyId !== undefined) references.push({ id: keyId, name: "", kind: "" });
      collect(entry.key, entry.value, references);
    }
  } else if (Array.isArray(value)) {
    for (const element of value as readonly JsonValue[]) collect("", element, references);
  }
}

/** The object that a hash key of the form `__id_N` stands for. */
export function idOfKey(key: string): ObjectId | undefined {
  if (!key.startsWith("__id_") || !/^__id_(0|[1-9][0-9]{0,19})$/.test(key)) return undefined;
  const exact = BigInt(key.slice(5));
  return exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(exact) : idOf(exact);
}
