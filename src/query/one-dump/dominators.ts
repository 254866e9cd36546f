import { dominatedStages } from "../ancestors.js";
import {
  byRetained,
  defineQuery,
  type HeapDocument,
  type QueryContext,
  type StoredId,
} from "../define-query.js";
import { labelFields, labelOf } from "../object-labels.js";
import { mustExist } from "./one-object.js";

/** What the partial index on the dominator tree holds: src/load/indexes.ts has the same number, a test compares them. */
export const indexedRetainedCountMin = 20;

/** References of an object among which its small children are looked for. */
const referencesMax = 1_000;

export const dominators = defineQuery({
  name: "dominators",
  question: "What does an object keep alive, one level down the dominator tree, largest first?",
  takes: "id-or-nothing",
  scans: false,
  columns: [
    { key: "id", title: "id", unit: "id" },
    { key: "label", title: "object", unit: "text" },
    { key: "type", title: "type", unit: "text" },
    { key: "memsize", title: "shallow", unit: "bytes" },
    { key: "retained_size", title: "retained", unit: "bytes" },
    { key: "retained_count", title: "retained objects", unit: "count" },
  ],
  pipeline: ({ id }, dump, limit) => ({
    collection: dump.collection,
    stages: [
      {
        $match: {
          // Without an id: the tops of the tree, which no object dominates.
          dominator: id ?? null,
          ...(id === undefined ? { depth: { $gte: 0 } } : {}),
          retained_count: { $gte: indexedRetainedCountMin }, // Served by the partial index.
        },
      },
      { $sort: byRetained(dump) },
      { $limit: limit },
      { $project: labelFields },
    ],
  }),
  answer: async (found, { id }, context) => {
    const objects = found as HeapDocument[];
    const notes: string[] = [];
    if (id !== undefined) {
      if (found.length === 0) await mustExist(id, context);
      const small = await smallChildren(id, context.limit - objects.length, context);
      objects.push(...small);
      const own = await context.objects.findOne({ _id: id }, { projection: labelFields });
      const shown = objects.reduce((sum, one) => sum + Number(one.retained_count ?? 0), 0);
      const rest = Number(own?.retained_count ?? 1) - 1 - shown;
      if (rest > 0)
        notes.push(
          `${rest} more objects are kept alive by it in smaller parts, or beyond --limit.`,
        );
      if (objects.length === 0 && rest <= 0) notes.push("It keeps nothing but itself alive.");
    } else if (objects.length === 0) {
      notes.push(
        `No root keeps ${indexedRetainedCountMin} objects or more alive: classes and garbage list what there is.`,
      );
    }
    return {
      rows: objects.map((one) => ({ ...one, id: one._id, label: labelOf(one) })),
      notes,
    };
  },
});

/** Children below the index's threshold, as far as the object refers to them itself. */
async function smallChildren(
  id: StoredId,
  wanted: number,
  context: QueryContext,
): Promise<HeapDocument[]> {
  if (wanted <= 0) return [];
  return context.objects
    .aggregate<HeapDocument>([
      ...dominatedStages(id, context.dump.collection, referencesMax),
      { $match: { retained_count: { $lt: indexedRetainedCountMin } } },
      { $sort: { retained_count: -1, _id: 1 } },
      { $limit: wanted },
      { $project: labelFields },
    ])
    .toArray();
}
