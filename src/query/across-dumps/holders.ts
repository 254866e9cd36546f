import type { Db, Document } from "mongodb";
import type { DumpEntry } from "../../../schemas/dump-entry.js";
import type { HeapDocument } from "../define-query.js";
import { documentsById } from "../documents-by-id.js";
import type { Holder } from "../holders.js";
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
  const { rows, notes } = await heldGroups(firstRoundOf(found), context, known);
  return { holders: rows, lookedUp: found.length, holderNotes: notes };
}

const heldFields: Document = {
  ...{ type: 1, class_name: 1, parent: 1, dominator: 1, depth: 1 },
  ...{ memsize: 1, retained_size: 1, retained_count: 1 },
};

/** What the first stages of `retainers` give: objects that one object holds and one dominates, as one. */
function firstRoundOf(objects: readonly HeapDocument[]): Document[] {
  const groups = new Map<string, Document>();
  for (const { _id, type, class_name, parent, dominator, depth, ...sizes } of objects) {
    const reached = depth !== undefined;
    const above = `${typeof parent} ${parent} ${typeof dominator} ${dominator} ${reached}`;
    const key = `${above} ${type} ${class_name}`;
    let group = groups.get(key);
    if (group === undefined) {
      const zero = { count: 0, bytes: 0, retained_bytes: 0, retained_count: 0 };
      group = {
        _id: { parent, dominator, reached, type, class_name },
        ...zero,
        sample: _id,
        depth,
        largest: 0,
        holders: [],
      };
      groups.set(key, group);
    }
    group["count"]++;
    group["bytes"] += Number(sizes.memsize ?? 0);
    group["retained_bytes"] += Number(sizes.retained_size ?? 0);
    const retained = Number(sizes.retained_count ?? 0);
    group["retained_count"] += retained;
    if (retained <= 1) continue;
    group["largest"] = Math.max(Number(group["largest"]), retained);
    (group["holders"] as ObjectId[]).push(_id);
  }
  return [...groups.values()];
}
