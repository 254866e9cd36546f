import type { Document } from "mongodb";
import type { Growth } from "../../../schemas/diff-document.js";
import type { SummaryDocument } from "../../../schemas/dump-entry.js";

type Counts = Pick<SummaryDocument, "by" | "name" | "count" | "bytes" | "retained_bytes">;

/**
 * What changed from one dump to another, from their summaries: the most retained bytes, bytes, objects gained first.
 *
 * Needs no object of either dump, so it also works on pruned ones.
 *
 * @param limit - the most changes given of each group (type, class …)
 * @returns nothing for what stayed as it was
 */
export function growthBetween(
  before: readonly Counts[],
  after: readonly Counts[],
  limit = Infinity,
): Growth[] {
  const earlier = new Map(before.map((counts) => [keyOf(counts), counts]));
  const changes: Growth[] = [];
  for (const counts of after) {
    const key = keyOf(counts);
    changes.push(changeOf(counts, earlier.get(key), counts));
    earlier.delete(key);
  }
  for (const counts of earlier.values()) changes.push(changeOf(counts, counts, undefined));
  const given = new Map<string, number>();
  return changes
    .filter(({ change }) => change !== "same")
    .sort(byGrowth)
    .filter(({ by }) => {
      const place = (given.get(by) ?? 0) + 1;
      given.set(by, place);
      return place <= limit;
    });
}

/**
 * The same as `growthBetween`, but for words and percentages, as an aggregation over the collection of summaries: for
 * mongosh, where a person goes on with stages of their own.
 */
export function growthPipeline(before: string, after: string): Document[] {
  const quantities = ["count", "bytes", "retained_bytes"];
  const sumIn = (dump: string, quantity: string): Document => ({
    $sum: { $cond: [{ $eq: ["$dump", { $literal: dump }] }, `$${quantity}`, 0] },
  });
  const each = (valueOf: (quantity: string) => [string, unknown]): Document =>
    Object.fromEntries(quantities.map(valueOf));
  return [
    { $match: { dump: { $in: [before, after] } } },
    {
      $group: {
        _id: { by: "$by", name: "$name" },
        dumps: { $sum: 1 },
        ...each((quantity) => [`${quantity}_before`, sumIn(before, quantity)]),
        ...each((quantity) => [`${quantity}_after`, sumIn(after, quantity)]),
      },
    },
    {
      $project: {
        ...{ _id: 0, by: "$_id.by", name: "$_id.name", dumps: 1 },
        ...each((quantity) => [`${quantity}_before`, 1]),
        ...each((quantity) => [`${quantity}_after`, 1]),
        ...each((quantity) => [
          quantity,
          { $subtract: [`$${quantity}_after`, `$${quantity}_before`] },
        ]),
      },
    },
    // What is in one of the dumps only has changed, whatever it weighs.
    {
      $match: {
        $or: [{ dumps: 1 }, ...quantities.map((quantity) => ({ [quantity]: { $ne: 0 } }))],
      },
    },
    { $unset: "dumps" },
    { $sort: { bytes: -1, count: -1, retained_bytes: -1, name: 1 } },
  ];
}

/** The order of all lists of changes: what gained most first, equal ones by name. */
export function byGrowth(one: Growth, two: Growth): number {
  return (
    two.bytes - one.bytes ||
    two.count - one.count ||
    two.retained_bytes - one.retained_bytes ||
    (one.name < two.name ? -1 : one.name > two.name ? 1 : 0)
  );
}

function keyOf({ by, name }: Counts): string {
  return `${by}/${name}`;
}

function changeOf(
  { by, name }: Counts,
  before: Counts | undefined,
  after: Counts | undefined,
): Growth {
  const difference = (field: "count" | "bytes" | "retained_bytes"): number =>
    (after?.[field] ?? 0) - (before?.[field] ?? 0);
  const count = difference("count");
  const bytes = difference("bytes");
  const retainedBytes = difference("retained_bytes");
  return {
    by,
    name,
    change: kindOf(before, after, [count, bytes, retainedBytes]),
    count_before: before?.count ?? 0,
    count_after: after?.count ?? 0,
    count,
    bytes_before: before?.bytes ?? 0,
    bytes_after: after?.bytes ?? 0,
    bytes,
    retained_bytes_before: before?.retained_bytes ?? 0,
    retained_bytes_after: after?.retained_bytes ?? 0,
    retained_bytes: retainedBytes,
    percent: percentOf(count, before?.count),
    bytes_percent: percentOf(bytes, before?.bytes),
    retained_bytes_percent: percentOf(retainedBytes, before?.retained_bytes),
  };
}

function percentOf(difference: number, before: number | undefined): number | null {
  return before === undefined || before === 0 ? null : (100 * difference) / before;
}

function kindOf(
  before: Counts | undefined,
  after: Counts | undefined,
  differences: readonly number[],
): Growth["change"] {
  if (before === undefined) return "appeared";
  if (after === undefined) return "vanished";
  const first = differences.find((difference) => difference !== 0);
  if (first === undefined) return "same";
  return first > 0 ? "grew" : "shrank";
}
