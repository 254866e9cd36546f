import type { Db } from "mongodb";
import { diffsCollection } from "../../schemas/collection-names.js";
import type { DiffDocument } from "../../schemas/diff-document.js";

/** Stores what a scheduled run found; one of the same two dumps is replaced. */
export async function storeDiff(db: Db, diff: DiffDocument): Promise<void> {
  await db
    .collection<DiffDocument>(diffsCollection)
    .replaceOne({ _id: diff._id }, diff, { upsert: true });
}
