import {
  BSON,
  MongoServerError,
  type CreateCollectionOptions,
  type Db,
  type Document,
  type IndexDescription,
  type WriteConcernSettings,
} from "mongodb";
import { HeapdumpError } from "../errors.js";
import type { DocumentBlock } from "../../schemas/document-block.js";
import {
  loadingNameOf,
  rejectsCollectionOf,
  shapesCollectionOf,
  stringsCollectionOf,
  summariesCollection,
} from "../../schemas/collection-names.js";
import type { DumpEntry, DumpFindings, SummaryDocument } from "../../schemas/dump-entry.js";
import type { SummaryRow } from "../../schemas/heap-graph.js";
import type { Reject } from "../../schemas/reject.js";
import { createIndexes, type IndexedDump } from "./indexes.js";
import { insertBatches, type Acknowledged } from "./insert-batches.js";
import { patiently, untilKept, type Patience } from "./patience.js";
import { lockLost, registryOf } from "./registry.js";
import { storedRejects, storeRejects } from "./rejects.js";
import { createViews } from "./views.js";

/** A checkpoint is written at most this often. Unit: milliseconds. */
const checkpointEveryMs = 1_000;
/** Names end in these where they are ours. */
const reservedSuffixes =
  /\.(loading|rejects|shapes|strings|chain|types|classes|sites|generations)$/;
const nameBytesMax = 200;

/**
 * Refuses a dump name that MongoDB cannot take or that is one of our own collections.
 *
 * @throws {HeapdumpError} `usage/bad-option`
 */
export function checkDumpName(name: string): void {
  const ours = ["dumps", "summaries", "diffs", "locks"];
  const reason =
    name === ""
      ? "is empty"
      : Buffer.byteLength(name) > nameBytesMax
        ? `is longer than ${nameBytesMax} bytes`
        : name.includes("$") || name.includes("\0")
          ? "holds a $ or NUL"
          : name.startsWith("system.") || ours.includes(name) || reservedSuffixes.test(name)
            ? "is a name that the database or heapdump-mongo uses itself"
            : undefined;
  if (reason === undefined) return;
  throw new HeapdumpError("usage/bad-option", `the dump's name "${name.slice(0, 60)}" ${reason}`);
}

/** Where a dump goes while it loads. */
export type LoadTarget = {
  readonly db: Db;
  readonly dumpName: string;
  readonly writeConcern: WriteConcernSettings;
  readonly patience: Patience;
  /** Of the lock that this import holds: without it, nothing of the load is ours to write. */
  readonly lockToken: string;
  /** The collection is going to be spread over the shards of a cluster. */
  readonly isSharded?: boolean;
};

/** Makes the collections of a new load, without what an earlier one left. */
export async function beginLoad({
  db,
  dumpName,
  patience,
  isSharded = false,
}: LoadTarget): Promise<void> {
  const loading = loadingNameOf(dumpName);
  const forget = (): Promise<unknown> =>
    registryOf(db).updateOne(
      { _id: loading },
      { $unset: { checkpoint: 1, swapping: 1 } },
      { writeConcern: { journal: true } },
    );
  const begin = async (): Promise<void> => {
    // First of all: what these say is of the collection that goes now.
    await forget();
    await dropLoading(db, dumpName);
    // What a cluster does with clustered collections that are sharded differs by version.
    const clustered = { clusteredIndex: { key: { _id: 1 }, unique: true } };
    await createCollection(db, loading, isSharded ? {} : clustered);
    await forget(); // Journaled, and so what comes before it.
  };
  await untilKept(db, begin, patience);
}

/**
 * How large a page may grow in the cache before it is taken apart. Documents arrive in the order of their ids, so that a
 * full page is not met again: with MongoDB's own 10 MB, the server takes a tenth more for an insert (bench/README.md).
 *
 * @see https://source.wiredtiger.com/10.0.0/tune_page_size_and_comp.html
 */
const largePages = { storageEngine: { wiredTiger: { configString: "memory_page_max=64m" } } };

async function createCollection(
  db: Db,
  name: string,
  options: CreateCollectionOptions,
): Promise<void> {
  try {
    await db.createCollection(name, { ...options, ...largePages });
  } catch (error) {
    if (!(error instanceof MongoServerError) || !isRefusal(error)) throw error;
    // Some servers let nobody tune their engine, and some have another one.
    await db.createCollection(name, options);
  }
}

/** Whether the server would not have the options, and made nothing. */
function isRefusal({ code }: MongoServerError): boolean {
  return (
    code === 2 || // BadValue
    code === 9 || // FailedToParse
    code === 13 || // Unauthorized, on Atlas
    code === 72 || // InvalidOptions
    code === 115 || // CommandNotSupported
    code === 238 || // NotImplemented
    code === 8000 || // AtlasError
    code === 40415 // An unknown field
  );
}

async function dropLoading(db: Db, dumpName: string): Promise<void> {
  const loading = loadingNameOf(dumpName);
  await db.dropCollection(loading);
  await db.dropCollection(rejectsCollectionOf(loading));
  await db.dropCollection(shapesCollectionOf(loading));
  await db.dropCollection(stringsCollectionOf(loading));
}

