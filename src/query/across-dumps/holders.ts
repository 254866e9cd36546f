import type { Db, Document } from "mongodb";
import { documentsById } from "../documents-by-id.js";
import type { ObjectId } from "./sorted-objects.js";

/** One step of a path: an object, and the name of its reference to the next one where the dump has names. */
export type PathStep = {
  readonly id: ObjectId;
  readonly label: string;
  readonly reference: string;
};

/** Objects of one group that are held in the same way. */
export type HolderGroup = {
  /** Labels from the root down to the holder; empty: no path from a root. */
  readonly path: readonly string[];
  readonly count: number;
  /** Freed with these objects; what one of them frees with another of them is counted once. */
  readonly retainedBytes: number;
  /** From the root down to one of the objects, itself included. */
  readonly sample: readonly PathStep[];
};

type Held = {
  readonly _id: ObjectId;
  readonly type?: string;
  readonly class_name?: string;
  readonly name?: unknown;
  readonly parent?: ObjectId;
  readonly dominator?: ObjectId;
  readonly retained_size?: number;
};

/** What was looked up before: groups share most of what is above them. */
export type KnownObjects = Map<ObjectId, Held>;

/** Steps looked at on the way to a root: a list a million long would never end. */
const stepsMax = 200;

/**
 * Groups objects by what holds them: the labels on the shortest path from a root, repetitions as one. Most first.
 *
 * Looks up whole levels at a time, each object once, however many paths lead through it.
 *
 * @param known - empty at first; the same for all groups of a dump
 */
export async function holdersOf(
  database: Db,
  collection: string,
  ids: readonly ObjectId[],
  known: KnownObjects,
  signal?: AbortSignal,
): Promise<HolderGroup[]> {
  await lookUpAncestors(database, collection, ids, known, signal);
  const members = new Set(ids);
  const groups = new Map<string, { path: string[]; ids: ObjectId[]; retainedBytes: number }>();
  for (const id of ids) {
    const chain = chainOf(id, known);
    const path = shorten(chain.slice(1).map(labelOf)).reverse();
    const key = path.join("\0");
    let group = groups.get(key);
    if (group === undefined) {
      group = { path, ids: [], retainedBytes: 0 };
      groups.set(key, group);
    }
    group.ids.push(id);
    const held = known.get(id);
    if (held !== undefined && !isDominatedByMember(held, members, known)) {
      group.retainedBytes += Number(held.retained_size ?? 0);
    }
  }
  const sorted = [...groups.values()].sort(
    (one, two) => two.ids.length - one.ids.length || (one.path.join() < two.path.join() ? -1 : 1),
  );
  const result: HolderGroup[] = [];
  for (const { path, ids: own, retainedBytes } of sorted) {
    // References' names cost a query a step: only for what a person will read.
    const named = result.length < 5;
    const chain = chainOf(own[0] as ObjectId, known).reverse();
    result.push({
      path,
      count: own.length,
      retainedBytes,
      sample: await stepsOf(database, collection, chain, named),
    });
  }
  return result;
}

/** The objects and everything on their shortest paths. */
async function lookUpAncestors(
  database: Db,
  collection: string,
  ids: readonly ObjectId[],
  known: KnownObjects,
  signal: AbortSignal | undefined,
): Promise<void> {
  let wanted = ids.filter((id) => !known.has(id));
  for (let step = 0; step < stepsMax && wanted.length > 0; step++) {
    const above = new Set<ObjectId>();
    const found = await documentsById<Held>(database, collection, wanted, heldFields, signal);
    for (const document of found) {
      known.set(document._id, document);
      if (document.parent !== undefined) above.add(document.parent);
    }
    wanted = [...above].filter((id) => !known.has(id));
  }
}

const heldFields: Document = {
  type: 1,
  class_name: 1,
  // A V8 string's name is its content: not wanted here, and long.
  name: { $cond: [{ $in: ["$type", ["CLASS", "MODULE", "ICLASS"]] }, "$name", "$$REMOVE"] },
  parent: 1,
  dominator: 1,
  retained_size: 1,
};

/** The object and what is above it, nearest first; without a root's end where it is unreachable or too far. */
function chainOf(id: ObjectId, known: ReadonlyMap<ObjectId, Held>): Held[] {
  const chain: Held[] = [];
  let held = known.get(id);
  while (held !== undefined && chain.length < stepsMax) {
    chain.push(held);
    held = held.parent === undefined ? undefined : known.get(held.parent);
  }
  return chain;
}

/** Dominators are looked for among what is known: those on the shortest paths, and a dominator is on every path. */
function isDominatedByMember(
  held: Held,
  members: ReadonlySet<ObjectId>,
  known: ReadonlyMap<ObjectId, Held>,
): boolean {
  let above = held.dominator;
  for (let step = 0; above !== undefined && step < stepsMax; step++) {
    if (members.has(above)) return true;
    above = known.get(above)?.dominator;
  }
  return false;
}

function labelOf({ _id, type, class_name, name }: Held): string {
  if (typeof _id === "string") return _id;
  if (typeof name === "string" && name !== "") return `${class_name ?? "Class"} ${name}`;
  return class_name === undefined || class_name === "" ? `(${type ?? "?"})` : class_name;
}

/** Takes repetitions of one label or of two in turn for one: paths through a list differ in nothing else. */
function shorten(labels: readonly string[]): string[] {
  const short: string[] = [];
  for (const label of labels) {
    const last = short.length - 1;
    if (short[last] === label) continue;
    if (short[last - 1] === label && short[last - 2] === short[last]) {
      short.pop();
      continue;
    }
    short.push(label);
  }
  return short;
}

async function stepsOf(
  database: Db,
  collection: string,
  chain: readonly Held[],
  named: boolean,
): Promise<PathStep[]> {
  const steps: PathStep[] = [];
  for (const [index, held] of chain.entries()) {
    const next = chain[index + 1];
    const reference =
      named && next !== undefined
        ? await referenceName(database, collection, held._id, next._id)
        : "";
    steps.push({ id: held._id, label: labelOf(held), reference });
  }
  return steps;
}

async function referenceName(
  database: Db,
  collection: string,
  from: ObjectId,
  to: ObjectId,
): Promise<string> {
  const [found] = await database
    .collection(collection)
    .aggregate([
      { $match: { _id: from as never, reference_names: { $exists: true } } },
      {
        $project: {
          name: { $arrayElemAt: ["$reference_names", { $indexOfArray: ["$references", to] }] },
        },
      },
    ])
    .toArray();
  return typeof found?.name === "string" ? found.name : "";
}
