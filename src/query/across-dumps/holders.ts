import type { Db, Document } from "mongodb";
import type { DumpEntry } from "../../../schemas/dump-entry.js";
import type { HeapDocument, QueryContext } from "../define-query.js";
import { documentsById } from "../documents-by-id.js";
import { learn, type Holder } from "../holders.js";
import { heldGroups, type HeldGroup } from "../one-dump/retainers.js";
import type { ObjectId } from "./sorted-objects.js";

/** What holds the objects of one group of the leak test. */
export type Holders = {
  /** As `heapdump-query retainers` groups them, most objects first. */
  readonly holders: readonly HeldGroup[];
  /** Objects that were looked up. */
  readonly lookedUp: number;
  /** Sentences on what is not among the holders. */
  readonly holderNotes: readonly string[];
};

/** What was looked up before: groups share most of what is above them. */
export type KnownHolders = Map<ObjectId, Holder>;

/** Ways of being held that are told of one group: the tenth largest is no leak's. */
const holdersMax = 10;

/**
 * Groups objects by what holds them, by the code of `retainers`: here they are chosen by id, there by a condition.
 *
 * @param known - empty at first; the same for all groups of a dump
 */
export async function holdersOf(
  db: Db,
  dump: DumpEntry,
  ids: readonly ObjectId[],
  known: KnownHolders,
  signal?: AbortSignal,
): Promise<Holders> {
  const objects = db.collection<HeapDocument>(dump.collection);
  const context = { db, dump, objects, limit: holdersMax, signal };
  const found = await documentsById<HeapDocument>(db, dump.collection, ids, heldFields, signal);
  const inside = await dominatedByOthers(found, known, context);
  const { rows, notes } = await heldGroups(firstRoundOf(found, inside), context, known);
  return { holders: rows, lookedUp: found.length, holderNotes: notes };
}

const heldFields: Document = {
  ...{ parent: 1, dominator: 1, depth: 1 },
  ...{ memsize: 1, retained_size: 1, retained_count: 1 },
};

/** Levels of the dominator tree climbed in search of another object of the group. */
const levelsMax = 200;

/** Those of the objects that another one of them dominates: what they retain, that one retains. */
async function dominatedByOthers(
  objects: readonly HeapDocument[],
  known: KnownHolders,
  context: QueryContext,
): Promise<ReadonlySet<ObjectId>> {
  const members = new Set<ObjectId>(objects.map(({ _id }) => _id));
  const inside = new Set<ObjectId>();
  let climbing: { id: ObjectId; above: ObjectId | undefined }[] = objects.map(
    ({ _id, dominator }) => ({ id: _id, above: dominator }),
  );
  for (let level = 0; level < levelsMax && climbing.length > 0; level++) {
    const higher: { id: ObjectId; above: ObjectId }[] = [];
    for (const { id, above } of climbing) {
      if (above === undefined) continue;
      if (members.has(above)) inside.add(id);
      else higher.push({ id, above });
    }
    await learn(
      higher.map(({ above }) => above),
      known,
      context,
    );
    climbing = higher.map(({ id, above }) => ({ id, above: known.get(above)?.dominator }));
  }
  return inside;
}

/** What the first stages of `retainers` give: objects that one object holds and one dominates, as one. */
function firstRoundOf(objects: readonly HeapDocument[], inside: ReadonlySet<ObjectId>): Document[] {
  const groups = new Map<string, Document>();
  for (const { _id, parent, dominator, depth, ...sizes } of objects) {
    const reached = depth !== undefined;
    const key = `${typeof parent} ${parent} ${typeof dominator} ${dominator} ${reached}`;
    let group = groups.get(key);
    if (group === undefined) {
      const zero = { count: 0, bytes: 0, retained_bytes: 0, retained_count: 0 };
      group = { _id: { parent, dominator, reached }, ...zero, sample: _id };
      groups.set(key, group);
    }
    group["count"]++;
    group["bytes"] += Number(sizes.memsize ?? 0);
    if (inside.has(_id)) continue;
    group["retained_bytes"] += Number(sizes.retained_size ?? 0);
    group["retained_count"] += Number(sizes.retained_count ?? 0);
  }
  return [...groups.values()];
}
