import type { Collection, CreateIndexesOptions, IndexDescription } from "mongodb";
import type { HeapIds } from "../../schemas/document-block.js";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import type { ReferrerCounts } from "../../schemas/heap-graph.js";

/** Objects that retain at least this many are in the index of the dominator tree: 1 to 5 % of a heap. */
export const indexedRetainedCountMin = 20;

/** Indexes that are built side by side, and in each group one scan for all. */
type IndexGroups = readonly (readonly IndexDescription[])[];

/** What the registry's entry says that decides on the indexes. */
export type IndexedDump = Pick<DumpEntry, "number_references" | "analysed">;

const ofAnalysed: readonly IndexDescription[] = [
  // One for both: an index on the class alone would cost as much again as this one.
  { key: { type: 1, class_name: 1 }, name: "type_1_class_name_1" },
  {
    key: { dominator: 1, retained_count: -1 },
    name: "dominator_1_retained_count_-1",
    partialFilterExpression: { retained_count: { $gte: indexedRetainedCountMin } },
  },
];

const ofOthers: readonly IndexDescription[] = [{ key: { type: 1 }, name: "type_1" }];

/**
 * The indexes of a dump. The one on references takes as long as all the others together. Continuation documents need
 * none: theirs are the ids from `<id>#` on.
 *
 * Half of a heap's objects refer to none, and each would be a key of the index on references, a fifth of all. They are
 * left out: whoever asks for a number is answered by the index all the same, which a server cannot see of texts. Ids
 * that are texts (of roots, and beyond 2^63 - 1) are hardly ever referred to; where one is, all objects are in.
 */
function indexGroupsOf(dump: IndexedDump): IndexGroups {
  const references: IndexDescription = {
    key: { references: 1 },
    name: "references_1",
    ...(dump.number_references === true
      ? { partialFilterExpression: { references: { $gte: -Infinity } } }
      : {}),
  };
  return [[references], dump.analysed === false ? ofOthers : ofAnalysed];
}

/** Whether all ids that are referred to are numbers. */
export function refersToNumbers({ other }: HeapIds, { referrerCount }: ReferrerCounts): boolean {
  return [...other].every(
    ([node, id]) => typeof id !== "string" || (referrerCount[node] as number) === 0,
  );
}

/**
 * Builds the indexes of a dump: one command a group, side by side.
 *
 * @param meanwhile - called as soon as a group is there: on a small machine its processor is free then, but not before
 */
export async function createIndexes(
  collection: Collection,
  dump: IndexedDump,
  options: CreateIndexesOptions = {},
  meanwhile: () => void = () => undefined,
): Promise<void> {
  const builds = indexGroupsOf(dump).map((group) =>
    collection.createIndexes([...group], { ...options }),
  );
  const first = Promise.race(builds).then(meanwhile);
  await Promise.all([...builds, first]);
}
