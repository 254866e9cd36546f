import type { DumpEntry } from "../../schemas/dump-entry.js";

type Keepable = Pick<DumpEntry, "_id" | "series" | "taken_at" | "status" | "pinned">;

/** What to keep of each series. */
export type RetentionPolicy = {
  /** The newest dumps. */
  readonly keep: number;
  /** Of each of the last weeks that have dumps, the newest one. */
  readonly keepWeekly: number;
};

/** What becomes of a dump and why. */
export type Verdict = {
  readonly dump: string;
  readonly series: string;
  readonly takenAt: Date;
  readonly drop: boolean;
  readonly reason: string;
};

/**
 * Decides for each dump whether its objects stay, oldest first in each series.
 *
 * A dump that is loading or pinned stays and takes nobody's place; one already pruned is not mentioned.
 */
export function retentionOf(dumps: readonly Keepable[], policy: RetentionPolicy): Verdict[] {
  const verdicts: Verdict[] = [];
  for (const series of [...new Set(dumps.map((dump) => dump.series))].sort()) {
    const own = dumps
      .filter((dump) => dump.series === series && dump.status !== "pruned")
      .sort(
        (one, two) => two.taken_at.getTime() - one.taken_at.getTime() || order(two._id, one._id),
      );
    verdicts.push(...verdictsOf(own, policy).reverse());
  }
  return verdicts;
}

/** @param dumps - of one series, newest first */
function verdictsOf(dumps: readonly Keepable[], policy: RetentionPolicy): Verdict[] {
  const weeks = new Set<string>();
  let places = policy.keep;
  return dumps.map((dump) => {
    const verdict = (drop: boolean, reason: string): Verdict => ({
      dump: dump._id,
      series: dump.series,
      takenAt: dump.taken_at,
      drop,
      reason,
    });
    if (dump.status === "loading") return verdict(false, "is loading");
    if (dump.pinned === true) return verdict(false, "pinned");
    const week = isoWeekOf(dump.taken_at);
    const isWeekly = !weeks.has(week) && weeks.size < policy.keepWeekly;
    if (isWeekly) weeks.add(week);
    if (places > 0) {
      places--;
      return verdict(false, `one of the newest ${policy.keep}`);
    }
    if (isWeekly) return verdict(false, `newest of week ${week}`);
    return verdict(true, "older than what is kept");
  });
}

/** The week a moment is in, as `2026-W48` (ISO 8601, UTC). */
export function isoWeekOf(moment: Date): string {
  const day = new Date(
    Date.UTC(moment.getUTCFullYear(), moment.getUTCMonth(), moment.getUTCDate()),
  );
  // The week belongs to the year that its Thursday is in.
  day.setUTCDate(day.getUTCDate() + 4 - (day.getUTCDay() || 7));
  const yearFirst = Date.UTC(day.getUTCFullYear(), 0, 1);
  const week = Math.ceil(((day.getTime() - yearFirst) / 86_400_000 + 1) / 7);
  return `${day.getUTCFullYear()}-W${String(week).padStart(2, "0")}`;
}

function order(one: string, two: string): number {
  return one < two ? -1 : one > two ? 1 : 0;
}
