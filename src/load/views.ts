import type { Db } from "mongodb";
import { chainViewOf, summariesCollection } from "../../schemas/collection-names.js";
import { summaryGroups } from "../../schemas/heap-graph.js";

/** Plural names of the views: `<dump>.types`, `<dump>.classes` … */
const viewNames = { type: "types", class: "classes", site: "sites", generation: "generations" };

/** What a path needs of each object. A name is cut: texts of V8 are long. */
const chainFields = {
  type: 1,
  class_name: 1,
  name: {
    $cond: [{ $eq: [{ $type: "$name" }, "string"] }, { $substrCP: ["$name", 0, 120] }, "$$REMOVE"],
  },
  parent: 1,
  dominator: 1,
  depth: 1,
  retained_size: 1,
  retained_count: 1,
};

/** Names of a dump's views. */
export function viewNamesOf(dumpName: string): string[] {
  return [...summaryGroups.map((by) => `${dumpName}.${viewNames[by]}`), chainViewOf(dumpName)];
}

/** Makes the views of a dump, so that a bare mongo shell finds the summaries: largest retained first. */
export async function createViews(db: Db, dumpName: string): Promise<void> {
  const existing = new Set(
    (await db.listCollections({}, { nameOnly: true }).toArray()).map(({ name }) => name),
  );
  const chain = chainViewOf(dumpName);
  if (!existing.has(chain)) {
    await db.createCollection(chain, { viewOn: dumpName, pipeline: [{ $project: chainFields }] });
  }
  for (const by of summaryGroups) {
    const name = `${dumpName}.${viewNames[by]}`;
    if (existing.has(name)) continue;
    await db.createCollection(name, {
      viewOn: summariesCollection,
      pipeline: [
        { $match: { dump: dumpName, by } },
        { $sort: { retained_bytes: -1, retained_count: -1, name: 1 } },
        {
          $project: {
            _id: "$name",
            count: 1,
            bytes: 1,
            retained_bytes: 1,
            retained_count: 1,
            unreachable: 1,
          },
        },
      ],
    });
  }
}
