import { createHmac, randomBytes } from "node:crypto";
import type { HeapRecord } from "./heap-record.js";
import { BrokenText, JsonObject, type JsonEntry, type JsonValue } from "./parse-json.js";

/** What is redacted: all strings but names of the program, what strings of the heap say, or what fits a pattern. */
export type Redaction = {
  readonly mode: "all" | "values" | RegExp;
  /** Equal strings get equal hashes under one key. Default: a new random key. */
  readonly key?: Buffer | undefined;
};

/** Fields that name parts of the program: without them no leak can be found. */
const programFields = new Set([
  ...["id", "address", "bt", "type", "class", "name", "real_class_name", "class_name", "type_name"],
  ...[
    "nd_type_str",
    "file",
    "filename",
    "line",
    "method",
    "struct",
    "imemo_type",
    "encoding",
    "root",
  ],
  ...[
    "references",
    "reference_names",
    "reference_kinds",
    "flags",
    "superclass",
    "default",
    "methods",
  ],
]);
/** Fields with what a string of the heap says. */
const valueFields = new Set(["value", "val", "generic_ivars", "ivs", "consts", "refs", "env"]);

/** Gives a function that replaces what a string of the heap says, if it is to be hidden. */
export function textRedactorOf(redaction: Redaction): (text: string) => string {
  const key = redaction.key ?? randomBytes(32);
  const { mode } = redaction;
  return (text) => {
    if (mode !== "all" && mode !== "values" && !mode.test(text)) return text;
    const hash = createHmac("sha256", key).update(text).digest("hex").slice(0, 16);
    return `redacted:${Buffer.byteLength(text)}:${hash}`;
  };
}

/** Gives a function that replaces a record's strings by their length and a keyed hash. Structure and numbers stay. */
export function redactorOf(redaction: Redaction): (record: HeapRecord) => HeapRecord {
  const { mode } = redaction;
  const hidden = textRedactorOf(redaction);
  const isHidden = (text: string): boolean =>
    mode === "all" || mode === "values" || mode.test(text);

  function redacted(value: JsonValue): JsonValue {
    if (value instanceof BrokenText) return isHidden(value.text) ? hidden(value.text) : value;
    if (typeof value === "string") return isHidden(value) ? hidden(value) : value;
    if (value instanceof JsonObject) {
      return new JsonObject(
        value.entries.map((entry): JsonEntry => {
          // Names of variables and constants are the program's; keys of hashes may be data.
          const isName = /^(@|[A-Z]\w*$|__)/.test(entry.key);
          const hide = !isName && isHidden(entry.key);
          return {
            key: hide ? hidden(entry.key) : entry.key,
            keyBytes: hide ? undefined : entry.keyBytes,
            value: redacted(entry.value),
          };
        }),
      );
    }
    return Array.isArray(value) ? value.map((element: JsonValue) => redacted(element)) : value;
  }

  return (record) => ({
    ...record,
    fields: new JsonObject(
      record.fields.entries.map((entry) => {
        const reached =
          mode === "values" ? valueFields.has(entry.key) : !programFields.has(entry.key);
        return reached ? { ...entry, value: redacted(entry.value) } : entry;
      }),
    ),
  });
}
