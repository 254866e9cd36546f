import type { Document } from "mongodb";
import { stringsCollectionOf } from "../../../schemas/collection-names.js";
import type { DumpEntry } from "../../../schemas/dump-entry.js";
import { defineQuery, type Pipeline } from "../define-query.js";

/** Text shown of a string: it may be secret, and long. */
const shownCharacters = 60;

export const strings = defineQuery({
  name: "strings",
  question: "Which strings are there several times, and what do the copies waste?",
  takes: "nothing",
  scans: true,
  columns: [
    { key: "value", title: "text", unit: "text" },
    { key: "count", title: "copies", unit: "count" },
    { key: "length", title: "characters", unit: "count" },
    { key: "wasted", title: "wasted", unit: "bytes" },
    { key: "sample", title: "for example", unit: "id" },
  ],
  pipeline: (_, dump, limit) => {
    if (dump.strings !== undefined) return countedStrings(dump, limit);
    const text = dump.format === "heap-dump-gem" ? "$val" : "$value";
    return {
      collection: dump.collection,
      stages: [
        { $match: { type: { $in: ["STRING", "string", "concatenated string", "sliced string"] } } }, // By the index on type.
        { $match: { [text.slice(1)]: { $type: "string" } } },
        {
          $group: {
            _id: text,
            count: { $sum: 1 },
            bytes: { $sum: { $ifNull: ["$memsize", { $strLenBytes: text }] } },
            sample: { $first: "$_id" },
          },
        },
        { $match: { count: { $gt: 1 } } },
        {
          $set: {
            wasted: {
              $floor: { $subtract: ["$bytes", { $divide: ["$bytes", "$count"] }] },
            },
          },
        },
        { $sort: { wasted: -1, count: -1, _id: 1 } },
        { $limit: limit },
        {
          $project: {
            _id: 0,
            value: { $substrCP: ["$_id", 0, shownCharacters] },
            length: { $strLenCP: "$_id" },
            count: 1,
            wasted: 1,
            sample: 1,
          },
        },
      ],
    };
  },
  notes: (rows) => (rows.length === 0 ? ["No string is there twice."] : []),
});

/** The texts that were counted at import; what they say stands in the strings themselves. */
function countedStrings(dump: DumpEntry, limit: number): Pipeline {
  const text = { $arrayElemAt: ["$text.value", 0] };
  return {
    collection: stringsCollectionOf(dump.collection),
    stages: [
      { $sort: { _id: 1 } }, // The most wasteful first.
      { $limit: limit },
      {
        $lookup: {
          from: dump.collection,
          localField: "sample",
          foreignField: "_id",
          pipeline: [{ $match: { value: { $type: "string" } } }, { $project: { value: 1 } }],
          as: "text",
        },
      },
      { $match: { "text.0": { $exists: true } } },
      {
        $project: {
          _id: 0,
          value: { $substrCP: [text, 0, shownCharacters] },
          length: { $strLenCP: text },
          count: 1,
          wasted: 1,
          sample: 1,
        },
      },
    ],
  };
}

export const collections = defineQuery({
  name: "collections",
  question: "Which arrays and hashes are the largest, and which are nearly empty for their size?",
  takes: "nothing",
  scans: true,
  columns: [
    { key: "kind", title: "", unit: "text" },
    { key: "id", title: "id", unit: "id" },
    { key: "type", title: "type", unit: "text" },
    { key: "elements", title: "elements", unit: "count" },
    { key: "memsize", title: "shallow", unit: "bytes" },
    { key: "retained_size", title: "retained", unit: "bytes" },
    { key: "retained_count", title: "retained objects", unit: "count" },
  ],
  pipeline: (_, dump, limit) => ({
    collection: dump.collection,
    stages: [
      ...collectionsOf({}),
      { $sort: { elements: -1, id: 1 } },
      { $limit: limit },
      { $set: { kind: "largest" } },
      {
        $unionWith: {
          coll: dump.collection,
          pipeline: [
            // A slot has 8 bytes, an entry of a hash 24 or more: what has ten times that room is wasted.
            ...collectionsOf({ memsize: { $gte: 1024 } }),
            { $set: { spare: { $subtract: ["$memsize", { $multiply: ["$elements", 80] }] } } },
            { $match: { spare: { $gt: 0 } } },
            { $sort: { spare: -1, id: 1 } },
            { $limit: limit },
            { $unset: "spare" },
            { $set: { kind: "nearly empty" } },
          ],
        },
      },
    ],
  }),
  notes: whyFewCollections,
});

/** Stages that give the arrays and hashes of which this holds. */
function collectionsOf(condition: Document): Document[] {
  return [
    { $match: { type: { $in: ["ARRAY", "HASH", "array"] }, ...condition } }, // By the index on type.
    {
      $project: {
        _id: 0,
        id: "$_id",
        type: 1,
        memsize: 1,
        retained_size: 1,
        retained_count: 1,
        elements: elementsOf(),
      },
    },
  ];
}

/** What is not among the rows, and why. */
function whyFewCollections(rows: readonly Document[], dump: DumpEntry): string[] {
  if (rows.length === 0) {
    return [`There is no array or hash in ${dump._id}.`];
  }
  if (rows.some(({ kind }) => kind === "nearly empty")) return [];
  if (dump.format === "heap-dump-gem") {
    return [
      "Which are nearly empty is not known: dumps of the heap_dump gem tell no sizes of arrays and hashes.",
    ];
  }
  return ["None is nearly empty: those of 1 KiB and more use a tenth of their room at least."];
}

/** The gem prints contents; dump_all says `length` of arrays and `size` of hashes; V8's have their references. */
function elementsOf(): Document {
  return {
    $switch: {
      branches: [
        { case: { $isNumber: "$length" }, then: "$length" },
        { case: { $isNumber: "$size" }, then: "$size" },
        { case: { $isArray: "$val" }, then: { $size: "$val" } },
        {
          case: { $eq: [{ $type: "$val" }, "object"] },
          then: { $size: { $objectToArray: "$val" } },
        },
      ],
      default: { $size: { $ifNull: ["$references", []] } },
    },
  };
}
