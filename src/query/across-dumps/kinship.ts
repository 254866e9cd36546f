import type { Db, Document } from "mongodb";
import type { Kinship } from "../../../schemas/diff-document.js";
import type { DumpEntry } from "../../../schemas/dump-entry.js";
import { documentsById } from "../documents-by-id.js";

/** Class objects looked up in the other dump: enough to tell, and one batch. */
const samplesMax = 1_000;
/** Fewer common objects than this prove nothing. */
const samplesMin = 20;
/** Share of the sample that must stand where it stood. */
const shareMin = 0.9;

/**
 * Tells whether two dumps are of one process, so that an object's id means the same in both.
 *
 * The registry knows it where the dump had a header. Where it had none, long-lived objects decide: Ruby's named
 * classes and modules stay at their addresses, and addresses differ between processes (ASLR), but not between workers
 * forked from one parent; V8 never gives an id twice within a process, so ids found in both must be the same thing.
 */
export async function kinshipOf(
  database: Db,
  before: DumpEntry,
  after: DumpEntry,
): Promise<Kinship> {
  return kinshipByHeader(before, after) ?? (await kinshipByOverlap(database, before, after));
}

/** What the registry says, or undefined where it says too little. */
export function kinshipByHeader(before: DumpEntry, after: DumpEntry): Kinship | undefined {
  if (before._id === after._id) {
    return { compared_by: "id", evidence: "it is one and the same dump" };
  }
  if (before.format !== after.format) {
    return different(`their formats differ (${before.format}, ${after.format})`);
  }
  for (const fact of ["host", "pid", "runtime_version"] as const) {
    const [one, two] = [before[fact], after[fact]];
    if (one !== undefined && two !== undefined && one !== two) {
      return different(`their headers name different processes (${fact} ${one}, ${two})`);
    }
  }
  const [startOne, startTwo] = [before.process_started_at, after.process_started_at];
  if (startOne === undefined || startTwo === undefined) return undefined;
  // Two dumps of one process may round the start differently; a pid is not used again within a second.
  if (Math.abs(startOne.getTime() - startTwo.getTime()) > 1_000) {
    return different(
      `process ${after.pid ?? "?"} was started anew (${startOne.toISOString()}, ${startTwo.toISOString()})`,
    );
  }
  if (before.pid === undefined || after.pid === undefined) return undefined;
  return {
    compared_by: "id",
    evidence: `one process by both headers: pid ${after.pid} on ${after.host ?? "?"}, started ${startTwo.toISOString()}`,
  };
}

async function kinshipByOverlap(
  database: Db,
  before: DumpEntry,
  after: DumpEntry,
): Promise<Kinship> {
  const isV8 = hasStableIds(after);
  const sample = await database
    .collection(before.collection)
    .aggregate(isV8 ? sampleOfAll : sampleOfClasses)
    .toArray();
  const ids = sample.map(({ _id }) => _id as unknown);
  const found = await documentsById(database, after.collection, ids, comparedFields);
  const byId = new Map(found.map((document) => [String(document._id), document]));
  const common = sample.filter(({ _id }) => byId.has(String(_id)));
  const same = common.filter((document) => isSameThing(document, byId.get(String(document._id))));
  const what = isV8 ? "objects found in both by id" : "named classes and modules";
  // V8: objects may have gone, so only those found count. Ruby: a named class that is gone counts against.
  const tried = isV8 ? common.length : sample.length;
  if (tried < samplesMin) {
    return different(`the headers do not say, and only ${tried} ${what} are there to compare`);
  }
  const share = same.length / tried;
  const shown = `${same.length} of ${tried} ${what} are the same${isV8 ? "" : ", at the same address"}`;
  if (share < shareMin) {
    return different(
      `the headers do not say, but only ${shown} (another process, or a compacted heap)`,
    );
  }
  const doubt = isV8 ? "" : "; workers forked from one parent would look the same";
  return {
    compared_by: "id",
    evidence: `one process: the headers do not say, but ${shown}${doubt}`,
  };
}

/** V8 numbers its objects and never gives a number twice; elsewhere an id is an address. */
export function hasStableIds({ format, runtime }: DumpEntry): boolean {
  return runtime === "node" || format.startsWith("v8");
}

const comparedFields: Document = { type: 1, class_name: 1, name: 1 };

const sampleOfClasses: Document[] = [
  { $match: { type: { $in: ["CLASS", "MODULE"] }, name: { $type: "string", $ne: "" } } },
  { $limit: samplesMax },
  { $project: comparedFields },
];

/** The latest ids: those of start-up are the same in every process of one program. */
const sampleOfAll: Document[] = [
  { $match: { _id: { $type: "number" } } },
  { $sort: { _id: -1 } },
  { $limit: 20 * samplesMax },
  { $project: comparedFields },
];

function isSameThing(one: Document, two: Document | undefined): boolean {
  return (
    two !== undefined &&
    one.type === two.type &&
    one.class_name === two.class_name &&
    one.name === two.name
  );
}

function different(reason: string): Kinship {
  return { compared_by: "class and site", evidence: `not taken for one process: ${reason}` };
}
