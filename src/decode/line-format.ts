import type { FieldRole, HeapRecord, RecordFault } from "./heap-record.js";
import type { JsonObject } from "./parse-json.js";

/** A format with one object a line: the plain definition of how its records are read. */
export type LineFormat = {
  /** Contract, never renamed. */
  readonly name: "heap-dump-gem" | "objspace" | "heapdump-mongo";
  readonly writtenBy: string;
  /** The record, or why it is refused. Says nothing of whether its references exist. */
  readonly readRecord: (fields: JsonObject) => HeapRecord | RecordFault;
  /** What becomes of a top-level field in the document. */
  readonly roleOf: (key: string) => FieldRole;
};
