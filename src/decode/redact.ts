import type { Reject } from "../../schemas/reject.js";
import { hidden, isHidden, withKey, type Redaction } from "../redaction.js";
import type { HeapRecord } from "./heap-record.js";
import { BrokenText, JsonObject, type JsonEntry, type JsonValue } from "./parse-json.js";

/** Hides what a dump says, in all that is stored or shown of it. */
export type Redactor = {
  /** Replaces a record's strings by their length and a keyed hash. Structure and numbers stay. */
  readonly record: (record: HeapRecord) => HeapRecord;
  /** A refused record keeps its place and the kind of its fault: what it says is not known to be anything but secret. */
  readonly reject: (reject: Reject) => Reject;
  /** The command line of the dumped process: its arguments may hold passwords. */
  readonly command: (command: string) => string;
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
  ...["references", "reference_kinds", "flags", "superclass", "default", "methods"],
]);
/** Fields with what a string of the heap says. */
const valueFields = new Set([
  ...["value", "val", "generic_ivars", "ivs", "consts", "refs", "env"],
  ...["registers", "stack", "globals"],
  ...["constants", "class_variables", "captures", "reference_names"],
]);
/** An address as dumps write it: it tells of no content. */
const address = /^0x[0-9a-f]{1,16}$/;
/** Names of fields, variables and constants, as far as they look like it. */
const programName = /^(@{0,2}|\$)[\p{ID_Start}_][\p{ID_Continue}]*[?!=]?$/u;
/**
 * Edges as our producers and V8 name them, where the program's text has the name: variables, `(self)`, `[:symbol]`,
 * `[Class]`, an element's index, and what a producer has redacted.
 */
const programEdge =
  /^(@{0,2}\$?[\p{ID_Start}_$][\p{ID_Continue}$?!=]*|\(.*\)|\[:.*\]|\[[A-Z][\w:]*\]|\[(hmac|redacted):.*\]|\d*|\$.)$/u;

/** @param redaction - without a key, one is drawn: everything of one import must go through one redactor */
export function redactorOf(redaction: Redaction): Redactor {
  const { mode, key } = withKey(redaction);
  const hide = (text: string): string => (isHidden(mode, text) ? hidden(text, key) : text);

  function redacted(value: JsonValue, keysAreData: boolean): JsonValue {
    if (value instanceof BrokenText) return isHidden(mode, value.text) ? hide(value.text) : value;
    if (typeof value === "string") return address.test(value) ? value : hide(value);
    if (value instanceof JsonObject) {
      return new JsonObject(
        value.entries.map((entry): JsonEntry => {
          const shown = keyOf(entry.key, keysAreData);
          return {
            key: shown,
            keyBytes: shown === entry.key ? entry.keyBytes : undefined,
            value: redacted(entry.value, keysAreData),
          };
        }),
      );
    }
    return Array.isArray(value)
      ? value.map((element: JsonValue) => redacted(element, keysAreData))
      : value;
  }

  /** Keys of a Ruby Hash are data, others are names. */
  function keyOf(name: string, isData: boolean): string {
    return (isData ? name.startsWith("__id_") : programName.test(name)) ? name : hide(name);
  }

  function edgeOf(name: string): string {
    if (mode instanceof RegExp) return hide(name);
    if (programEdge.test(name)) return name;
    const [, inside] = /^\[(.*)\]$/su.exec(name) ?? [];
    return inside === undefined ? hide(name) : `[${hide(inside)}]`;
  }

  return {
    record: (record) => {
      const keysAreData = record.type === "HASH";
      const fromFields = record.fields.last("reference_names") === undefined;
      return {
        ...record,
        references: record.references.map((reference) => ({
          ...reference,
          // The gem's names are keys of the record: they must stay equal to these.
          name: fromFields ? keyOf(reference.name, keysAreData) : edgeOf(reference.name),
        })),
        fields: new JsonObject(
          record.fields.entries.map((entry) => {
            const reached =
              mode === "values" ? valueFields.has(entry.key) : !programFields.has(entry.key);
            return reached ? { ...entry, value: redacted(entry.value, keysAreData) } : entry;
          }),
        ),
      };
    },
    reject: (reject) => ({
      ...reject,
      path: programFields.has(reject.path) ? reject.path : "",
      // Its message may quote the value; those of the other codes tell places only.
      message: reject.code === "schema" ? "a field does not fit the schema" : reject.message,
      raw: Buffer.from(hidden(reject.raw, key)),
    }),
    command: hide,
  };
}
