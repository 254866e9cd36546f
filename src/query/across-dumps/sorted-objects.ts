import type { ClientSession, Db, Document } from "mongodb";

/** An object's id in one dump: integers beyond 2^53 as a bigint, which compares with numbers by value. */
export type ObjectId = number | bigint | string;

/**
 * Documents of a batch, about 1.3 MB. Larger ones cost a quarter more processor time here, all of it in the garbage
 * collector; smaller ones cost the server more (bench/diff.ts).
 */
const batchDocuments = 10_000;

/** BSON's element types that a projected object has. */
const bson = { double: 1, string: 2, document: 3, array: 4, int32: 16, int64: 18 } as const;

/** Fields that tell one object from another of the same id, and what it is counted by. */
export type ObjectFields = {
  type: string;
  className: string;
  file: string;
  line: number;
  generation: number;
  memsize: number;
};

/**
 * The objects of a dump in the order of their ids, read as raw BSON: the caller looks at one at a time and moves on.
 *
 * Memory is bounded by two batches. The next batch is on its way while this one is read.
 */
export class SortedObjects {
  /** The id of the object it stands at; undefined: the end, or `needsBatch`. */
  id: ObjectId | undefined;
  /** `fill` has to be awaited before anything else. */
  needsBatch = true;

  #bytes: Buffer = Buffer.alloc(0);
  /** Of the same bytes: reads four at a time without a function call. */
  #view: DataView = new DataView(new ArrayBuffer(0));
  #at = 0;
  #end = 0;
  /** Of the object it stands at: behind its `_id`, and behind its last field. */
  #fieldsStart = 0;
  #fieldsEnd = 0;
  #next: Promise<Batch> | undefined;
  readonly #database: Db;
  readonly #collection: string;
  readonly #session: ClientSession;
  readonly #signal: AbortSignal | undefined;

  constructor(
    database: Db,
    collection: string,
    fields: readonly string[],
    signal: AbortSignal | undefined,
  ) {
    this.#database = database;
    this.#collection = collection;
    this.#session = database.client.startSession();
    this.#signal = signal;
    this.#next = this.#ask({
      find: collection,
      // Continuation documents of one large object have no type.
      filter: { type: { $exists: true } },
      projection: Object.fromEntries(["_id", ...fields].map((field) => [field, 1])),
      sort: { _id: 1 },
      hint: { _id: 1 },
      batchSize: batchDocuments,
    });
    // A failure is met where the batch is awaited.
    this.#next.catch(() => undefined);
  }

  /** Waits for the next batch and stands at its first object. */
  async fill(): Promise<void> {
    this.#signal?.throwIfAborted();
    if (this.#next === undefined) {
      this.needsBatch = false;
      return;
    }
    const batch = await this.#next;
    this.#next =
      batch.cursorId === 0n
        ? undefined
        : this.#ask({
            getMore: batch.cursorId,
            collection: this.#collection,
            batchSize: batchDocuments,
          });
    this.#next?.catch(() => undefined);
    this.#bytes = batch.bytes;
    this.#view = new DataView(batch.bytes.buffer, batch.bytes.byteOffset, batch.bytes.byteLength);
    this.#at = batch.start;
    this.#end = batch.end;
    this.needsBatch = false;
    this.advance();
  }

  /** Moves on to the next object. */
  advance(): void {
    if (this.#at >= this.#end) {
      this.id = undefined;
      this.needsBatch = this.#next !== undefined;
      return;
    }
    const bytes = this.#bytes;
    const view = this.#view;
    let at = this.#at;
    // An array's element: type, index as text, NUL, document.
    while (bytes[++at] !== 0);
    const document = at + 1;
    const length = view.getInt32(document, true);
    this.#at = document + length;
    const idType = bytes[document + 4];
    const value = document + 9; // Length, type and "_id\0".
    if (idType === bson.int64) {
      const high = view.getInt32(value + 4, true);
      this.id =
        high < 0x20_0000 && high >= 0
          ? high * 0x1_0000_0000 + view.getUint32(value, true)
          : view.getBigInt64(value, true);
    } else if (idType === bson.int32) this.id = view.getInt32(value, true);
    else if (idType === bson.double) this.id = view.getFloat64(value, true);
    else {
      this.id = bytes.toString("utf8", value + 4, value + 3 + bytes.readInt32LE(value));
    }
    this.#fieldsStart = value + valueLength(bytes, idType ?? 0, value);
    this.#fieldsEnd = document + length - 1;
  }

  /** Whether all fields are the same, byte by byte. */
  equals(other: SortedObjects): boolean {
    const length = this.#fieldsEnd - this.#fieldsStart;
    if (other.#fieldsEnd - other.#fieldsStart !== length) return false;
    const one = this.#view;
    const two = other.#view;
    const shift = other.#fieldsStart - this.#fieldsStart;
    const end = this.#fieldsEnd;
    let at = this.#fieldsStart;
    for (; at + 4 <= end; at += 4) {
      if (one.getInt32(at) !== two.getInt32(at + shift)) return false;
    }
    for (; at < end; at++) {
      if (one.getUint8(at) !== two.getUint8(at + shift)) return false;
    }
    return true;
  }

  /** The fields of the object it stands at. */
  fields(): ObjectFields {
    const found: ObjectFields = {
      type: "",
      className: "",
      file: "",
      line: -1,
      generation: -1,
      memsize: 0,
    };
    const bytes = this.#bytes;
    for (let at = this.#fieldsStart; at < this.#fieldsEnd;) {
      const type = bytes[at] as number;
      const nameStart = at + 1;
      const nameEnd = bytes.indexOf(0, nameStart);
      const value = nameEnd + 1;
      const name = bytes.toString("latin1", nameStart, nameEnd);
      if (name === "type") found.type = textAt(bytes, type, value);
      else if (name === "class_name") found.className = textAt(bytes, type, value);
      else if (name === "file") found.file = textAt(bytes, type, value);
      else if (name === "line") found.line = numberAt(bytes, type, value);
      else if (name === "generation") found.generation = numberAt(bytes, type, value);
      else if (name === "memsize") found.memsize = numberAt(bytes, type, value);
      at = value + valueLength(bytes, type, value);
    }
    return found;
  }

  /** Must be called, also after a failure. */
  async close(): Promise<void> {
    const last = await this.#next?.catch(() => undefined);
    this.#next = undefined;
    if (last !== undefined && last.cursorId !== 0n) {
      const kill = { killCursors: this.#collection, cursors: [last.cursorId] };
      await this.#database.command(kill, { session: this.#session }).catch(() => undefined);
    }
    await this.#session.endSession();
  }

  async #ask(command: Document): Promise<Batch> {
    // `raw` leaves nested documents as bytes: the driver makes no object of any of ours.
    const reply = await this.#database.command(command, { session: this.#session, raw: true });
    return batchOf(reply.cursor as Uint8Array);
  }
}

