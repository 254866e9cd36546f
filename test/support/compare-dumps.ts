import assert from "node:assert/strict";
import type { Db, Document } from "mongodb";

/**
 * Asserts that a dump is in a database just as it is in another: every document byte by byte, every reject, the
 * counters, the summaries; and that nothing of the load is left over.
 */
export async function sameDump(db: Db, reference: Db, dumpName: string): Promise<void> {
  assert.equal(await firstDifference(db, reference, dumpName), undefined);
  assert.equal(await firstDifference(db, reference, `${dumpName}.rejects`), undefined);
  assert.deepEqual(await registryEntry(db, dumpName), await registryEntry(reference, dumpName));
  const [summaries, wanted] = await Promise.all([summariesOf(db), summariesOf(reference)]);
  assert.deepEqual(summaries, wanted);
  const names = (await db.listCollections({}, { nameOnly: true }).toArray()).map((one) => one.name);
  assert.deepEqual(
    names.filter((name) => name.includes(".loading")),
    [],
  );
  assert.deepEqual(await indexesOf(db, dumpName), await indexesOf(reference, dumpName));
  assert.deepEqual(await collectionsOf(db), await collectionsOf(reference));
  for (const found of [`${dumpName}.shapes`, `${dumpName}.strings`]) {
    assert.equal(await firstDifference(db, reference, found), undefined);
  }
}

async function firstDifference(
  db: Db,
  reference: Db,
  collection: string,
): Promise<string | undefined> {
  const cursorOf = (one: Db): { next(): Promise<unknown> } =>
    one.collection(collection).find({}, { raw: true, sort: { _id: 1 }, batchSize: 5_000 });
  const [found, wanted] = [cursorOf(db), cursorOf(reference)];
  for (let count = 0; ; count++) {
    const [one, other] = [await found.next(), await wanted.next()];
    if (one === null && other === null) return undefined;
    if (one === null || other === null) {
      return `${collection}: document ${count} is ${one === null ? "missing" : "too many"}`;
    }
    if (!Buffer.from(one as Uint8Array).equals(Buffer.from(other as Uint8Array))) {
      return `${collection}: document ${count} differs`;
    }
  }
}

async function registryEntry(db: Db, dumpName: string): Promise<unknown> {
  const entries = await db.collection("dumps").find().toArray();
  assert.deepEqual(
    entries.map(({ _id }) => _id as unknown),
    [dumpName],
  );
  const { status, counters, truncated, fingerprint, lock, checkpoint } = entries[0] as Document;
  return { status, counters, truncated, fingerprint, lock, checkpoint } as unknown;
}

/** Names, kinds and options: clustered or not, what a view shows. */
async function collectionsOf(db: Db): Promise<unknown> {
  const collections = await db.listCollections({}, { nameOnly: false }).toArray();
  return collections
    .map(({ name, type, options }) => {
      const { uuid: _uuid, ...rest } = (options ?? {}) as Record<string, unknown>;
      return { name, type, options: rest };
    })
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

const summariesOf = (db: Db): Promise<Document[]> =>
  db.collection("summaries").find().sort({ _id: 1 }).toArray();

async function indexesOf(db: Db, collection: string): Promise<unknown> {
  const indexes = await db.collection(collection).listIndexes().toArray();
  return indexes.map(({ name }) => name as unknown).sort();
}
