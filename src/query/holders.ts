import type { Document } from "mongodb";
import type { HeapDocument, QueryContext, StoredId } from "./define-query.js";
import { chainViewOf } from "../../schemas/collection-names.js";
import { documentsById } from "./documents-by-id.js";
import { isList, labelFields, labelOf, listTypes } from "./object-labels.js";

/** References looked through for the name of an edge: larger holders are lists, whose edges are indexes. */
const namedReferencesMax = 64;
/** Levels of the dominator tree that are climbed together; from then on it is a list, whose levels are many. */
const roundsMax = 240;
/** Levels of a list asked for at once: a server keeps them all in 100 MB. */
const levelsAtOnce = 10_000;

/** A holder as the rounds see it. */
export type Holder = {
  readonly label: string;
  readonly parent: StoredId | undefined;
  readonly dominator: StoredId | undefined;
  readonly references: readonly StoredId[];
  readonly names: readonly string[];
  readonly isList: boolean;
};

const holderFields: Document = {
  ...labelFields,
  // As it is: cutting long ones costs more than reading them, for many holders.
  name: 1,
  references: {
    $cond: [
      { $in: ["$type", [...listTypes]] },
      [],
      { $slice: [{ $ifNull: ["$references", []] }, namedReferencesMax] },
    ],
  },
  reference_names: { $slice: [{ $ifNull: ["$reference_names", []] }, namedReferencesMax] },
};

/** Asks for the holders that are not known yet. */
export async function learn(
  ids: readonly StoredId[],
  known: Map<StoredId, Holder>,
  context: QueryContext,
): Promise<void> {
  const wanted = [...new Set(ids)].filter((id) => !known.has(id));
  const { db, dump, signal } = context;
  const objects = await documentsById<HeapDocument>(
    db,
    dump.collection,
    wanted,
    holderFields,
    signal,
  );
  for (const object of objects) {
    known.set(object._id, {
      label: labelOf(object),
      parent: object.parent,
      dominator: object.dominator,
      references: (object["references"] ?? []) as StoredId[],
      names: (object["reference_names"] ?? []) as string[],
      isList: isList(object),
    });
  }
}

/** What climbing the dominator tree asks of an object. */
type Link = {
  readonly _id: StoredId;
  readonly dominator?: StoredId;
  readonly retained_count?: number;
};
const linkFields: Document = { dominator: 1, retained_count: 1 };

/** The objects that dominate this one, nearest first, itself in front: up to `until`, or the last one. */
async function wayUp(
  id: StoredId,
  { db, dump, signal }: QueryContext,
  until: (link: Link) => boolean = () => false,
): Promise<readonly Link[]> {
  const way: Link[] = [];
  let next: StoredId | undefined = id;
  while (next !== undefined) {
    signal?.throwIfAborted();
    const links = await db
      .collection(dump.collection)
      .aggregate<Link & { readonly level: number }>([
        { $match: { _id: next as never } },
        {
          $graphLookup: {
            from: chainViewOf(dump.collection),
            startWith: "$_id",
            connectFromField: "dominator",
            connectToField: "_id",
            as: "links",
            depthField: "level",
            maxDepth: levelsAtOnce - 1,
          },
        },
        { $unwind: "$links" },
        { $replaceWith: "$links" },
        { $project: { ...linkFields, level: 1 } },
      ])
      .toArray();
    links.sort((one, two) => Number(one.level) - Number(two.level));
    const end = links.findIndex(until);
    if (end >= 0) return [...way, ...links.slice(0, end + 1)];
    for (const link of links) way.push(link);
    next = links.at(-1)?.dominator;
  }
  return way;
}

/**
 * Those of the objects that are members, or dominated by one.
 *
 * @param largest - objects that a member retains, at most: what retains as many and is none has none above it
 */
