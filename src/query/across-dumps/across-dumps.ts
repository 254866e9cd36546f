import type { Db } from "mongodb";
import type { Growth, Kinship } from "../../../schemas/diff-document.js";
import { registryCollection, summariesCollection } from "../../../schemas/collection-names.js";
import type { DumpEntry, SummaryDocument } from "../../../schemas/dump-entry.js";
import { HeapdumpError } from "../../errors.js";
import { growthBetween } from "./growth.js";
import { holdersOf, type Holders, type KnownHolders } from "./holders.js";
import { hasStableIds, kinshipOf } from "./kinship.js";
import { mergeObjects, type Identity } from "./merge-objects.js";
import { ObjectGroups, type ObjectGroup } from "./object-groups.js";

/** What two dumps differ in. */
export type TwoDumps = {
  readonly before: DumpEntry;
  readonly after: DumpEntry;
  readonly kinship: Kinship;
  readonly growth: readonly Growth[];
  /** Object by object; absent where ids do not mean the same in both, or the objects were pruned. */
  readonly objects: ObjectChanges | undefined;
};

export type ObjectChanges = {
  readonly survived: number;
  readonly appeared: readonly ObjectGroup[];
  readonly vanished: readonly ObjectGroup[];
  /** Ids that belong to another object now: what a comparison by address takes for survivors. */
  readonly reusedIds: number;
  /** Sentences on how far this can be trusted. */
  readonly notes: readonly string[];
};

/** Objects new in the second of three dumps and still there in the third. */
export type LeakTest = {
  readonly dumps: readonly DumpEntry[];
  readonly kinships: readonly Kinship[];
  readonly groups: readonly LeakGroup[];
  /** Groups beyond the limit. */
  readonly groupsLeftOut: number;
  readonly notes: readonly string[];
};

export type LeakGroup = ObjectGroup & Holders;

