import type { Db } from "mongodb";
import type { DiffDocument, Trend } from "../../schemas/diff-document.js";
import {
  diffsCollection,
  registryCollection,
  summariesCollection,
} from "../../schemas/collection-names.js";
import type { DumpEntry, SummaryDocument } from "../../schemas/dump-entry.js";
import { HeapdumpError } from "../errors.js";
import { halfPruned, pruneDump } from "../load/prune.js";
import { storeDiff } from "../load/store-diff.js";
import { kinshipFor, summariesOf } from "../query/across-dumps/across-dumps.js";
import { growthBetween } from "../query/across-dumps/growth.js";
import { takeLock, watchLock, type LockPatience } from "./lock.js";
import { retentionOf, type RetentionPolicy, type Verdict } from "./retention.js";
import { alarmsOf, parseThresholds } from "./thresholds.js";
import { trendOf } from "./trend.js";

/** Changes of each group, and classes of a trend, that a stored diff keeps at most. */
const changesMax = 500;
const trendsMax = 100;

export type WatchOptions = {
  /** Compare with this dump instead of the one before. */
  readonly baseline?: string | undefined;
  /** Also draw the trend of this long. */
  readonly windowMs?: number | undefined;
  /** As `count>100,bytes>10MB`; empty: nothing raises an alarm. */
  readonly failOn: string;
  readonly signal?: AbortSignal | undefined;
};

/** What a scheduled run found in one series. */
export type Watched = {
  readonly series: string;
  /** A dump that was compared before is not compared again. */
  readonly isNew: boolean;
  /** The newest comparison; absent with fewer than two dumps. */
  readonly diff: DiffDocument | undefined;
  /** A sentence for a person. */
  readonly note: string;
};

/**
 * The series that have dumps, or the one asked for.
 *
 * @throws {HeapdumpError} `query/no-dump` when no dump is of the series asked for
 */
export async function seriesIn(database: Db, only: string | undefined): Promise<string[]> {
  const all = await database
    .collection<DumpEntry>(registryCollection)
    .distinct("series", { status: { $ne: "loading" } });
  if (only === undefined) return all.sort();
  if (!all.includes(only)) {
    throw new HeapdumpError(
      "query/no-dump",
      `no dump is of the series "${only}"; there are: ${all.sort().slice(0, 10).join(", ") || "none"}`,
    );
  }
  return [only];
}

/** Compares the newest dump of a series with the one before, or a baseline, and stores the result. */
export async function watchSeries(
  database: Db,
  series: string,
  options: WatchOptions,
): Promise<Watched> {
  const dumps = await database
    .collection<DumpEntry>(registryCollection)
    .find({ series, status: { $ne: "loading" } })
    .sort({ taken_at: -1, _id: -1 })
    .toArray();
  const after = dumps[0];
  if (after === undefined) return nothing(series, "there is no dump");
  const before =
    options.baseline === undefined ? dumps[1] : await baselineNamed(database, options.baseline);
  if (before === undefined)
    return nothing(series, `${after._id} is the first dump: nothing to compare`);
  if (before._id === after._id) return nothing(series, `${after._id} is the baseline itself`);
  const known = await database
    .collection<DiffDocument>(diffsCollection)
    .findOne({ _id: diffId(before, after), fail_on: options.failOn });
  if (known !== null && options.windowMs === undefined) {
    return { series, isNew: false, diff: known, note: `no new dump since ${after._id}` };
  }
  const diff = await diffOf(database, before, after, options);
  await storeDiff(database, diff);
  return {
    series,
    isNew: known === null,
    diff,
    note: known === null ? "compared" : `no new dump since ${after._id}`,
  };
}

function nothing(series: string, note: string): Watched {
  return { series, isNew: false, diff: undefined, note };
}

async function baselineNamed(database: Db, name: string): Promise<DumpEntry> {
  const entry = await database
    .collection<DumpEntry>(registryCollection)
    .findOne({ _id: name, status: { $ne: "loading" } });
  if (entry === null) throw new HeapdumpError("query/no-dump", `no dump is named "${name}"`);
  return entry;
}

function diffId(before: DumpEntry, after: DumpEntry): string {
  return `${before._id}..${after._id}`;
}

