import { Long, type Db, type Document } from "mongodb";
import { HeapdumpError } from "../errors.js";
import type { HeapIds } from "../../schemas/document-block.js";
import { loadingNameOf } from "../../schemas/collection-names.js";
import { patiently, type Patience } from "./patience.js";
import type { LoadTarget } from "./load.js";

/**
 * How a dump is spread over the shards of a cluster. Hashed: evenly whatever the ids; ranged: neighbours in memory stay
 * together, as they were allocated together.
 */
export const shardKinds = ["hashed", "ranged"] as const;
export type ShardKind = (typeof shardKinds)[number];

/** Chunks made for each shard before the load: nothing need be moved while it runs. */
const chunksOfShard = 4;

/**
 * Refuses a server that has no shards, before anything is made there.
 *
 * @throws {HeapdumpError} `usage/bad-option`
 */
export async function mustHaveShards(db: Db, patience: Patience): Promise<void> {
  const hello = await patiently(() => db.command({ hello: 1 }), patience);
  if (hello["msg"] === "isdbgrid") return;
  const what = hello["setName"] === undefined ? "one server" : "a replica set";
  throw new HeapdumpError(
    "usage/bad-option",
    `--shard: this is ${what}; a mongos of a sharded cluster is needed`,
  );
}

/**
 * Spreads the empty collection of a dump that loads over the shards, chunks made in advance.
 *
 * Every step may be done twice. The swap at the end renames a sharded collection: MongoDB 5.0 or later.
 */
export async function shardLoading(
  { db, dumpName, patience }: LoadTarget,
  kind: ShardKind,
  ids: HeapIds,
): Promise<void> {
  const admin = db.client.db("admin");
  const namespace = `${db.databaseName}.${loadingNameOf(dumpName)}`;
  const listed = await patiently(() => admin.command({ listShards: 1 }), patience);
  const shards = (listed["shards"] as readonly Document[]).map((shard) => String(shard["_id"]));
  const points = kind === "hashed" ? [] : splitPointsOf(ids, shards.length * chunksOfShard);
  for (const command of shardCommands(namespace, kind, shards, points)) {
    await patiently(async () => {
      try {
        await admin.command(command);
      } catch (error) {
        // Done before a reply was lost.
        if (!isDoneAlready(command, error)) throw error;
      }
    }, patience);
  }
}

/** Ids that cut the dump's objects into so many parts of one size, in order; fewer where there are few objects. */
export function splitPointsOf({ integerOf }: HeapIds, parts: number): number[] {
  const sorted = integerOf.filter((id) => !Number.isNaN(id)).sort();
  const points = new Set<number>();
  for (let part = 1; part < parts; part++) {
    const point = sorted[Math.floor((sorted.length * part) / parts)];
    if (point !== undefined && point !== sorted[0]) points.add(point);
  }
  return [...points];
}

/** The commands for the admin database, in order. A hashed key is cut in advance by the server itself. */
export function shardCommands(
  namespace: string,
  kind: ShardKind,
  shards: readonly string[],
  points: readonly number[],
): Document[] {
  const database = namespace.slice(0, namespace.indexOf("."));
  const key = { _id: kind === "hashed" ? "hashed" : 1 };
  return [
    { enableSharding: database },
    { shardCollection: namespace, key },
    ...points.map((point) => ({ split: namespace, middle: { _id: Long.fromNumber(point) } })),
    // The part below the first point stays where it is.
    ...points.map((point, index) => ({
      moveChunk: namespace,
      find: { _id: Long.fromNumber(point) },
      to: shards[Math.floor(((index + 1) * shards.length) / (points.length + 1))],
    })),
  ];
}

/** Splitting where a chunk begins already. */
function isDoneAlready(command: Document, error: unknown): boolean {
  const message = error instanceof Error ? error.message : "";
  return "split" in command && /boundary key|is a boundary/i.test(message);
}
