import { objspaceRecord, type ObjspaceRecord } from "../../schemas/objspace-record.js";
import { checkRecord } from "./check-record.js";
import { idOfAddress, RecordFault, type HeapRecord, type Reference } from "./heap-record.js";
import { JsonObject, type JsonValue } from "./parse-json.js";
import type { LineFormat } from "./line-format.js";

const declared = [
  "address",
  "type",
  "root",
  "class",
  "references",
  "memsize",
  "file",
  "line",
  "generation",
  "class_name",
  "reference_names",
  "reference_kinds",
] as const;

/** Dumps of Ruby's `ObjectSpace.dump_all`: one object a line. Our own producers write the same and a header. */
export const objspaceFormat: LineFormat = {
  name: "objspace",
  writtenBy: "ObjectSpace.dump_all (Ruby 2.1 to today)",
  readRecord,
  roleOf,
};

/** Dumps of our own producers: a header line, the records of `objspace`, the header again with counts. */
export const ownFormat: LineFormat = {
  name: "heapdump-mongo",
  writtenBy: "heap_dump.rb and heapdump-mongo/producer",
  readRecord,
  roleOf,
};

function roleOf(key: string): ReturnType<LineFormat["roleOf"]> {
  if (key === "address" || key === "references" || key === "class_name") return "leave-out";
  if (key === "reference_names" || key === "reference_kinds") return "leave-out";
  if (key === "type") return "type";
  if (key === "class") return "class";
  if (key === "memsize") return "size";
  return "keep";
}

function readRecord(fields: JsonObject): HeapRecord | RecordFault {
  const checked = checkRecord(objspaceRecord, declared, fields);
  if (checked instanceof RecordFault) return checked;
  const isClass = checked.type === "CLASS" || checked.type === "MODULE";
  const name = fields.last("name");
  // A singleton class has no name of its own: what it is the class of is known by the real class.
  const realName = fields.last("real_class_name");
  const references: Reference[] = (checked.references ?? []).map((text, index) => ({
    id: idOfAddress(text),
    name: checked.reference_names?.[index] ?? "",
    kind: checked.reference_kinds?.[index] ?? "",
  }));
  return {
    id: checked.address === undefined ? undefined : idOfAddress(checked.address),
    rootName: checked.root,
    isRoot: checked.type === "ROOT",
    type: checked.type,
    // On IMEMO lines that word is no class.
    classId:
      checked.class === undefined || checked.type === "IMEMO"
        ? undefined
        : idOfAddress(checked.class),
    className: checked.class_name,
    name: isClass ? (nameOf(name) ?? nameOf(realName)) : undefined,
    label: labelOf(checked, fields),
    sizeBytes: checked.memsize ?? 0,
    file: checked.file,
    line: checked.line,
    generation: checked.generation,
    references,
    fields,
  };
}

/** As src/query/object-labels.ts calls it, which has the last word: a test compares them. */
function labelOf(checked: ObjspaceRecord, fields: JsonObject): string | undefined {
  const { type, file, line } = checked;
  if (type === "CLASS" || type === "MODULE" || type === "ICLASS") {
    return nameOf(fields.last("name"));
  }
  const struct = nameOf(fields.last("struct"));
  if (struct === "proc") {
    const own = placeIn(fields.last("proc")) ?? placeIn(fields.last("env_of"));
    if (own !== undefined) return `proc at ${own}`;
    return file === undefined ? "proc" : procLabel(file, line ?? -1);
  }
  const imemo = nameOf(fields.last("imemo_type"));
  if (struct === "VM/env" || imemo === "env") return "env";
  const name = nameOf(fields.last("name"));
  if (type === "closure" && name !== undefined) return closureLabel(name);
  const hasClass = checked.class !== undefined && type !== "IMEMO";
  return hasClass || checked.class_name !== undefined ? undefined : (struct ?? imemo);
}

/** Where our producer says that a closure was made. */
export function placeIn(closure: JsonValue | undefined): string | undefined {
  if (!(closure instanceof JsonObject)) return undefined;
  const [file, line] = [closure.last("file"), closure.last("line")];
  const isWhole = typeof line === "number" || typeof line === "bigint";
  return typeof file === "string" ? `${file}:${isWhole ? line : "?"}` : undefined;
}

export function closureLabel(name: string): string {
  return `closure ${name}()`;
}

/** @param line - -1: the dump does not say */
export function procLabel(file: string, line: number): string {
  return `proc at ${file}:${line < 0 ? "?" : line}`;
}

function nameOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
