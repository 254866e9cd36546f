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

/** A path this long is a list: its end near the object is what a person reads. */
export const stepsShown = 200;

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
    const step = await stepOf(id, ids[index + 1], context);
    if (step !== undefined) steps.push(step);
  }
  return steps;
}

/**
 * The shortest path from a root to an object, every step labelled, as far up as its last steps: holder by holder, as
 * `$graphLookup` would keep whole documents in memory, and fail where they are large.
 */
export async function pathTo(id: StoredId, context: QueryContext): Promise<Step[]> {
  const steps: Step[] = [];
  let wanted: StoredId | undefined = id;
  while (wanted !== undefined && steps.length < stepsShown) {
    context.signal?.throwIfAborted();
    const step = await stepOf(wanted, steps[0]?.id, context);
    if (step === undefined) break;
    steps.unshift(step);
    wanted = step.object.parent;
  }
  return steps;
}

async function stepOf(
  id: StoredId,
  next: StoredId | undefined,
  context: QueryContext,
): Promise<Step | undefined> {
  const projection = next === undefined ? labelFields : { ...labelFields, ...edgeFields(next) };
  const object = await context.objects.findOne({ _id: id }, { projection });
  if (object === null) return undefined;
  return {
    id,
    label: labelOf(object),
    edge: next === undefined ? "" : edgeOf(object, next),
    object,
  };
}
