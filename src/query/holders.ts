import type { Document } from "mongodb";
import type { HeapDocument, QueryContext, StoredId } from "./define-query.js";
import { chainViewOf } from "../../schemas/collection-names.js";
import { documentsById } from "./documents-by-id.js";
import { isList, labelFields, labelOf, listTypes } from "./object-labels.js";

/** References looked through for the name of an edge: larger holders are lists, whose edges are indexes. */
const namedReferencesMax = 64;
/** Levels of the dominator tree that are climbed together; from then on it is a list, whose levels are many. */
const roundsMax = 60;
/** Levels of a list asked for at first, and at once at most: a server keeps them all in 100 MB. */
const levelsAtFirst = 64;
const levelsMax = 10_000;
/** Who still climbs after so many levels is taken for a part of a list, which is of one kind. */
const listRounds = 8;
/** Objects of a kind that are read together: per object, a tenth of the time that going to each takes. */
const alikeMax = 400_000;
const alikeBatch = 5_000;
/** Objects among which the deepest is looked for, to begin with. */
const depthsSampled = 1_000;

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
const nothing: ReadonlyMap<StoredId, Link> = new Map();
const linkFields: Document = { dominator: 1, retained_count: 1 };

/**
 * The objects that dominate this one, nearest first, itself in front: up to `until`, or the last one.
 *
 * @param links - what is known already; by default all objects like the one where a long way is found to begin
 */
async function wayUp(
  id: StoredId,
  context: QueryContext,
  until: (link: Link) => boolean = () => false,
  links?: ReadonlyMap<StoredId, Link>,
): Promise<readonly Link[]> {
  const { db, dump, signal } = context;
  let alike = links;
  const way: Link[] = [];
  let next: StoredId | undefined = id;
  for (let levels = levelsAtFirst; next !== undefined; levels = Math.min(levels * 5, levelsMax)) {
    signal?.throwIfAborted();
    if (levels > levelsAtFirst) {
      alike ??= await alikeOf([next], context);
      for (let link = alike.get(next); link !== undefined; link = alike.get(next)) {
        way.push(link);
        if (link.dominator === undefined || until(link)) return way;
        next = link.dominator;
      }
    }
    const climbed = await db
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
            maxDepth: levels - 1,
          },
        },
        { $unwind: "$links" },
        { $replaceWith: "$links" },
        { $project: { ...linkFields, level: 1 } },
      ])
      .toArray();
    climbed.sort((one, two) => Number(one.level) - Number(two.level));
    for (const link of climbed) {
      way.push(link);
      if (until(link)) return way;
    }
    next = climbed.at(-1)?.dominator;
  }
  return way;
}

/**
 * The ids, objects far from a root first: the way up from one of a list passes all others above it, and what dominates
 * an object is never as deep as that.
 */
async function deepestFirst(
  ids: readonly StoredId[],
  { db, dump, signal }: QueryContext,
): Promise<StoredId[]> {
  const { collection } = dump;
  const found = await documentsById<HeapDocument>(db, collection, ids, { depth: 1 }, signal);
  found.sort((one, two) => Number(two.depth ?? -1) - Number(one.depth ?? -1));
  return found.map(({ _id }) => _id);
}

/** Some of the objects, from all over the list of them. */
function sampleOf(objects: readonly StoredId[], most: number): StoredId[] {
  const every = Math.ceil(objects.length / most);
  return objects.filter((_, index) => index % every === 0);
}

/** The links of all objects of the kinds that these are of, where those are not too many. */
async function alikeOf(
  ids: readonly StoredId[],
  { db, dump, signal }: QueryContext,
): Promise<ReadonlyMap<StoredId, Link>> {
  const { collection } = dump;
  const sampled = sampleOf(ids, sampledMax);
  const fields = { type: 1, class_name: 1 };
  const some = await documentsById<HeapDocument>(db, collection, sampled, fields, signal);
  const kinds = new Map(
    some.map(({ type, class_name = null }) => [`${type}\0${class_name}`, { type, class_name }]),
  );
  const links = new Map<StoredId, Link>();
  for (const kind of kinds.values()) {
    const objects = db.collection(collection);
    const [{ count } = { count: 0 }] = await objects
      .aggregate<{ count: number }>([
        { $match: kind },
        { $limit: alikeMax + 1 },
        { $count: "count" },
      ])
      .toArray();
    if (links.size + count > alikeMax) continue;
    const cursor = objects.aggregate<Link>([{ $match: kind }, { $project: linkFields }], {
      batchSize: alikeBatch,
    });
    for await (const link of cursor) {
      signal?.throwIfAborted();
      links.set(link._id, link);
    }
  }
  return links;
}

