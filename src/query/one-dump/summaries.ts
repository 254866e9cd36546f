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
    answer: (found) => ({
      rows: found,
      notes:
        found.length > 0
          ? []
          : by === "site" || by === "generation"
            ? [
                "The dump says nothing of it: trace allocations in the process (trace: true) before the dump.",
              ]
            : ["The dump holds no object."],
    }),
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
  answer: (found, _, { dump }) => ({
    rows: found,
    notes:
      found.length === 0
        ? ["None: every object is reached from a root."]
        : dump.format === "heap-dump-gem"
          ? [
              "The gem prints embedded strings inline: most of these are only not referred to by address.",
            ]
          : [],
  }),
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
  pipeline: (_, dump) => ({
    collection: summariesCollection,
    stages: [
      { $match: { dump: dump._id, by: { $in: ["type", "class"] } } },
      { $sort: { count: -1, name: 1 } },
      { $project: { _id: 0, by: 1, name: 1, count: 1 } },
    ],
  }),
  answer: (found, { names }, { dump }) => {
    const isNode = dump.runtime === "node" || dump.format === "v8-snapshot";
    const types = found.filter((row) => row["by"] === "type");
    const slots = types.filter((row) => row["name"] !== "ROOT");
    const total = slots.reduce((sum, row) => sum + Number(row["count"]), 0);
    const free = slots.find((row) => row["name"] === "NONE")?.["count"] as number | undefined;
    const wanted = (name: string): boolean =>
      names.some((one) => name === one || name.startsWith(one.endsWith(".") ? one : `${one}::`));
    return {
      rows: [
        { kind: "slots", name: "total_slots", count: total },
        { kind: "slots", name: "free_slots", count: free ?? 0 },
        ...slots.map((row) => ({
          kind: "basic_types",
          name: isNode ? (row["name"] as string) : `T_${String(row["name"])}`,
          count: row["count"] as number,
        })),
        ...found
          .filter((row) => row["by"] === "class" && wanted(String(row["name"])))
          .map((row) => ({
            kind: "user_types",
            name: row["name"] as string,
            count: row["count"] as number,
          })),
      ],
      notes: [],
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
    ],
  }),
  answer: (found, _, { dump }) => {
    const number = (value: number): string => value.toLocaleString("en");
    const { counters } = dump;
    const types = (found[0]?.["types"] ?? []) as { name: string; count: number }[];
    const facts: [string, string][] = [
      ["dump", dump._id],
      ["format", dump.format],
      [
        "taken",
        `${dump.taken_at.toISOString()}${dump.pid === undefined ? "" : `, pid ${dump.pid}`}`,
      ],
      ["objects", number(counters.objects)],
      ["bytes", number(counters.bytes)],
      ["references", number(counters.references)],
      ["roots", number(counters.roots)],
      ["unreachable", number(counters.unreachable)],
      ["refused records", number(counters.rejected)],
      ["repaired texts", number(counters.repaired)],
      ...types.map(({ name, count }): [string, string] => [`  ${name}`, number(count)]),
    ];
    return {
      rows: facts.map(([fact, value]) => ({ fact, value })),
      notes: [
        ...(dump.truncated ? ["The dump is cut: what stood behind its end is not here."] : []),
        "Next: suspects, classes, then retainers --class NAME.",
      ],
    };
  },
});
