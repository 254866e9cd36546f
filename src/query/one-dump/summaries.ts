import type { Document } from "mongodb";
import { summariesCollection } from "../../../schemas/collection-names.js";
import type { SummaryGroup } from "../../../schemas/heap-graph.js";
import { defineQuery, type Query } from "../define-query.js";

const questionOf: Record<SummaryGroup, string> = {
  type: "How many objects of each basic type, and what do they retain?",
  class: "How many objects of each class, and what do they retain?",
  site: "Where in the code were the objects allocated, and what do they retain?",
  generation: "In which run of the collector were the objects made?",
};

/** Totals by a group, from the summaries made at import: no object is read. */
function totalsBy(name: string, by: SummaryGroup): Query {
  return defineQuery({
    name,
    question: questionOf[by],
    takes: "nothing",
    scans: false,
    columns: [
      { key: "name", title: by, unit: "text" },
      { key: "count", title: "objects", unit: "count" },
      { key: "bytes", title: "shallow", unit: "bytes" },
      { key: "retained_bytes", title: "retained", unit: "bytes" },
      { key: "retained_count", title: "retained objects", unit: "count" },
      { key: "unreachable", title: "unreachable", unit: "count" },
    ],
    pipeline: (_, dump, limit) => ({
      collection: summariesCollection,
      stages: [
        { $match: { dump: dump._id, by } },
        {
          $sort:
            dump.format === "heap-dump-gem"
              ? { retained_count: -1, name: 1 }
              : { retained_bytes: -1, retained_count: -1, name: 1 },
        },
        { $limit: limit },
        {
          $project: {
            _id: 0,
            name: 1,
            count: 1,
            bytes: 1,
            retained_bytes: 1,
            retained_count: 1,
            unreachable: 1,
          },
        },
      ],
    }),
    notes: (rows) => {
      if (rows.length > 0) return [];
      return by === "site" || by === "generation"
        ? [
            "The dump says nothing of it: trace allocations in the process (trace: true) before the dump.",
          ]
        : ["The dump holds no object."];
    },
  });
}

export const types = totalsBy("types", "type");
export const classes = totalsBy("classes", "class");
export const sites = totalsBy("sites", "site");
export const generations = totalsBy("generations", "generation");

export const garbage = defineQuery({
  name: "garbage",
  question: "Which objects does no root reach?",
  takes: "nothing",
  scans: false,
  columns: [
    { key: "name", title: "class", unit: "text" },
    { key: "unreachable", title: "unreachable", unit: "count" },
    { key: "count", title: "of", unit: "count" },
  ],
  pipeline: (_, dump, limit) => ({
    collection: summariesCollection,
    stages: [
      { $match: { dump: dump._id, by: "class", unreachable: { $gt: 0 } } },
      { $sort: { unreachable: -1, name: 1 } },
      { $limit: limit },
      { $project: { _id: 0, name: 1, unreachable: 1, count: 1 } },
    ],
  }),
  notes: (rows, { format }) => {
    if (rows.length === 0) return ["None: every object is reached from a root."];
    return format === "heap-dump-gem"
      ? [
          "The gem prints embedded strings inline: most of these are only not referred to by address.",
        ]
      : [];
  },
});

export const countObjects = defineQuery({
  name: "count-objects",
  question:
    "How many objects of each basic type, and of classes or namespaces, as HeapDump.count_objects?",
  takes: "names",
  scans: false,
  columns: [
    { key: "kind", title: "kind", unit: "text" },
    { key: "name", title: "name", unit: "text" },
    { key: "count", title: "objects", unit: "count" },
  ],
  pipeline: ({ names }, dump) => {
    const isNode = dump.runtime === "node" || dump.format === "v8-snapshot";
    const typeName = isNode ? "$name" : { $concat: ["T_", "$name"] };
    const named = (
      by: SummaryGroup,
      kind: string,
      name: unknown,
      condition: Document,
    ): Document[] => [
      { $match: { by, ...condition } },
      { $sort: { count: -1, name: 1 } },
      { $project: { _id: 0, kind, name, count: 1 } },
    ];
    const slots = (condition: Document): Document[] => [
      { $match: { by: "type", ...condition } },
      { $group: { _id: null, count: { $sum: "$count" } } },
    ];
    const isSlot = { name: { $ne: "ROOT" } };
    const sum = (of: string): Document => ({ $ifNull: [{ $first: `$${of}.count` }, 0] });
    return {
      collection: summariesCollection,
      stages: [
        { $match: { dump: dump._id, by: { $in: ["type", "class"] } } },
        {
          $facet: {
            total: slots(isSlot),
            free: slots({ name: "NONE" }),
            types: named("type", "basic_types", typeName, isSlot),
            classes: named("class", "user_types", "$name", within(names)),
          },
        },
        rowsFrom(
          [
            { kind: "slots", name: "total_slots", count: sum("total") },
            { kind: "slots", name: "free_slots", count: sum("free") },
          ],
          "$types",
          "$classes",
        ),
        ...eachRow,
      ],
    };
  },
  json: (rows) => {
    const of = (kind: string): Record<string, unknown> =>
      Object.fromEntries(
        rows.filter((row) => row["kind"] === kind).map((row) => [row["name"], row["count"]]),
      );
    return { ...of("slots"), basic_types: of("basic_types"), user_types: of("user_types") };
  },
});

