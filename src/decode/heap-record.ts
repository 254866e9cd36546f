import type { JsonObject } from "./parse-json.js";

/** An object's identity. Whole numbers beyond 2^53 are bigints, beyond 2^63 - 1 decimal text. */
export type ObjectId = number | bigint | string;

/** A decoded line, the same for every format that has one object a line. */
export type HeapRecord = {
  /** Absent: a root without an address, known by `rootName`. */
  readonly id: ObjectId | undefined;
  readonly rootName: string | undefined;
  readonly isRoot: boolean;
  readonly type: string;
  /** Id of the class object, where the record's class is one. */
  readonly classId: ObjectId | undefined;
  /** The class's name, where the record itself says it. */
  readonly className: string | undefined;
  /** Of class and module objects: their name. */
  readonly name: string | undefined;
  /** What the object is called on a path, where that is not its class's name, else its type's. */
  readonly label: string | undefined;
  readonly sizeBytes: number;
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly generation: number | undefined;
  /** What may be references, in dump order: only membership in the dump tells. */
  readonly references: readonly Reference[];
  /** The record as it stands in the dump. */
  readonly fields: JsonObject;
};

export type Reference = {
  readonly id: ObjectId;
  /** The edge's name where the dump has one, else "". */
  readonly name: string;
  /** The edge's kind, a letter (`w`: weak, retains nothing); "" where the dump does not say. */
  readonly kind: string;
};

/** What a field of the record becomes in the document. */
export type FieldRole = "keep" | "leave-out" | "type" | "class" | "size";

/** Why a record is refused. */
export class RecordFault {
  constructor(
    readonly code: "not-an-object" | "schema",
    readonly path: string,
    readonly message: string,
  ) {}
}

/** 2^63 - 1: the largest id that MongoDB's int64 holds. */
const int64Max = 0x7fff_ffff_ffff_ffffn;

/** The id as it is stored and looked up. */
export function idOf(value: number | bigint): ObjectId {
  return typeof value === "bigint" && value > int64Max ? value.toString() : value;
}

/** The id in an address's text (`0x…`, checked before). */
export function idOfAddress(text: string): ObjectId {
  if (text.length <= 15) return Number.parseInt(text, 16);
  const exact = BigInt(text);
  return exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(exact) : idOf(exact);
}
