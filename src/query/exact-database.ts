import type { Db, Document } from "mongodb";

/** Sends an aggregation to a collection, or to the database, and gives all documents of the answer. */
export type Aggregate = (
  collection: string | undefined,
  stages: readonly Document[],
) => Promise<Document[]>;

/**
 * What queries use of the driver's `Db`, over any way to send an aggregation: mongosh has one of its own.
 *
 * Integers beyond 2^53 arrive as bigints and all others as numbers, whatever the client makes of them: an id that is
 * rounded is another object's.
 */
export function databaseOver(databaseName: string, aggregate: Aggregate): Db {
  const answer = (collection: string | undefined, stages: readonly Document[]) => {
    const documents = async (): Promise<Document[]> =>
      (await aggregate(collection, stages)).map((one) => exactly(one) as Document);
    return {
      toArray: documents,
      sort: (order: Document) => answer(collection, [...stages, { $sort: order }]),
      limit: (count: number) => answer(collection, [...stages, { $limit: count }]),
      async *[Symbol.asyncIterator]() {
        yield* await documents();
      },
    };
  };
  const find = (name: string, filter: Document, options?: { projection?: Document }) =>
    answer(name, [
      { $match: filter },
      ...(options?.projection === undefined ? [] : [{ $project: options.projection }]),
    ]);
  const database = {
    databaseName,
    aggregate: (stages: readonly Document[]) => answer(undefined, stages),
    collection: (name: string) => ({
      collectionName: name,
      aggregate: (stages: readonly Document[]) => answer(name, stages),
      find: (filter: Document = {}, options?: { projection?: Document }) =>
        find(name, filter, options),
      findOne: async (filter: Document, options?: { projection?: Document }) =>
        (await find(name, filter, options).limit(1).toArray())[0] ?? null,
      estimatedDocumentCount: async () => {
        const [found] = await answer(name, [{ $collStats: { count: {} } }]).toArray();
        return (found?.["count"] as number | undefined) ?? 0;
      },
    }),
  };
  // The driver's types promise more than queries use: the tests that ask everything in mongosh find what is missing.
  return database as unknown as Db;
}

/** The driver's database, where ids beyond 2^53 may occur: it gives such as objects that equal nothing. */
export function exactDatabase(db: Db, signal?: AbortSignal): Db {
  const options = {
    allowDiskUse: true,
    useBigInt64: true,
    ...(signal === undefined ? {} : { signal }),
  };
  return databaseOver(db.databaseName, (collection, stages) =>
    (collection === undefined
      ? db.aggregate([...stages], options)
      : db.collection(collection).aggregate([...stages], options)
    ).toArray(),
  );
}

/** Whether any object's id is beyond what a number holds exactly. Served by the clustered collection's order. */
export async function hasWideIds(db: Db, collection: string): Promise<boolean> {
  const found = await db
    .collection<{ _id: number }>(collection)
    .findOne({ _id: { $gt: Number.MAX_SAFE_INTEGER } }, { projection: { _id: 1 } });
  return found !== null;
}

type BsonNumber = { readonly _bsontype: string; toString(): string };

function exactly(value: unknown): unknown {
  if (typeof value === "bigint") return narrowed(value);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  if (Array.isArray(value)) return value.map(exactly);
  if ("_bsontype" in value) {
    const { _bsontype: type } = value as BsonNumber;
    if (type === "Long") return narrowed(BigInt((value as BsonNumber).toString()));
    return type === "Int32" || type === "Double" ? Number(value) : value;
  }
  for (const [key, inner] of Object.entries(value)) {
    if (typeof inner === "bigint" || typeof inner === "object") {
      (value as Record<string, unknown>)[key] = exactly(inner);
    }
  }
  return value;
}

function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
