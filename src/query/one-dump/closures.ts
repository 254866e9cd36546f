import type { Document } from "mongodb";
import { defineQuery, type HeapDocument } from "../define-query.js";
import { labelFields, labelOf, placeOf } from "../object-labels.js";
import { objectsOf } from "../ancestors.js";
import { object } from "./one-object.js";

/** Code of the language and of installed packages: the leak is rarely there. */
const libraryPattern =
  /(^|\/)(rubygems|gems|vendor_ruby|node_modules|lib\/ruby\/[0-9.]+|lib\/ruby\/vendor_ruby)(\/|\.rb|$)|^<internal:|^node:|^internal\//;

export const closures = defineQuery({
  name: "closures",
  question: "Which closures are there, by where they were made, and what do they retain?",
  takes: "id-or-nothing",
  scans: false,
  columns: [
    { key: "place", title: "made at", unit: "text" },
    { key: "code", title: "code", unit: "text" },
    { key: "name", title: "in", unit: "text" },
    { key: "count", title: "closures", unit: "count" },
    { key: "retained_count", title: "retained objects", unit: "count" },
    { key: "retained_size", title: "retained", unit: "bytes" },
    { key: "captures", title: "captures", unit: "text" },
    { key: "sample", title: "for example", unit: "id" },
  ],
  pipeline: ({ id }, dump) => ({
    collection: dump.collection,
    stages:
      id !== undefined
        ? [{ $match: { _id: id } }]
        : [
            {
              $match: {
                $or: [
                  { type: "DATA", type_name: "proc" },
                  { type: "DATA", struct: "proc" },
                  { type: "closure" },
                ],
              },
            },
            {
              $group: {
                _id: {
                  file: {
                    $ifNull: [
                      "$proc.file",
                      {
                        $ifNull: [
                          "$block.iseq.filename",
                          { $ifNull: ["$location.script_id", "$file"] },
                        ],
                      },
                    ],
                  },
                  line: {
                    $ifNull: [
                      "$proc.line",
                      { $ifNull: ["$block.iseq.line", { $ifNull: ["$location.line", "$line"] }] },
                    ],
                  },
                  name: { $ifNull: ["$proc.label", { $ifNull: ["$block.iseq.name", "$name"] }] },
                },
                count: { $sum: 1 },
                retained_count: { $sum: "$retained_count" },
                retained_size: { $sum: "$retained_size" },
                sample: { $first: "$_id" },
                captures: { $first: "$captures" },
                env: { $first: { $ifNull: ["$envval", null] } },
              },
            },
            { $sort: { retained_count: -1, _id: 1 } },
          ],
  }),
  answer: async (found, given, context) => {
    if (given.id !== undefined)
      return (await object.answer?.(found, given, context)) ?? { rows: [], notes: [] };
    const rows = found.map((group) => {
      const { file, line, name } = group["_id"] as Document;
      const place =
        file === undefined || file === null
          ? "(unknown)"
          : `${String(file)}:${String(line ?? "?")}`;
      const isLibrary = typeof file === "string" && libraryPattern.test(file);
      return { ...group, place, name: name ?? "", code: isLibrary ? "library" : "application" };
    }) as (Document & { place: string; code: string })[];
    // Application code first: that is where leaks are made, and mended.
    rows.sort((one, two) =>
      one.code < two.code
        ? -1
        : one.code > two.code
          ? 1
          : Number(two["retained_count"]) - Number(one["retained_count"]),
    );
    const shown = rows.slice(0, context.limit);
    const environments = await objectsOf(
      shown.flatMap((row) => (row["env"] === null ? [] : [row["env"] as HeapDocument["_id"]])),
      context,
      {
        ...labelFields,
        env: { $slice: [{ $ifNull: ["$env", []] }, 12] },
        "block.iseq.local_table": 1,
      },
    );
    return {
      rows: shown.map((row) => ({
        ...row,
        captures: capturesText(row, environments.get(row["env"] as HeapDocument["_id"])),
      })),
      notes:
        shown.length === 0
          ? ["The dump shows no closures: take it with heap_dump.rb, which names them."]
          : [],
    };
  },
});

/** Names of the variables that a closure keeps. */
function capturesText(row: Document, environment: HeapDocument | undefined): string {
  const captures = row["captures"] as Document | undefined;
  if (captures !== undefined && captures !== null) return Object.keys(captures).join(", ");
  const iseq = (environment?.["block"] as Document | undefined)?.["iseq"] as Document | undefined;
  const locals = (iseq?.["local_table"] ?? []) as unknown[];
  const text = locals.filter((one) => typeof one === "string").join(", ");
  return text !== "" || environment === undefined
    ? text
    : (placeOf(environment) ?? labelOf(environment));
}
