import { z } from "zod";

/** The registry's document, collection `dumps`: one a dump, `_id` is the dump's name. */
export const dumpEntry = z.object({
  _id: z.string().min(1),
  /** Collection with the objects; the dump's name. */
  collection: z.string().min(1),
  source: z.object({
    file: z.string(),
    bytes: z.number().nonnegative(),
    compression: z.enum(["none", "gzip", "zstd"]),
  }),
  format: z.string(),
  /** Size and checksums of the source's bytes: tells a changed file from the same one. */
  fingerprint: z.string(),
  /** When the heap was dumped: from the header line, else the file's time of modification. */
  taken_at: z.date(),
  pid: z.number().int().optional(),
  host: z.string().optional(),
  command: z.string().optional(),
  runtime: z.string().optional(),
  runtime_version: z.string().optional(),
  /** When that process started, if the header says: two dumps of one process share pid, host and this. */
  process_started_at: z.date().optional(),
  /** Name of the series for scheduled diffs, `app@host`. */
  series: z.string(),
  status: z.enum(["loading", "complete", "pruned"]),
  /** A cut dump: its trailer or closing bracket is missing. */
  truncated: z.boolean(),
  pinned: z.boolean().optional(),
  counters: z.object({
    /** lines = objects + rejected + blank; the ledger always adds up. */
    lines: z.number().int(),
    objects: z.number().int(),
    /** Objects and continuation documents. */
    documents: z.number().int(),
    rejected: z.number().int(),
    repaired: z.number().int(),
    /** Blank lines, brackets, headers, trailers. */
    blank: z.number().int(),
    references: z.number().int(),
    roots: z.number().int(),
    /** Absent: not analysed. */
    unreachable: z.number().int().optional(),
    /** Sum of shallow sizes. */
    bytes: z.number(),
  }),
  /** Types of its objects; absent: there are very many. */
  types: z.array(z.string()).optional(),
  /** False: imported with --no-analysis. Its objects have no depth, dominator or retained size, and it has no summaries. */
  analysed: z.boolean().optional(),
  /** Whether all ids that are referred to are numbers: the index on references then holds no other objects. */
  number_references: z.boolean().optional(),
  /** How many shapes there are; absent: they could not be told, `retainers` then climbs from every object. */
  shapes: z.number().int().optional(),
  /** How many documents `<dump>.strings` has; absent: the first pass did not read the texts, `strings` reads all. */
  strings: z.number().int().optional(),
  options: z.record(z.string(), z.unknown()),
  tool_version: z.string(),
  started_at: z.date(),
  completed_at: z.date().optional(),
  phases_ms: z.record(z.string(), z.number()).optional(),
  lock: z
    .object({
      host: z.string(),
      pid: z.number().int(),
      /** Absent where an earlier version took it. */
      pid_namespace: z.string().optional(),
      since: z.date(),
      seen: z.date(),
      token: z.string(),
    })
    .optional(),
  /** Everything before this record is acknowledged with j: true. */
  /** Set when all is loaded and what is left is to take the old dump's place. */
  swapping: z.boolean().optional(),
  checkpoint: z.object({ records: z.number().int(), documents: z.number().int() }).optional(),
});

export type DumpEntry = z.infer<typeof dumpEntry>;
export type DumpCounters = DumpEntry["counters"];

/** A document of `<dump>.shapes`: objects of one class that are held in one way. */
export const shapeDocument = z.object({
  _id: z.number().int(),
  type: z.string(),
  class_name: z.string().optional(),
  /** Labels from the root down to the holder; "" for a root. Absent: no root reaches them. */
  path: z.string().optional(),
  count: z.number(),
  /** Shallow bytes. */
  bytes: z.number(),
  /** Sums over the objects that no other one of their class dominates, whichever shape that has. */
  retained_bytes: z.number(),
  retained_count: z.number(),
  /** Sums over the objects that no other one of their type dominates. */
  type_retained_bytes: z.number(),
  type_retained_count: z.number(),
  /** Objects that another one of their class dominates; of their type. */
  inside_class: z.number(),
  inside_type: z.number(),
  /** Of the nearest to a root, and of the farthest; -1: no root reaches them. */
  depth_min: z.number().int(),
  depth_max: z.number().int(),
  /** One of the objects. */
  sample: z.unknown(),
  /** The closest object that dominates all of them. */
  dominator: z.unknown().optional(),
});
export type ShapeDocument = z.infer<typeof shapeDocument>;

/** A document of `<dump>.strings`: a text that several strings have. */
export const stringDocument = z.object({
  /** From 0, the most wasteful first. */
  _id: z.number().int(),
  count: z.number(),
  /** Shallow bytes of all of them, and what all but one take. */
  bytes: z.number(),
  wasted: z.number(),
  /** The first of the strings: the text stands there. */
  sample: z.unknown(),
});
export type StringDocument = z.infer<typeof stringDocument>;

/** What the analysis finds of a whole dump, besides the summaries, in collections of their own. */
export type DumpFindings = {
  readonly shapes: readonly ShapeDocument[];
  readonly strings: readonly StringDocument[];
};

/** A document of `summaries`. `_id` is `<dump>/<by>/<name>`. Kept when the objects are pruned. */
export const summaryDocument = z.object({
  _id: z.string(),
  dump: z.string(),
  series: z.string(),
  taken_at: z.date(),
  by: z.enum(["type", "class", "site", "generation"]),
  name: z.string(),
  count: z.number(),
  unreachable: z.number(),
  bytes: z.number(),
  retained_bytes: z.number(),
  retained_count: z.number(),
});
export type SummaryDocument = z.infer<typeof summaryDocument>;
