/** Ready lines for a bare mongosh; docs/queries.md prints them, test/integration/mongosh.test.ts runs each. */
export const oneLiners: readonly { readonly asks: string; readonly line: string }[] = [
  {
    asks: "which dumps are loaded",
    line: 'db.dumps.find({ status: "complete" }, { taken_at: 1, "counters.objects": 1 })',
  },
  { asks: "the classes that retain most", line: 'db["app.classes"].find().limit(10)' },
  { asks: "the types", line: 'db["app.types"].find()' },
  { asks: "one object, by its id in hexadecimal", line: "db.app.find({ _id: 0x2abac84472a0 })" },
  {
    asks: "who refers to it",
    line: "db.app.find({ references: 0x2abac84472a0 }, { class_name: 1, name: 1 })",
  },
  {
    asks: "instances of a class, by the index on type and class",
    line: 'db.app.find({ type: "OBJECT", class_name: "Shop::RequestState" }).limit(5)',
  },
  {
    asks: "how many of them a root reaches",
    line: 'db.app.countDocuments({ type: "OBJECT", class_name: "Shop::RequestState", depth: { $gte: 0 } })',
  },
  {
    asks: "what retains most objects",
    line: "db.app.find({ retained_count: { $gte: 1000 } }, { class_name: 1, name: 1, retained_count: 1 }).sort({ retained_count: -1 }).limit(10)",
  },
  {
    asks: "what it keeps alive, one level down",
    line: "db.app.find({ dominator: 0x2abac84472a0 }, { class_name: 1, retained_count: 1 }).limit(10)",
  },
  {
    asks: "the way from a root to it",
    line: 'db.app.aggregate([{ $match: { _id: 0x2abac84472a0 } }, { $graphLookup: { from: "app", startWith: "$parent", connectFromField: "parent", connectToField: "_id", as: "above", depthField: "up" } }, { $unwind: "$above" }, { $sort: { "above.up": -1 } }, { $project: { id: "$above._id", class: "$above.class_name", name: "$above.name" } }])',
  },
  {
    asks: "closures, by where they were made",
    line: 'db.app.aggregate([{ $match: { type: "DATA", type_name: "proc" } }, { $group: { _id: { file: "$block.iseq.filename", line: "$block.iseq.line" }, count: { $sum: 1 }, retained: { $sum: "$retained_count" } } }, { $sort: { retained: -1 } }, { $limit: 10 }])',
  },
  {
    asks: "garbage by class",
    line: 'db.summaries.find({ dump: "app", by: "class", unreachable: { $gt: 0 } }, { name: 1, unreachable: 1 }).sort({ unreachable: -1 }).limit(10)',
  },
  {
    asks: "records that were refused, of a dump that had some",
    line: 'db["app.rejects"].find().limit(5)',
  },
];
