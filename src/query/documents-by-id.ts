import type { Db, Document } from "mongodb";

/** Ids of one request: far below the 16 MB and 100,000 stages' worth that a server takes. */
const idsMax = 5_000;

/**
 * The documents of these ids, in no order; those that are not there are left out.
 *
 * A `find` with `$in` reads a clustered collection from end to end (MongoDB 6.0: COLLSCAN), while `$lookup` goes
 * straight to each document: with 2,000 ids of 300,000 documents that is 68 ms against 169 ms, and the former does not
 * grow with the collection.
 */
export async function documentsById<T extends Document>(
  database: Db,
  collection: string,
  ids: readonly unknown[],
  projection: Document,
  signal?: AbortSignal,
): Promise<T[]> {
  const found: T[] = [];
  for (let from = 0; from < ids.length; from += idsMax) {
    signal?.throwIfAborted();
    const wanted = ids.slice(from, from + idsMax).map((_id) => ({ _id: { $literal: _id } }));
    const answers = database.aggregate<{ found: T[] }>([
      { $documents: wanted },
      {
        $lookup: {
          from: collection,
          localField: "_id",
          foreignField: "_id",
          pipeline: [{ $project: projection }],
          as: "found",
        },
      },
    ]);
    for await (const answer of answers) found.push(...answer.found);
  }
  return found;
}