/** BSON's order of ids: numbers before text. */
export function compareIds(one: ObjectId, two: ObjectId): number {
  if (typeof one === "string") {
    return typeof two === "string" ? Buffer.compare(Buffer.from(one), Buffer.from(two)) : 1;
  }
  if (typeof two === "string") return -1;
  return one < two ? -1 : one > two ? 1 : 0;
}

type Batch = {
  readonly bytes: Buffer;
  /** Of the elements in it. */
  readonly start: number;
  readonly end: number;
  readonly cursorId: bigint;
};

/** @param reply - the `cursor` of a reply: `{firstBatch | nextBatch: [...], id, ns}` */
function batchOf(reply: Uint8Array): Batch {
  const bytes = Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength);
  let start = 0;
  let end = 0;
  let cursorId = 0n;
  for (let at = 4; at < bytes.length - 1;) {
    const type = bytes[at] as number;
    const nameEnd = bytes.indexOf(0, at + 1);
    const name = bytes.toString("latin1", at + 1, nameEnd);
    const value = nameEnd + 1;
    const length = valueLength(bytes, type, value);
    if (type === bson.array) {
      start = value + 4;
      end = value + length - 1;
    }
    if (name === "id") cursorId = bytes.readBigInt64LE(value);
    at = value + length;
  }
  return { bytes, start, end, cursorId };
}

function valueLength(bytes: Buffer, type: number, at: number): number {
  switch (type) {
    case bson.double:
    case bson.int64:
    case 9: // Date.
    case 17: // Timestamp.
      return 8;
    case bson.int32:
      return 4;
    case bson.string:
      return 4 + bytes.readInt32LE(at);
    case bson.document:
    case bson.array:
      return bytes.readInt32LE(at);
    case 5: // Binary.
      return 5 + bytes.readInt32LE(at);
    case 8: // Boolean.
      return 1;
    case 10: // Null.
      return 0;
    default:
      throw new Error(`BSON type ${type} was not asked for`);
  }
}

function textAt(bytes: Buffer, type: number, at: number): string {
  return type === bson.string ? bytes.toString("utf8", at + 4, at + 3 + bytes.readInt32LE(at)) : "";
}

function numberAt(bytes: Buffer, type: number, at: number): number {
  if (type === bson.int32) return bytes.readInt32LE(at);
  if (type === bson.double) return bytes.readDoubleLE(at);
  return type === bson.int64 ? Number(bytes.readBigInt64LE(at)) : -1;
}