/**
 * Goes up from each of the objects as far as the links lead through open ones.
 *
 * @param pass - is told each link, which is not open from then on, and gives what is above it
 * @returns the open objects that the links do not know
 */
function followed(
  objects: readonly StoredId[],
  links: ReadonlyMap<StoredId, Link>,
  isOpen: (id: StoredId) => boolean,
  pass: (link: Link) => StoredId | undefined,
): StoredId[] {
  const left = new Set<StoredId>();
  for (const object of objects) {
    let at: StoredId | undefined = object;
    while (at !== undefined && isOpen(at)) {
      const link = links.get(at);
      if (link === undefined) left.add(at);
      at = link === undefined ? undefined : pass(link);
    }
  }
  return [...left];
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
  const linked = (link: Link): StoredId | undefined => {
    const above = mayBeInside(link) ? link.dominator : undefined;
    aboveOf.set(link._id, above);
    return above;
  };
  const isOpen = (id: StoredId): boolean => !members.has(id) && !aboveOf.has(id);
  for (let round = 0; climbing.size > 0 && round < roundsMax; round++) {
    let open = [...climbing].filter(isOpen);
    climbing = new Set();
    if (round === listRounds && open.length > 0) {
      open = followed(open, await alikeOf(open, context), isOpen, linked);
    }
    for (const link of await documentsById<Link>(db, dump.collection, open, linkFields, signal)) {
      const above = linked(link);
      if (above !== undefined) climbing.add(above);
    }
  }
  for (const id of await deepestFirst([...climbing].filter(isOpen), context)) {
    if (!isOpen(id)) continue;
    const isEnd = (link: Link): boolean => !isOpen(link._id) || !mayBeInside(link);
    for (const link of await wayUp(id, context, isEnd, nothing)) linked(link);
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
  const below = new Set<StoredId>();
  let climbing = sampleOf(objects, sampledMax);
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
  // The answer stands in the way up from any of them; of a list, in that from a deep one stand the others, too.
  const [first] = await deepestFirst(sampleOf(dominators, depthsSampled), context);
  if (first === undefined) return undefined;
  const chain = (await wayUp(first, context)).map(({ _id }) => _id);
  const place = new Map(chain.map((id, index) => [id, index]));
  let nearest = 0;
  let isApart = false;
  const passed = new Set<StoredId>();
  const isOpen = (id: StoredId): boolean => !place.has(id) && !passed.has(id);
  const reach = (id: StoredId): void => {
    nearest = Math.max(nearest, place.get(id) ?? 0);
  };
  const pass = ({ _id, dominator }: Link): StoredId | undefined => {
    passed.add(_id);
    if (dominator === undefined) isApart = true;
    else reach(dominator);
    return dominator;
  };
  for (const id of dominators) reach(id);
  let climbing = new Set(dominators);
  for (let round = 0; climbing.size > 0 && round < roundsMax; round++) {
    let open = [...climbing].filter(isOpen);
    climbing = new Set();
    if (round === listRounds && open.length > 0) {
      open = followed(open, await alikeOf(open, context), isOpen, pass);
    }
    await learn(open, known, context);
    for (const _id of open) {
      const dominator = known.get(_id)?.dominator;
      const above = pass(dominator === undefined ? { _id } : { _id, dominator });
      if (above !== undefined) climbing.add(above);
    }
    if (isApart) return undefined;
  }
  for (const id of await deepestFirst([...climbing].filter(isOpen), context)) {
    if (!isOpen(id)) continue;
    const way = await wayUp(id, context, (link) => !isOpen(link._id), nothing);
    for (const link of way) if (isOpen(link._id)) pass(link);
    if (isApart) return undefined;
  }
  return chain[nearest];
}
