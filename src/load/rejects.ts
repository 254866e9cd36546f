import { Binary, BSON, MongoServerError, type Db } from "mongodb";
import type { Reject } from "../../schemas/reject.js";
import { rawInsert } from "./raw-insert.js";

/**
 * A document of `<dump>.rejects`. Its place is its identity, so that a resumed import adds none twice; the line alone
 * is not enough, since a whole array may stand on one. What only the server refused is known by the object.
 */
export type RejectDocument = {
  readonly _id: { readonly line: number; readonly byte: number; readonly object?: string };
  readonly line: number;
  readonly byte_offset: number;
  readonly code: Reject["code"];
  readonly path: string;
  readonly message: string;
  readonly raw: Binary;
};

/** Documents of one insert at most, together: a message may have 48,000,000. Unit: bytes. */
const insertBytesMax = 16_000_000;

/** Stores rejects; those that are there already stay as they are. */
export async function storeRejects(
  db: Db,
  collection: string,
  rejects: readonly Reject[],
): Promise<void> {
  let batch: Uint8Array[] = [];
  let batchBytes = 0;
  for (const reject of rejects) {
    const { object } = reject;
    const document: RejectDocument = {
      _id: {
        line: reject.lineNumber,
        byte: reject.byteOffset,
        ...(object === undefined ? {} : { object }),
      },
      line: reject.lineNumber,
      byte_offset: reject.byteOffset,
      code: reject.code,
      path: reject.path,
      message: reject.message,
      raw: new Binary(reject.raw),
    };
    const bytes = BSON.serialize(document);
    batch.push(bytes);
    batchBytes += bytes.length;
    if (batchBytes < insertBytesMax) continue;
    await insert(db, collection, batch);
    batch = [];
    batchBytes = 0;
  }
  if (batch.length > 0) await insert(db, collection, batch);
}

/** Rejects as they were stored: all, or those of one code. */
export async function* storedRejects(
  db: Db,
  collection: string,
  code?: Reject["code"],
): AsyncGenerator<Reject> {
  const stored = db
    .collection<RejectDocument>(collection)
    .find(code === undefined ? {} : { code })
    .sort({ _id: 1 });
  for await (const { _id, line, byte_offset, code: found, path, message, raw } of stored) {
    yield {
      lineNumber: line,
      byteOffset: byte_offset,
      code: found,
      path,
      message,
      ...(_id.object === undefined ? {} : { object: _id.object }),
      raw: raw.buffer,
    };
  }
}

async function insert(db: Db, collection: string, documents: Uint8Array[]): Promise<void> {
  const answer = await rawInsert(db, collection, Buffer.concat(documents), { j: true });
  const fault =
    answer.writeConcernError ?? answer.writeErrors?.find((error) => error.code !== duplicateKey);
  if (fault !== undefined) throw new MongoServerError({ message: fault.errmsg, code: fault.code });
}

const duplicateKey = 11000;
