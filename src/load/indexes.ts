import type { Collection, CreateIndexesOptions, IndexDescription } from "mongodb";

/** Objects that retain at least this many are in the index of the dominator tree: 1 to 5 % of a heap. */
export const indexedRetainedCountMin = 20;

/**
 * The indexes of a dump, in the groups that are built side by side: the one on references takes as long as all the
 * others together. Continuation documents need none: theirs are the ids from `<id>#` on.
 */
export const indexGroups: readonly (readonly IndexDescription[])[] = [
  [{ key: { references: 1 }, name: "references_1" }],
  [
    { key: { type: 1 }, name: "type_1" },
    { key: { class_name: 1 }, name: "class_name_1" },
    {
      key: { dominator: 1, retained_count: -1 },
      name: "dominator_1_retained_count_-1",
      partialFilterExpression: { retained_count: { $gte: indexedRetainedCountMin } },
    },
  ],
];

/** Builds the indexes of a dump: one command a group, side by side. */
export async function createIndexes(
  collection: Collection,
  options: CreateIndexesOptions = {},
): Promise<void> {
  await Promise.all(
    indexGroups.map((group) => collection.createIndexes([...group], { ...options })),
  );
}