export const summary = defineQuery({
  name: "summary",
  question: "What is in this dump, and what should be looked at next?",
  takes: "nothing",
  worksUnanalysed: true,
  scans: false,
  columns: [
    { key: "fact", title: "", unit: "text" },
    { key: "value", title: "", unit: "text" },
  ],
  pipeline: (_, dump) => ({
    collection: "dumps",
    stages: [
      { $match: { _id: dump._id } },
      {
        $lookup: {
          from: summariesCollection,
          let: { dump: "$_id" },
          pipeline: [
            { $match: { dump: dump._id, by: "type" } },
            { $sort: { count: -1 } },
            { $limit: 12 },
          ],
          as: "types",
        },
      },
      rowsFrom(
        [
          { fact: "dump", value: "$_id" },
          { fact: "format", value: "$format" },
          { fact: "taken", value: takenText },
          { fact: "imported", value: importedText },
          { fact: "objects", value: "$counters.objects" },
          { fact: "bytes", value: "$counters.bytes" },
          { fact: "references", value: "$counters.references" },
          { fact: "roots", value: "$counters.roots" },
          { fact: "unreachable", value: { $ifNull: ["$counters.unreachable", "not analysed"] } },
          { fact: "refused records", value: "$counters.rejected" },
          { fact: "repaired texts", value: "$counters.repaired" },
        ],
        {
          $map: {
            input: "$types",
            in: { fact: { $concat: ["  ", "$$this.name"] }, value: "$$this.count" },
          },
        },
      ),
      ...eachRow,
    ],
  }),
  notes: (_, { truncated, analysed }) => [
    ...(truncated ? ["The dump is cut: what stood behind its end is not here."] : []),
    analysed === false
      ? "Next: referrers ID, references ID; the rest needs an import without --no-analysis."
      : "Next: suspects, classes, then retainers --class NAME.",
  ],
});

/** Classes of these names, and of the namespaces of these names: `Shop` is `Shop` and `Shop::Order`. */
function within(names: readonly string[]): Document {
  const starts = names.map((name) => (name.endsWith(".") ? name : `${name}::`));
  const begins = (start: string): Document => ({
    $expr: { $eq: [{ $indexOfCP: ["$name", { $literal: start }] }, 0] },
  });
  return { $or: [{ name: { $in: names } }, ...starts.map(begins)] };
}

/** A stage that joins lists of rows, which `eachRow` makes documents of. */
function rowsFrom(...lists: readonly unknown[]): Document {
  return { $project: { row: { $concatArrays: lists } } };
}

const eachRow: readonly Document[] = [{ $unwind: "$row" }, { $replaceRoot: { newRoot: "$row" } }];

function momentText(field: string): Document {
  return { $dateToString: { date: field, format: "%Y-%m-%dT%H:%M:%S.%LZ" } };
}

const takenText: Document = {
  $concat: [
    momentText("$taken_at"),
    { $cond: [{ $isNumber: "$pid" }, { $concat: [", pid ", { $toString: "$pid" }] }, ""] },
  ],
};

const importedText: Document = {
  $concat: [
    momentText("$completed_at"),
    ", in ",
    {
      $toString: {
        $round: [{ $divide: [{ $subtract: ["$completed_at", "$started_at"] }, 1000] }, 1],
      },
    },
    " s",
  ],
};