async function diffOf(
  database: Db,
  before: DumpEntry,
  after: DumpEntry,
  options: WatchOptions,
): Promise<DiffDocument> {
  const changes = growthBetween(
    await summariesOf(database, before._id),
    await summariesOf(database, after._id),
  );
  const thresholds = options.failOn === "" ? [] : parseThresholds(options.failOn);
  const counts = new Map<string, number>();
  const kept = changes.filter(({ by }) => {
    counts.set(by, (counts.get(by) ?? 0) + 1);
    return (counts.get(by) ?? 0) <= changesMax;
  });
  return {
    _id: diffId(before, after),
    series: after.series,
    before: before._id,
    after: after._id,
    taken_at_before: before.taken_at,
    taken_at: after.taken_at,
    created_at: new Date(),
    ...(await kinshipFor(database, before, after)),
    fail_on: options.failOn,
    growth: kept,
    alarms: alarmsOf(changes, thresholds).slice(0, changesMax),
    trend: options.windowMs === undefined ? [] : await trendsOf(database, after, options.windowMs),
  };
}

/** The trend of each class over the series' dumps of that long before the newest, the surest and steepest first. */
async function trendsOf(database: Db, newest: DumpEntry, windowMs: number): Promise<Trend[]> {
  const from = new Date(newest.taken_at.getTime() - windowMs);
  const within = { series: newest.series, taken_at: { $gte: from, $lte: newest.taken_at } };
  const dumps = await database
    .collection<DumpEntry>(registryCollection)
    .find({ ...within, status: { $ne: "loading" } })
    .project<{ _id: string; taken_at: Date }>({ taken_at: 1 })
    .toArray();
  const names = dumps.map(({ _id }) => _id);
  const byClass = new Map<string, Map<string, SummaryDocument>>();
  const summaries = database
    .collection<SummaryDocument>(summariesCollection)
    .find({ dump: { $in: names }, by: "class" });
  for await (const summary of summaries) {
    const own = byClass.get(summary.name) ?? new Map<string, SummaryDocument>();
    byClass.set(summary.name, own.set(summary.dump, summary));
  }
  const trends: Trend[] = [];
  for (const [name, own] of byClass) {
    const observations = dumps.map(({ _id, taken_at: takenAt }) => ({
      takenAt,
      count: own.get(_id)?.count ?? 0,
      bytes: own.get(_id)?.bytes ?? 0,
    }));
    const trend = trendOf(name, observations);
    if (trend !== undefined && trend.per_day !== 0) trends.push(trend);
  }
  return trends
    .sort(
      (one, two) =>
        Number(two.certain) - Number(one.certain) ||
        two.per_day - one.per_day ||
        (one.name < two.name ? -1 : 1),
    )
    .slice(0, trendsMax);
}

export type PruneOptions = RetentionPolicy & {
  readonly series?: string | undefined;
  readonly dryRun: boolean;
} & LockPatience;

/**
 * Drops the objects of old dumps, as the policy says; their summaries stay. Nobody compares or prunes meanwhile.
 *
 * @returns what became of each dump, oldest first
 * @throws {HeapdumpError} `watch/locked`
 */
export async function prune(database: Db, options: PruneOptions): Promise<Verdict[]> {
  const lock = await takeLock(database, watchLock, options);
  const signals = options.signal === undefined ? [lock.lost] : [options.signal, lock.lost];
  try {
    return await pruneLocked(database, { ...options, signal: AbortSignal.any(signals) });
  } finally {
    await lock.release();
  }
}

async function pruneLocked(database: Db, options: PruneOptions): Promise<Verdict[]> {
  const filter = options.series === undefined ? {} : { series: options.series };
  const dumps = await database.collection<DumpEntry>(registryCollection).find(filter).toArray();
  const verdicts = retentionOf(dumps, options);
  if (options.dryRun) return verdicts;
  const done: Verdict[] = [];
  for (const verdict of verdicts) {
    options.signal?.throwIfAborted();
    if (!verdict.drop || (await pruneDump(database, verdict.dump))) done.push(verdict);
    else done.push({ ...verdict, drop: false, reason: "loading or pinned by now" });
  }
  for (const name of await halfPruned(database)) await pruneDump(database, name);
  return done;
}
