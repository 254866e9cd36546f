import { BSON, MongoServerError, type Db, type Document, type WriteConcernSettings } from "mongodb";
import pLimit from "p-limit";
import { HeapdumpError } from "../errors.js";
import { blockRoom, type DocumentBlock } from "../../schemas/document-block.js";
import { isTransient, judge, patiently, type Patience } from "./patience.js";
import { documentsIn, rawInsert, type InsertAnswer } from "./raw-insert.js";

export type InsertOptions = Patience & {
  /** Batches in flight: each waits for the journal, up to 33 ms, so that three leave a mongod idle. */
  readonly inFlight: number;
  readonly writeConcern: WriteConcernSettings;
  /** Everything up to this block is acknowledged, and everything before it. */
  readonly onAcknowledged: (progress: Acknowledged) => Promise<void>;
  /** A document that the server will not have, alone. It may be told again when its batch is tried again. */
  readonly onRefused: (document: Buffer, message: string) => Promise<void>;
};

export type Acknowledged = {
  readonly nodeEnd: number;
  readonly documents: number;
  readonly bytesDone: number;
};

/**
 * Inserts blocks with several in flight; the next block is asked for only when one is done.
 *
 * When it throws, everything told to `onAcknowledged` is in the database; of the rest, some may be.
 *
 * @throws {HeapdumpError} `load/no-server` when the server did not come back in time; `load/conflict`,
 * `load/disk-full`, `load/authentication`, `load/server-failed`
 */
export async function insertBatches(
  db: Db,
  collection: string,
  blocks: AsyncIterable<DocumentBlock>,
  options: InsertOptions,
): Promise<void> {
  const limit = pLimit(options.inFlight);
  const pending: Pending[] = [];
  const running = new Set<Promise<void>>();
  let documents = 0;
  let failure: unknown;
  let telling: Promise<void> = Promise.resolve();

  function tellContiguous(): void {
    let told: Acknowledged | undefined;
    while (pending[0]?.done === true) {
      const { block } = pending.shift() as Pending;
      documents += block.documentCount;
      told = { nodeEnd: block.nodeEnd, documents, bytesDone: block.bytesDone };
    }
    if (told === undefined) return;
    const acknowledged = told;
    telling = telling.then(() => options.onAcknowledged(acknowledged));
    telling.catch((error: unknown) => (failure ??= error));
  }

  async function send(entry: Pending): Promise<void> {
    try {
      if (failure === undefined)
        await insertBlock(db, collection, entry.block.bson, options, blockRoom);
      if (failure !== undefined) return;
      entry.done = true;
      entry.block.release?.();
      entry.block = { ...entry.block, bson: Buffer.alloc(0) };
      tellContiguous();
    } catch (error) {
      failure ??= error;
    }
  }

  try {
    for await (const block of blocks) {
      if (failure !== undefined || options.signal?.aborted === true) break;
      const entry: Pending = { block, done: false };
      pending.push(entry);
      const job: Promise<void> = limit(() => send(entry)).finally(() => running.delete(job));
      running.add(job);
      while (running.size >= options.inFlight) await Promise.race(running);
    }
  } finally {
    await Promise.all(running);
    await telling.catch((error: unknown) => (failure ??= error));
  }
  if (failure !== undefined) throw failure;
  if (options.signal?.aborted === true) throw options.signal.reason;
}

type Pending = { block: DocumentBlock; done: boolean };

/**
 * Inserts one block, whatever it takes.
 *
 * @param room - bytes before the documents that may be overwritten
 */
async function insertBlock(
  db: Db,
  collection: string,
  bson: Buffer,
  options: InsertOptions,
  room = 0,
): Promise<void> {
  try {
    await patiently(async () => {
      const answer = await rawInsert(db, collection, bson, options.writeConcern, room);
      await settle(db, collection, bson, answer, options);
    }, options);
  } catch (error) {
    if (judge(error) !== "split") throw error;
    await insertHalves(db, collection, bson, error, options);
  }
}

/** Looks at what the server said of each document. A duplicate is fine if it is the very same document. */
async function settle(
  db: Db,
  collection: string,
  bson: Buffer,
  answer: InsertAnswer,
  options: InsertOptions,
): Promise<void> {
  if (answer.writeConcernError !== undefined) {
    throw new MongoServerError({
      message: answer.writeConcernError.errmsg,
      code: answer.writeConcernError.code,
    });
  }
  const errors = answer.writeErrors ?? [];
  if (errors.length === 0) return;
  const documents = documentsIn(bson);
  const duplicates: Buffer[] = [];
  for (const { index, code, errmsg } of errors) {
    const document = documents[index] as Buffer;
    if (code === duplicateKey) duplicates.push(document);
    else if (isTransient(code)) throw new MongoServerError({ message: errmsg, code });
    else await options.onRefused(document, errmsg);
  }
  await compareStored(db, collection, duplicates);
}

const duplicateKey = 11000;

/**
 * After a lost reply or a crash, documents of the last batches may be there already: they must be equal byte by byte.
 *
 * @throws {HeapdumpError} `load/conflict` when one is not
 */
async function compareStored(
  db: Db,
  collection: string,
  documents: readonly Buffer[],
): Promise<void> {
  for (let from = 0; from < documents.length; from += 1000) {
    const slice = documents.slice(from, from + 1000);
    const byId = new Map(slice.map((bytes) => [idKeyOf(bytes), bytes]));
    const ids = slice.map((bytes) => idOf(bytes));
    let equal = 0;
    for (const type of ["bigint", "string"]) {
      const same = ids.filter((id) => typeof id === type) as (bigint | string)[];
      if (same.length === 0) continue;
      const stored = db
        .collection(collection, { raw: true })
        .find({ _id: among(same) as never }, { raw: true, batchSize: 1000 });
      for await (const found of stored) {
        const bytes = Buffer.from(found as unknown as Uint8Array);
        if (byId.get(idKeyOf(bytes))?.equals(bytes) === true) equal++;
      }
    }
    if (equal === byId.size) continue;
    throw new HeapdumpError(
      "load/conflict",
      `${byId.size - equal} documents of ${collection} differ from those of the dump`,
    );
  }
}

/**
 * These ids, with their bounds: by `$in` alone a server reads a clustered collection from end to end (MongoDB 6.0). The
 * ids of a batch lie close together.
 */
function among(ids: readonly (bigint | string)[]): Document {
  const inOrder = [...ids].sort((one, two) =>
    typeof one === "string" && typeof two === "string"
      ? Buffer.compare(Buffer.from(one), Buffer.from(two))
      : one < two
        ? -1
        : 1,
  );
  return { $gte: inOrder[0], $lte: inOrder.at(-1), $in: ids };
}

function idOf(document: Buffer): unknown {
  return BSON.deserialize(document, { useBigInt64: true })["_id"];
}

function idKeyOf(document: Buffer): string {
  const id = idOf(document);
  return `${typeof id}:${String(id)}`;
}

/** A command that failed as a whole says nothing of the culprit: halves, until it is alone. */
async function insertHalves(
  db: Db,
  collection: string,
  bson: Buffer,
  error: unknown,
  options: InsertOptions,
): Promise<void> {
  const documents = documentsIn(bson);
  if (documents.length <= 1) {
    await options.onRefused(bson, error instanceof Error ? error.message : String(error));
    return;
  }
  const middle = documents.length >>> 1;
  const at = documents.slice(0, middle).reduce((sum, document) => sum + document.length, 0);
  await insertBlock(db, collection, bson.subarray(0, at), options);
  await insertBlock(db, collection, bson.subarray(at), options);
}
