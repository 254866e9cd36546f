import type { Document } from "mongodb";
import type { HeapDocument, QueryContext, StoredId } from "./define-query.js";
import { documentsById } from "./documents-by-id.js";
import { isList, labelFields, labelOf, listTypes } from "./object-labels.js";

/** References looked through for the name of an edge: larger holders are lists, whose edges are indexes. */
const namedReferencesMax = 64;
/** Levels of the dominator tree climbed. */
const roundsMax = 240;

/** A holder as the rounds see it. */
export type Holder = {
  readonly label: string;
  readonly parent: StoredId | undefined;
  readonly dominator: StoredId | undefined;
  readonly references: readonly StoredId[];
  readonly names: readonly string[];
  readonly isList: boolean;
  readonly retainedCount: number;
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
      retainedCount: Number(object.retained_count ?? 0),
    });
  }
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
  known: Map<StoredId, Holder>,
  context: QueryContext,
): Promise<ReadonlySet<StoredId>> {
  const inside = new Set<StoredId>();
  if (members.size === 0) return inside;
  const aboveOf = (id: StoredId): StoredId | undefined => {
    const holder = known.get(id);
    return holder === undefined || holder.retainedCount >= largest ? undefined : holder.dominator;
  };
  const climbed = new Set<StoredId>();
  let climbing = new Set(objects);
  for (let round = 0; climbing.size > 0 && round < roundsMax; round++) {
    const outside = [...climbing].filter((id) => !members.has(id) && !climbed.has(id));
    await learn(outside, known, context);
    climbing = new Set();
    for (const id of outside) {
      climbed.add(id);
      const above = aboveOf(id);
      if (above !== undefined) climbing.add(above);
    }
  }
  // Each link is followed once: what one object finds holds for all that were passed.
  const isOutside = new Set<StoredId>();
  for (const object of objects) {
    const passed: StoredId[] = [];
    let at: StoredId | undefined = object;
    while (at !== undefined && !members.has(at) && !inside.has(at) && !isOutside.has(at)) {
      passed.push(at);
      at = aboveOf(at);
    }
    const found = at !== undefined && !isOutside.has(at);
    if (found && members.has(at as StoredId)) inside.add(at as StoredId);
    for (const id of passed) (found ? inside : isOutside).add(id);
  }
  return inside;
}

/** The nearest object that dominates all: climbs from all of them, until what is left is one. */
export async function commonDominator(
  dominators: readonly StoredId[],
  known: Map<StoredId, Holder>,
  context: QueryContext,
): Promise<StoredId | undefined> {
  const [first] = dominators;
  if (first === undefined) return undefined;
  // The chain above the first one, nearest first: the answer stands in it.
  const chain: StoredId[] = [];
  let link: StoredId | undefined = first;
  for (let round = 0; link !== undefined && round < roundsMax; round++) {
    chain.push(link);
    await learn([link], known, context);
    link = known.get(link)?.dominator;
  }
  const place = new Map(chain.map((id, index) => [id, index]));
  let nearest = 0;
  let climbing = new Set(dominators);
  for (let round = 0; climbing.size > 0 && round < roundsMax; round++) {
    const higher: StoredId[] = [];
    for (const id of climbing) {
      const at = place.get(id);
      if (at === undefined) higher.push(id);
      else nearest = Math.max(nearest, at);
    }
    await learn(higher, known, context);
    const next = new Set<StoredId>();
    for (const id of higher) {
      const above = known.get(id)?.dominator;
      if (above === undefined) return undefined;
      next.add(above);
    }
    climbing = next;
  }
  return chain[nearest];
}