/** Forgets a load, and removes what is there of it. The caller holds the lock. */
export async function abandonLoad(db: Db, dumpName: string): Promise<void> {
  await dropLoading(db, dumpName);
  await registryOf(db).deleteOne({ _id: loadingNameOf(dumpName) });
}

/** Writes down what the first pass found: from here on, the load can be resumed. */
export async function recordScan(
  { db, dumpName, patience }: LoadTarget,
  entry: Omit<DumpEntry, "_id" | "lock">,
): Promise<void> {
  await patiently(
    () =>
      registryOf(db).updateOne(
        { _id: loadingNameOf(dumpName) },
        { $set: entry },
        { writeConcern: { journal: true } },
      ),
    patience,
  );
}

/** Stores rejects of the dump that loads. */
export async function keepRejects(
  { db, dumpName, patience }: LoadTarget,
  rejects: readonly Reject[],
): Promise<void> {
  const name = rejectsCollectionOf(loadingNameOf(dumpName));
  await patiently(() => storeRejects(db, name, rejects), patience);
}

export type InsertPlan = {
  readonly blocks: AsyncIterable<DocumentBlock>;
  /** What an earlier, interrupted load had acknowledged. */
  readonly documentsBefore: number;
  readonly inFlight: number;
  /** The number behind the dump's last line. */
  readonly lineBehind: number;
  readonly onAcknowledged: (progress: Acknowledged) => void;
};

/**
 * Inserts the documents, with checkpoints that cover only what was acknowledged. Documents that the server would not
 * have become rejects at once: `serverRejects` gives those of all tries.
 *
 * @returns documents sent, those of earlier tries and the refused ones included
 */
export async function insertDocuments(target: LoadTarget, plan: InsertPlan): Promise<number> {
  const { db, dumpName } = target;
  const registry = registryOf(db);
  const _id = loadingNameOf(dumpName);
  let documents = plan.documentsBefore;
  let last: Acknowledged | undefined;
  let writtenAt = Date.now();
  const checkpoint = async (progress: Acknowledged): Promise<void> => {
    writtenAt = Date.now();
    const { matchedCount } = await registry.updateOne(
      { _id, "lock.token": target.lockToken },
      {
        $set: {
          checkpoint: {
            records: progress.nodeEnd,
            documents: plan.documentsBefore + progress.documents,
          },
        },
      },
      { writeConcern: { ...target.writeConcern, journal: true } },
    );
    if (matchedCount === 0) throw lockLost(dumpName);
  };
  try {
    await insertBatches(db, _id, plan.blocks, {
      inFlight: plan.inFlight,
      writeConcern: { ...target.writeConcern, j: true },
      ...target.patience,
      onAcknowledged: async (progress) => {
        last = progress;
        documents = plan.documentsBefore + progress.documents;
        plan.onAcknowledged(progress);
        if (Date.now() - writtenAt >= checkpointEveryMs) {
          await patiently(() => checkpoint(progress), target.patience);
        }
      },
      onRefused: (document, message) =>
        keepRejects(target, [serverReject(document, message, plan.lineBehind)]),
    });
  } finally {
    // What was acknowledged need not be sent again; without a server there is nobody to tell.
    if (last !== undefined) await checkpoint(last).catch(() => undefined);
  }
  return documents;
}

const refusedBytesMax = 1 << 20;

/** A document that the server would not have, told like a line that we would not have. */
function serverReject(document: Buffer, message: string, lineBehind: number): Reject {
  const { _id } = BSON.deserialize(document, { useBigInt64: true }) as { _id: bigint | string };
  const object = String(_id);
  return {
    // Behind all lines: which one it was is not known here.
    lineNumber: lineBehind,
    byteOffset: 0,
    code: "server",
    path: "",
    message: `object ${object}: ${message}`,
    object,
    raw: document.subarray(0, refusedBytesMax),
  };
}

/** What only the server refused of the dump that loads, or of one whose swap was begun. */
export async function serverRejects({ db, dumpName, patience }: LoadTarget): Promise<Reject[]> {
  return patiently(async () => {
    for (const name of [loadingNameOf(dumpName), dumpName]) {
      const rejects: Reject[] = [];
      for await (const reject of storedRejects(db, rejectsCollectionOf(name), "server")) {
        rejects.push(reject);
      }
      const isMoved = name === loadingNameOf(dumpName) && rejects.length === 0;
      if (!isMoved) return rejects;
      const isSwapping = await registryOf(db).findOne({ _id: name, swapping: true });
      if (isSwapping === null) return [];
    }
    return [];
  }, patience);
}

/**
 * Builds the indexes of the dump that loads.
 *
 * @param meanwhile - work of ours for when the server has not so much to do any more; called again when it was lost
 */
