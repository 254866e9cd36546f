import type { Db } from "mongodb";
import {
  loadingNameOf,
  registryCollection,
  rejectsCollectionOf,
  shapesCollectionOf,
  stringsCollectionOf,
} from "../../schemas/collection-names.js";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import { HeapdumpError } from "../errors.js";
import { viewNamesOf } from "./views.js";

/**
 * Drops a dump's objects, rejects and views. Its entry in the registry and its summaries stay, so that growth can be
 * seen over months.
 *
 * The entry says `pruned` first: a crash in between leaves collections that the next prune finds and drops.
 *
 * @returns false where the dump is loading, was pinned meanwhile, or is not there
 */
export async function pruneDump(db: Db, name: string): Promise<boolean> {
  const dumps = db.collection<DumpEntry>(registryCollection);
  if ((await dumps.findOne({ _id: loadingNameOf(name) })) !== null) return false;
  const marked = await dumps.updateOne(
    { _id: name, status: { $ne: "loading" }, pinned: { $ne: true } },
    { $set: { status: "pruned" } },
  );
  if (marked.matchedCount === 0) return false;
  for (const view of viewNamesOf(name)) await db.dropCollection(view);
  await db.dropCollection(rejectsCollectionOf(name));
  await db.dropCollection(shapesCollectionOf(name));
  await db.dropCollection(stringsCollectionOf(name));
  await db.dropCollection(name);
  return true;
}

/** Dumps that are marked as pruned, but whose collections a crash left. */
export async function halfPruned(db: Db): Promise<string[]> {
  const pruned = await db
    .collection<DumpEntry>(registryCollection)
    .find({ status: "pruned" })
    .project<{ _id: string }>({ _id: 1 })
    .toArray();
  const present = await db.listCollections({}, { nameOnly: true }).toArray();
  const names = new Set(present.map(({ name }) => name));
  return pruned.map(({ _id }) => _id).filter((name) => names.has(name));
}

/**
 * Pins a dump, which `prune` then leaves alone, or unpins it.
 *
 * @throws {HeapdumpError} `query/no-dump` when there is none of that name with objects
 */
export async function pinDump(db: Db, name: string, pinned: boolean): Promise<void> {
  const dumps = db.collection<DumpEntry>(registryCollection);
  const outcome = await dumps.updateOne(
    { _id: name, status: { $ne: "pruned" } },
    pinned ? { $set: { pinned } } : { $unset: { pinned: 1 } },
  );
  if (outcome.matchedCount === 0) {
    throw new HeapdumpError("query/no-dump", `no dump with objects is named "${name}"`);
  }
}