export async function dominatedBy(
  members: ReadonlySet<StoredId>,
  largest: number,
  objects: readonly StoredId[],
  context: QueryContext,
): Promise<ReadonlySet<StoredId>> {
  const { db, dump, signal } = context;
  const inside = new Set<StoredId>();
  if (members.size === 0) return inside;
  const aboveOf = new Map<StoredId, StoredId | undefined>();
  let climbing = new Set(objects);
  const mayBeInside = ({ retained_count: count = 0 }: Link): boolean => Number(count) < largest;
  for (let round = 0; climbing.size > 0; round++) {
    const outside = [...climbing].filter((id) => !members.has(id) && !aboveOf.has(id));
    const [one] = outside;
    const isEnd = (link: Link): boolean =>
      members.has(link._id) || aboveOf.has(link._id) || !mayBeInside(link);
    const links =
      round < roundsMax || one === undefined
        ? await documentsById<Link>(db, dump.collection, outside, linkFields, signal)
        : await wayUp(one, context, isEnd);
    climbing = new Set(round < roundsMax ? [] : outside.slice(1));
    for (const link of links) {
      const above = mayBeInside(link) ? link.dominator : undefined;
      aboveOf.set(link._id, above);
      if (above !== undefined && !aboveOf.has(above) && !members.has(link._id)) climbing.add(above);
    }
  }
  // Each link is followed once: what is found for one object holds for all that were passed.
  const outside = new Set<StoredId>();
  for (const object of objects) {
    const passed: StoredId[] = [];
    let at: StoredId | undefined = object;
    while (at !== undefined && !members.has(at) && !inside.has(at) && !outside.has(at)) {
      passed.push(at);
      at = aboveOf.get(at);
    }
    const isInside = at !== undefined && !outside.has(at);
    if (isInside && at !== undefined) passed.push(at);
    for (const id of passed) (isInside ? inside : outside).add(id);
  }
  return inside;
}

/** Objects whose ways up are compared at first. */
const sampledMax = 32;
/** Levels climbed for that: in a list it is far to go. */
const sampledRounds = 60;

/**
 * Whether two of the objects are reached from one that dominates all by different ways: then no nearer one does. Few
 * are looked at: of objects that have nothing else in common, that is enough.
 *
 * @param bound - null stands above all roots
 */
async function partBelow(
  bound: StoredId | null,
  objects: readonly StoredId[],
  known: Map<StoredId, Holder>,
  context: QueryContext,
): Promise<boolean> {
  const every = Math.ceil(objects.length / sampledMax);
  const below = new Set<StoredId>();
  let climbing = objects.filter((_, index) => index % every === 0);
  for (let round = 0; climbing.length > 0 && round < sampledRounds; round++) {
    await learn(climbing, known, context);
    const higher = new Set<StoredId>();
    for (const id of climbing) {
      const above = known.get(id)?.dominator;
      if (id === bound || (above ?? null) === bound) below.add(id);
      else if (above !== undefined) higher.add(above);
    }
    if (below.size > 1 || (bound !== null && below.has(bound))) return true;
    climbing = [...higher];
  }
  return false;
}

/**
 * The nearest object that dominates all: climbs from all of them, until what is left is one.
 *
 * @param bound - what dominates all or is one of them, if it is known; null: nothing does
 */
export async function commonDominator(
  dominators: readonly StoredId[],
  bound: StoredId | null | undefined,
  known: Map<StoredId, Holder>,
  context: QueryContext,
): Promise<StoredId | undefined> {
  if (bound !== undefined && (await partBelow(bound, dominators, known, context))) {
    return bound ?? undefined;
  }
  const [first] = dominators;
  if (first === undefined) return undefined;
  // The answer stands in the way up from the first one.
  const chain = (await wayUp(first, context)).map(({ _id }) => _id);
  const place = new Map(chain.map((id, index) => [id, index]));
  let nearest = 0;
  let climbing = new Set(dominators);
  for (let round = 0; climbing.size > 0; round++) {
    const higher: StoredId[] = [];
    for (const id of climbing) {
      const at = place.get(id);
      if (at === undefined) higher.push(id);
      else nearest = Math.max(nearest, at);
    }
    const next = new Set<StoredId>();
    if (round < roundsMax) await learn(higher, known, context);
    for (const id of higher) {
      const above =
        round < roundsMax
          ? known.get(id)?.dominator
          : (await wayUp(id, context, (link) => place.has(link._id))).at(-1)?._id;
      if (above === undefined || above === id) return undefined;
      next.add(above);
    }
    climbing = next;
  }
  return chain[nearest];
}