export async function indexLoaded(
  { db, dumpName, patience }: LoadTarget,
  dump: IndexedDump,
  meanwhile: () => void,
): Promise<void> {
  await patiently(() => buildIndexes(db, loadingNameOf(dumpName), dump, meanwhile), patience);
}

async function buildIndexes(
  db: Db,
  collection: string,
  dump: IndexedDump,
  meanwhile?: () => void,
): Promise<void> {
  const hello = await db.command({ hello: 1 });
  const isSet = hello["setName"] !== undefined || hello["msg"] === "isdbgrid";
  // Else a replica set would wait for all its members, and for ever when one is down.
  const quorum = isSet ? ({ commitQuorum: "majority" } as const) : {};
  await createIndexes(db.collection(collection), dump, quorum, meanwhile);
}

/**
 * Lets the loaded dump take its place: summaries, views, the swap with an older dump of the name, the registry.
 *
 * Every step may be done twice: a crash of ours in between is finished by the next import, one of the server's here.
 */
export async function finishLoad(
  { db, dumpName, patience, lockToken }: LoadTarget,
  entry: DumpEntry,
  summaries: readonly SummaryRow[],
  findings: DumpFindings,
): Promise<void> {
  const registry = registryOf(db);
  const loading = loadingNameOf(dumpName);
  const rejects = rejectsCollectionOf(dumpName);
  const journal = { writeConcern: { journal: true } };
  const mark = async (): Promise<void> => {
    const ours = { _id: loading, "lock.token": lockToken };
    const { matchedCount } = await registry.updateOne(ours, { $set: { swapping: true } }, journal);
    if (matchedCount === 1) return;
    const { completed_at } = (await registry.findOne({ _id: dumpName })) ?? {};
    // Nothing to mark is right only where this very load was ended already.
    if (completed_at?.getTime() !== entry.completed_at?.getTime()) throw lockLost(dumpName);
  };
  const steps: (() => Promise<unknown>)[] = [
    mark,
    // They are built already, unless a server forgot that in its end.
    async () => ((await exists(db, loading)) ? buildIndexes(db, loading, entry) : undefined),
    () => storeSummaries(db, entry, summaries),
    () => createViews(db, dumpName),
    () => storeFindings(db, shapesCollectionOf, dumpName, findings.shapes, shapeIndexes),
    () => storeFindings(db, stringsCollectionOf, dumpName, findings.strings),
    // Without rejects, those of the older dump must go; with some, a second try finds them moved.
    ...(entry.counters.rejected === 0 ? [() => db.dropCollection(rejects)] : []),
    () => moveCollection(db, rejectsCollectionOf(loading), rejects),
    () => moveCollection(db, loading, dumpName),
    () => registry.replaceOne({ _id: dumpName }, entry, { upsert: true, ...journal }),
    () => registry.deleteOne({ _id: loading }, journal),
  ];
  const finish = async (): Promise<void> => {
    for (const step of steps) await step();
  };
  await untilKept(db, finish, patience);
}

/** Lets a collection take another's place. Does nothing where that was done already. */
async function moveCollection(db: Db, from: string, to: string): Promise<void> {
  if (await exists(db, from)) await db.renameCollection(from, to, { dropTarget: true });
}

function exists(db: Db, collection: string): Promise<boolean> {
  return db.listCollections({ name: collection }, { nameOnly: true }).hasNext();
}

const shapeIndexes: readonly IndexDescription[] = [
  { key: { class_name: 1 } },
  { key: { type: 1 } },
];

/** What was found takes the place of the older dump's findings at once, or leaves it empty. */
async function storeFindings(
  db: Db,
  collectionOf: (dumpName: string) => string,
  dumpName: string,
  documents: readonly Document[],
  indexes: readonly IndexDescription[] = [],
): Promise<void> {
  const loading = collectionOf(loadingNameOf(dumpName));
  await db.dropCollection(loading);
  if (documents.length === 0) {
    await db.dropCollection(collectionOf(dumpName));
    return;
  }
  if (indexes.length > 0) await db.collection(loading).createIndexes([...indexes]);
  await db.collection(loading).insertMany([...documents], { ordered: false });
  await moveCollection(db, loading, collectionOf(dumpName));
}

async function storeSummaries(
  db: Db,
  entry: DumpEntry,
  summaries: readonly SummaryRow[],
): Promise<void> {
  const collection = db.collection<SummaryDocument>(summariesCollection);
  await collection.createIndex({ dump: 1, by: 1 });
  await collection.createIndex({ series: 1, by: 1, name: 1, taken_at: 1 });
  await collection.deleteMany({ dump: entry._id });
  const documents = summaries.map((row) => ({
    _id: `${entry._id}/${row.by}/${row.name}`,
    dump: entry._id,
    series: entry.series,
    taken_at: entry.taken_at,
    by: row.by,
    name: row.name,
    count: row.count,
    unreachable: row.unreachable,
    bytes: row.bytes,
    retained_bytes: row.retainedBytes,
    retained_count: row.retainedCount,
  }));
  if (documents.length > 0) await collection.insertMany(documents, { ordered: false });
}
