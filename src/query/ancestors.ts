import type { Document } from "mongodb";
import type { HeapDocument, QueryContext, StoredId } from "./define-query.js";
import { documentsById } from "./documents-by-id.js";
import { edgeFields, edgeOf, labelFields, labelOf, pathText } from "./object-labels.js";

/** One step of a path from a root. */
export type Step = {
  readonly id: StoredId;
  readonly label: string;
  /** The reference to the next step. */
  readonly edge: string;
  readonly object: HeapDocument;
};

/** The objects of the ids, by id; those that are not there are left out. */
export async function objectsOf(
  ids: readonly StoredId[],
  context: QueryContext,
  fields: Document = labelFields,
): Promise<Map<StoredId, HeapDocument>> {
  const { db, dump, signal } = context;
  const found = await documentsById<HeapDocument>(db, dump.collection, ids, fields, signal);
  return new Map(found.map((object) => [object._id, object]));
}

/** The pipeline of the chain from an object up a field (`parent`, `dominator`), in one document. */
export function chainStages(id: StoredId, collection: string, field: string): Document[] {
  return [
    { $match: { _id: id } },
    {
      $graphLookup: {
        from: collection,
        startWith: `$${field}`,
        connectFromField: field,
        connectToField: "_id",
        as: "chain",
        depthField: "steps",
        maxDepth: chainStepsMax,
      },
    },
    {
      $project: {
        ...labelFields,
        chain: {
          $map: {
            input: "$chain",
            as: "one",
            in: { _id: "$$one._id", steps: "$$one.steps" },
          },
        },
      },
    },
  ];
}

/** A list a million long has a path that long: its end near the object is what a person reads. */
const chainStepsMax = 200;

/** Ids from the root down to the object's parent, of what `chainStages` gives. */
export function idsAbove(start: Document | undefined): StoredId[] {
  const chain = (start?.["chain"] ?? []) as { _id: StoredId; steps: number }[];
  return [...chain].sort((one, two) => Number(two.steps) - Number(one.steps)).map(({ _id }) => _id);
}

/** A path in one line. Its first step is often the list of all roots, which says little. */
export function shownPath(steps: readonly Step[]): string {
  return pathText(steps.length > 1 && steps[0]?.id === "_ROOTS_" ? steps.slice(1) : steps);
}

/**
 * Stages that give what an object dominates among what it refers to itself, as far as its first references go.
 *
 * @param referencesMax - references looked at
 */
export function dominatedStages(
  id: StoredId,
  collection: string,
  referencesMax: number,
): Document[] {
  return [
    { $match: { _id: id } },
    { $project: { references: { $slice: [{ $ifNull: ["$references", []] }, referencesMax] } } },
    { $unwind: "$references" },
    { $group: { _id: "$references" } },
    { $lookup: { from: collection, localField: "_id", foreignField: "_id", as: "child" } },
    { $unwind: "$child" },
    { $replaceRoot: { newRoot: "$child" } },
    { $match: { dominator: id } },
  ];
}

/** The path from the root to an object, every step labelled. `ids` run from the root down to it. */
export async function labelledPath(
  ids: readonly StoredId[],
  context: QueryContext,
): Promise<Step[]> {
  const steps: Step[] = [];
  for (const [index, id] of ids.entries()) {
    const next = ids[index + 1];
    const fields = next === undefined ? labelFields : { ...labelFields, ...edgeFields(next) };
    const object = (await objectsOf([id], context, fields)).get(id);
    if (object === undefined) continue;
    const edge = next === undefined ? "" : edgeOf(object, next);
    steps.push({ id, label: labelOf(object), edge, object });
  }
  return steps;
}
