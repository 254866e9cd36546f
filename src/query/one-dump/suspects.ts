import type { Document } from "mongodb";
import type { DumpEntry } from "../../../schemas/dump-entry.js";
import { dominatedStages, pathTo, shownPath } from "../ancestors.js";
import { byRetained, defineQuery, type HeapDocument, type QueryContext } from "../define-query.js";
import { idText, labelFields, labelOf } from "../object-labels.js";
import { indexedRetainedCountMin } from "./dominators.js";

/** Below this share of the heap nothing is unusual. */
const shareMin = 0.005;
/** Large objects looked at. */
const candidatesMax = 400;
/** Children that say what an accumulation point accumulates. */
const childrenSampled = 2_000;
/** Fewer alike are no accumulation. */
const alikeMin = 10;

/** A large object, with the number of its references. */
type Candidate = HeapDocument & { readonly reference_count: number };

/** Objects that a root reaches, as the analysis has counted. */
function reachedOf({ counters }: DumpEntry): number {
  return counters.objects - (counters.unreachable ?? 0);
}

export const suspects = defineQuery({
  name: "suspects",
  question:
    "Which few objects accumulate an unusual share of the heap, and what do they accumulate?",
  takes: "nothing",
  scans: false,
  columns: [
    { key: "id", title: "accumulation point", unit: "id" },
    { key: "label", title: "object", unit: "text" },
    { key: "share", title: "share", unit: "percent" },
    { key: "retained_count", title: "retained objects", unit: "count" },
    { key: "retained_size", title: "retained", unit: "bytes" },
    { key: "children", title: "directly", unit: "count" },
    { key: "of", title: "of", unit: "text" },
    { key: "path", title: "path from the root", unit: "text" },
  ],
  pipeline: (_, dump) => ({
    collection: dump.collection,
    stages: [
      // Served by the partial index: what retains much is rare.
      {
        $match: {
          retained_count: {
            $gte: Math.max(indexedRetainedCountMin, Math.ceil(reachedOf(dump) * shareMin)),
          },
          // Also what a root alone holds. Each branch is served by the partial index.
          $or: [{ dominator: { $exists: true } }, { dominator: null }],
        },
      },
      { $sort: byRetained(dump) },
      { $limit: candidatesMax },
      {
        $project: { ...labelFields, reference_count: { $size: { $ifNull: ["$references", []] } } },
      },
    ],
  }),
  answer: async (found, _, context) => {
    const { counters, format } = context.dump;
    const byCount = format === "heap-dump-gem" || counters.bytes === 0;
    const weightOf = (one: Document): number =>
      Number((byCount ? one["retained_count"] : one["retained_size"]) ?? 0);
    const total = byCount ? reachedOf(context.dump) : counters.bytes;
    const rows: Record<string, unknown>[] = [];
    const notes: string[] = [];
    for (const one of found as Candidate[]) {
      if (rows.length === Math.min(context.limit, 10)) break;
      if (weightOf(one) < total * shareMin || one.reference_count < alikeMin) continue;
      const alike = await largestKind(one, weightOf, context);
      // An accumulation point holds most of its weight in many objects of one kind.
      if (alike === undefined || alike.count < alikeMin || alike.weight * 2 < weightOf(one))
        continue;
      const path = shownPath(await pathTo(one._id, context));
      const share = (weightOf(one) / total) * 100;
      rows.push({
        id: one._id,
        label: labelOf(one),
        share,
        retained_count: one.retained_count,
        retained_size: one.retained_size,
        children: alike.count,
        of: alike.label,
        path,
      });
      const what = byCount ? "of all reachable objects" : "of all bytes";
      notes.push(
        `${labelOf(one)} ${idText(one._id)} keeps ${share.toFixed(1)} % ${what} alive (${Number(one.retained_count).toLocaleString("en")} objects), through ${alike.count.toLocaleString("en")} × ${alike.label}; it is held by ${path}.`,
      );
    }
    if (rows.length === 0)
      notes.push(
        "Nothing stands out: no object keeps an unusual share of the heap alive through many of a kind.",
      );
    return { rows, notes };
  },
});

type Kind = { readonly label: string; readonly count: number; readonly weight: number };

/** The kind of object that makes up most of what an object dominates directly. */
async function largestKind(
  { _id, reference_count }: Candidate,
  weightOf: (one: Document) => number,
  context: QueryContext,
): Promise<Kind | undefined> {
  const children = await context.objects
    .aggregate<HeapDocument>([
      ...dominatedStages(_id, context.dump.collection, childrenSampled),
      { $project: labelFields },
    ])
    .toArray();
  const kinds = new Map<string, { count: number; weight: number }>();
  for (const child of children) {
    const label = labelOf(child);
    const kind = kinds.get(label) ?? { count: 0, weight: 0 };
    kind.count++;
    kind.weight += weightOf(child);
    kinds.set(label, kind);
  }
  const [largest] = [...kinds].sort(([, one], [, two]) => two.weight - one.weight);
  if (largest === undefined) return undefined;
  // What was sampled stands for the whole.
  const scale = Math.max(1, reference_count / childrenSampled);
  const [label, { count, weight }] = largest;
  return { label, count: Math.round(count * scale), weight: weight * scale };
}
