import type { Db } from "mongodb";
import { compareIds, SortedObjects, type ObjectFields, type ObjectId } from "./sorted-objects.js";

/** Which fields make an object with the same id the same object. */
export type Identity = {
  /** File, line and generation count too. */
  readonly trace: boolean;
  /** The id alone says it: V8 gives none twice. */
  readonly idOnly: boolean;
};

/** One object met in a merge of several dumps. */
export type MergedObject = {
  readonly id: ObjectId;
  /** The dumps that have this very object, by position, from first to last without a gap. */
  readonly first: number;
  readonly last: number;
  /** An object of this id, but another one, was in the dump before. */
  readonly reusesId: boolean;
  /** In the last of its dumps. */
  readonly fields: () => ObjectFields;
};

/**
 * Walks through several dumps of one process side by side, in the order of ids, and tells which object lived from
 * which dump to which.
 *
 * One ordered read of each collection, in step; memory does not grow with the dumps.
 *
 * @param collections - oldest dump first
 * @param visit - synchronous; `fields` is valid until it returns
 */
export async function mergeObjects(
  database: Db,
  collections: readonly string[],
  identity: Identity,
  visit: (object: MergedObject) => void,
  signal?: AbortSignal,
): Promise<void> {
  const fields = ["type", "class_name", "memsize", "file", "line", "generation"];
  const readers = collections.map(
    (collection) => new SortedObjects(database, collection, fields, signal),
  );
  try {
    for (;;) {
      await Promise.all(readers.filter(({ needsBatch }) => needsBatch).map((it) => it.fill()));
      if (readers.every(({ id, needsBatch }) => id === undefined && !needsBatch)) return;
      mergeBuffered(readers, identity, visit);
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.close()));
  }
}

/** Merges what is in memory, until one reader has to be filled. */
function mergeBuffered(
  readers: readonly SortedObjects[],
  identity: Identity,
  visit: (object: MergedObject) => void,
): void {
  while (!readers.some(({ needsBatch }) => needsBatch)) {
    const id = smallestIdOf(readers);
    if (id === undefined) return;
    let first = -1;
    for (const [position, reader] of readers.entries()) {
      const isHere = reader.id === id;
      const before = position > 0 && first >= 0 ? readers[position - 1] : undefined;
      const goesOn = isHere && before !== undefined && isSame(before, reader, identity);
      if (!goesOn && before !== undefined) {
        report(first, position - 1);
        first = -1;
      }
      if (isHere && first < 0) first = position;
    }
    if (first >= 0) report(first, readers.length - 1);
    for (const reader of readers) if (reader.id === id) reader.advance();

    function report(from: number, to: number): void {
      visit({
        id: id as ObjectId,
        first: from,
        last: to,
        reusesId: from > 0 && readers[from - 1]?.id === id,
        fields: () => (readers[to] as SortedObjects).fields(),
      });
    }
  }
}

function smallestIdOf(readers: readonly SortedObjects[]): ObjectId | undefined {
  let smallest: ObjectId | undefined;
  for (const { id } of readers) {
    if (id === undefined || id === smallest) continue;
    if (smallest === undefined || compareIds(id, smallest) < 0) smallest = id;
  }
  return smallest;
}

function isSame(one: SortedObjects, two: SortedObjects, identity: Identity): boolean {
  if (identity.idOnly || one.equals(two)) return true;
  const before = one.fields();
  const after = two.fields();
  if (before.type !== after.type || before.className !== after.className) return false;
  return (
    !identity.trace ||
    (before.line === after.line &&
      before.generation === after.generation &&
      before.file === after.file)
  );
}
