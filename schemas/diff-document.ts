import { z } from "zod";
import { summaryGroups } from "./heap-graph.js";

const numberBefore = z.number().nonnegative();

/** How one type, class, site or generation changed between two dumps. */
export const growth = z.object({
  by: z.enum(summaryGroups),
  name: z.string(),
  change: z.enum(["appeared", "vanished", "grew", "shrank", "same"]),
  count_before: numberBefore,
  count_after: numberBefore,
  /** After less before. */
  count: z.number(),
  bytes_before: numberBefore,
  bytes_after: numberBefore,
  bytes: z.number(),
  retained_bytes_before: numberBefore,
  retained_bytes_after: numberBefore,
  retained_bytes: z.number(),
  /** Of the count before; null where there were none. */
  percent: z.number().nullable(),
  /** Of the bytes before; null where there were none. */
  bytes_percent: z.number().nullable(),
  retained_bytes_percent: z.number().nullable(),
});
export type Growth = z.infer<typeof growth>;

/** A growth above a threshold. */
export const alarm = growth.extend({
  /** The thresholds that were passed, as written in `--fail-on`. */
  above: z.array(z.string()),
});
export type Alarm = z.infer<typeof alarm>;

/** How sure it is that two dumps are of one process, and why. */
export const kinship = z.object({
  compared_by: z.enum(["id", "class and site"]),
  /** A sentence for a person. */
  evidence: z.string(),
});
export type Kinship = z.infer<typeof kinship>;

/** A straight line through a class's counts over time. */
export const trend = z.object({
  name: z.string(),
  dumps: z.number().int(),
  first: z.number(),
  last: z.number(),
  /** Objects a day, by least squares. */
  per_day: z.number(),
  /** The 95 % confidence interval of `per_day`; null with fewer than three dumps. */
  per_day_low: z.number().nullable(),
  per_day_high: z.number().nullable(),
  /** Part of the variation that the line explains, 0..1. */
  r_squared: z.number(),
  bytes_per_day: z.number(),
  /** The interval lies above zero. */
  certain: z.boolean(),
});
export type Trend = z.infer<typeof trend>;

/** A document of `diffs`: what a scheduled run found. `_id` is `<before>..<after>`. */
export const diffDocument = z.object({
  _id: z.string(),
  series: z.string(),
  before: z.string(),
  after: z.string(),
  taken_at_before: z.date(),
  taken_at: z.date(),
  created_at: z.date(),
  compared_by: kinship.shape.compared_by,
  evidence: z.string(),
  fail_on: z.string(),
  /** What changed, largest first; at most 500 of each `by`. */
  growth: z.array(growth),
  alarms: z.array(alarm),
  trend: z.array(trend),
});
export type DiffDocument = z.infer<typeof diffDocument>;
