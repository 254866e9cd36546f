import type { Document, Filter } from "mongodb";
import { chainViewOf, shapesCollectionOf } from "../../schemas/collection-names.js";
import type { ShapeDocument } from "../../schemas/dump-entry.js";
import type { HeapDocument, QueryContext, StoredId } from "./define-query.js";
import { documentsById } from "./documents-by-id.js";
import {
  edgeFields,
  edgeOf,
  isList,
  labelFields,
  labelOf,
  pathArrow,
  pathText,
} from "./object-labels.js";

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

/**
 * The pipeline of the holders above an object, nearest first, in one document, for mongosh: `stepsMax` at most, and how
 * many steps from the root are left out.
 *
 * Over the view, which has few fields of each object: `$graphLookup` keeps all it finds in 100 MB, and fails beyond.
 */
export function chainStages(id: StoredId, collection: string): Document[] {
  return [
    { $match: { _id: id } },
    {
      $graphLookup: {
        from: chainViewOf(collection),
        startWith: "$parent",
        connectFromField: "parent",
        connectToField: "_id",
        as: "chain",
        depthField: "steps",
        maxDepth: stepsMax,
      },
    },
    {
      $project: {
        ...labelFields,
        chain: { $sortArray: { input: "$chain", sortBy: { steps: 1 } } },
        omitted_steps: { $max: [0, { $subtract: ["$depth", { $size: "$chain" }] }] },
      },
    },
  ];
}

/** A path longer than this is a list: its end near the object is what a person reads. */
const stepsMax = 100;
/** Steps told of such a path, one by one, near the object. */
const lastStepsTold = 20;

/** A path from a root. */
export type Path = {
  /** Steps before the first of `steps`. */
  readonly omittedCount: number;
  /** How those are called, repeated ones once; "" where it is not known. */
  readonly omitted: string;
  readonly steps: readonly Step[];
};

/** A path in one line. Its first step is often the list of all roots, which says little. */
export function shownPath({ steps, omitted, omittedCount }: Path): string {
  const shown = steps.length > 1 && steps[0]?.id === "_ROOTS_" ? steps.slice(1) : steps;
  if (omittedCount === 0) return pathText(shown);
  const before = omitted === "" ? "" : `${omitted} → `;
  return `${before}… (${omittedCount.toLocaleString("en")} steps) → ${pathText(shown)}`;
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

/**
 * The shortest path from a root to an object, every step labelled.
 *
 * Holder by holder, each a look-up by id. Of a path through a long list, the steps near the object; what is before
 * them is told by the object's shape, if the dump has shapes.
 *
 * @param next - an object below, to which the path goes on
 */
export async function pathTo(id: StoredId, context: QueryContext, next?: StoredId): Promise<Path> {
  const steps: Step[] = [];
  let wanted: StoredId | undefined = id;
  let told = stepsMax + 1;
  while (wanted !== undefined && steps.length < told) {
    context.signal?.throwIfAborted();
    const step = await stepOf(wanted, steps[0]?.id ?? next, context);
    if (step === undefined) break;
    if (steps.length === 0 && (step.object.depth ?? 0) > stepsMax) told = lastStepsTold;
    steps.unshift(step);
    wanted = step.object.parent;
  }
  const omittedCount = wanted === undefined ? 0 : (steps[0]?.object.depth ?? 0);
  const omitted = omittedCount === 0 ? "" : await beforeSteps(steps, context);
  return { steps, omittedCount, omitted };
}

/** The one path of shapes that goes on with these steps, up to the first of them; "" where there is none, or several. */
async function beforeSteps(steps: readonly Step[], { db, dump }: QueryContext): Promise<string> {
  const last = steps.at(-1)?.object;
  if (dump.shapes === undefined || last === undefined) return "";
  const { type, class_name = null } = last;
  const shapes = await db
    .collection<ShapeDocument>(shapesCollectionOf(dump.collection))
    .find({ class_name, type } as Filter<ShapeDocument>, { projection: { path: 1 } })
    .toArray();
  const labels: string[] = [];
  for (const { label, object } of steps.slice(0, -1)) {
    const told = isList(object) ? `${label}[…]` : label;
    if (labels.at(-1) !== told) labels.push(told);
  }
  const paths = shapes
    .map(({ path = "" }) => path.split(pathArrow))
    .filter((path) =>
      labels.every((label, at) => path[path.length - labels.length + at] === label),
    );
  const [found] = paths;
  if (found === undefined || paths.length > 1) return "";
  return found.slice(0, found.length - labels.length + 1).join(pathArrow);
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