export type DiffOptions = {
  /** The most groups and changes given. */
  readonly limit: number;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Compares two dumps: their summaries always, their objects one by one where both are of one process.
 *
 * @throws {HeapdumpError} `query/no-dump` when one is not there or not complete
 */
export async function compareTwo(
  database: Db,
  names: readonly [string, string],
  options: DiffOptions,
): Promise<TwoDumps> {
  const before = await dumpNamed(database, names[0]);
  const after = await dumpNamed(database, names[1]);
  const growth = growthBetween(
    await summariesOf(database, before._id),
    await summariesOf(database, after._id),
    options.limit,
  );
  const kinship = await kinshipFor(database, before, after);
  const objects =
    kinship.compared_by === "id"
      ? await objectChanges(database, before, after, options)
      : undefined;
  return { before, after, kinship, growth, objects };
}

/** Whether the two can be compared object by object, and why; never by id where objects were pruned. */
export async function kinshipFor(
  database: Db,
  before: DumpEntry,
  after: DumpEntry,
): Promise<Kinship> {
  if (before.status === "pruned" || after.status === "pruned") {
    return { compared_by: "class and site", evidence: "the objects of one of them were pruned" };
  }
  return kinshipOf(database, before, after);
}

async function objectChanges(
  database: Db,
  before: DumpEntry,
  after: DumpEntry,
  options: DiffOptions,
): Promise<ObjectChanges> {
  const identity = await identityIn(database, [before, after]);
  const appeared = new ObjectGroups();
  const vanished = new ObjectGroups();
  let survived = 0;
  let reusedIds = 0;
  await mergeObjects(
    database,
    [before.collection, after.collection],
    identity,
    (object) => {
      if (object.first === 0 && object.last === 1) survived++;
      else (object.first === 1 ? appeared : vanished).add(object.id, object.fields());
      if (object.reusesId) reusedIds++;
    },
    options.signal,
  );
  return {
    survived,
    appeared: appeared.largestFirst().slice(0, options.limit).map(withFewSamples),
    vanished: vanished.largestFirst().slice(0, options.limit).map(withFewSamples),
    reusedIds,
    notes: notesOn(identity, reusedIds),
  };
}

/**
 * The three-dump leak test: what is new in the second dump and alive in the third, by class and site, then by what
 * holds it there.
 *
 * @throws {HeapdumpError} `query/no-dump`; `query/bad-argument` when the dumps are not of one process, or pruned
 */
export async function testForLeaks(
  database: Db,
  names: readonly [string, string, string],
  options: DiffOptions,
): Promise<LeakTest> {
  const dumps: DumpEntry[] = [];
  for (const name of names) dumps.push(await dumpNamed(database, name));
  const kinships: Kinship[] = [];
  for (const [index, after] of dumps.entries()) {
    if (after.status === "pruned") {
      throw new HeapdumpError("query/bad-argument", `the objects of ${after._id} were pruned`);
    }
    const before = dumps[index - 1];
    if (before === undefined) continue;
    const kinship = await kinshipOf(database, before, after);
    if (kinship.compared_by !== "id") {
      throw new HeapdumpError(
        "query/bad-argument",
        `three dumps are compared object by object, but ${before._id} and ${after._id} are ${kinship.evidence}; compare two of them by class`,
      );
    }
    kinships.push(kinship);
  }
  const identity = await identityIn(database, dumps);
  const leaking = new ObjectGroups();
  let reusedIds = 0;
  await mergeObjects(
    database,
    dumps.map(({ collection }) => collection),
    identity,
    (object) => {
      if (object.first === 1 && object.last === 2) leaking.add(object.id, object.fields());
      if (object.reusesId) reusedIds++;
    },
    options.signal,
  );
  const groups = leaking.largestFirst();
  const last = dumps[2] as DumpEntry;
  const shown: LeakGroup[] = [];
  const known: KnownHolders = new Map();
  for (const group of groups.slice(0, options.limit)) {
    const holders = await holdersOf(database, last, group.sample, known, options.signal);
    shown.push({ ...withFewSamples(group), ...holders });
  }
  return {
    dumps,
    kinships,
    groups: shown,
    groupsLeftOut: groups.length - shown.length,
    notes: notesOn(identity, reusedIds),
  };
}

/** Ids of a group for a reader to look at. */
const samplesShown = 5;

function withFewSamples(group: ObjectGroup): ObjectGroup {
  return { ...group, sample: group.sample.slice(0, samplesShown) };
}

/** The registry's entry of a dump that can be compared. */
async function dumpNamed(database: Db, name: string): Promise<DumpEntry> {
  const dumps = database.collection<DumpEntry>(registryCollection);
  const entry = await dumps.findOne({ _id: name });
  if (entry === null) throw new HeapdumpError("query/no-dump", `no dump is named "${name}"`);
  if (entry.status === "loading") {
    throw new HeapdumpError("query/no-dump", `${name} is still loading`);
  }
  if (entry.analysed === false) {
    throw new HeapdumpError(
      "query/not-analysed",
      `${name} was imported without analysis: it cannot be compared`,
    );
  }
  return entry;
}

/** A dump's counts by type, class, site and generation. */
export async function summariesOf(database: Db, dump: string): Promise<SummaryDocument[]> {
  return database.collection<SummaryDocument>(summariesCollection).find({ dump }).toArray();
}

/** Where tracing was turned off before a later dump, its sites are gone and tell nothing. */
async function identityIn(database: Db, dumps: readonly DumpEntry[]): Promise<Identity> {
  const last = dumps[dumps.length - 1] as DumpEntry;
  if (hasStableIds(last)) return { idOnly: true, trace: false };
  const traced: boolean[] = [];
  for (const { _id } of dumps) {
    const summaries = database.collection<SummaryDocument>(summariesCollection);
    traced.push((await summaries.findOne({ dump: _id, by: "generation" })) !== null);
  }
  const isLost = traced.some((is, index) => is && traced[index + 1] === false);
  return { idOnly: false, trace: traced.includes(true) && !isLost };
}

function notesOn(identity: Identity, reusedIds: number): string[] {
  if (identity.idOnly) return ["V8 gives no id twice within a process: the ids decide."];
  if (identity.trace) {
    return [
      `Same object: same address, type, class, allocation site and generation. ${reusedIds} addresses hold another object than before.`,
    ];
  }
  return [
    `Same object: same address, type and class. ${reusedIds} addresses hold an object of another type or class than before; ` +
      "how many hold another one of the same class cannot be known without allocation tracing: new objects are undercounted by that many.",
  ];
}
