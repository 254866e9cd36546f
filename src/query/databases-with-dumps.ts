import type { MongoClient } from "mongodb";
import { registryCollection } from "../../schemas/collection-names.js";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import { nearest } from "./query.js";

/** Databases of a server that are looked into, and that are told. */
const databasesMax = 200;
const toldMax = 5;
/** Dumps told of each. */
const dumpsTold = 3;

/** Databases that are the server's own. */
const ownDatabases = new Set(["admin", "config", "local"]);

/**
 * Where else dumps are, in a sentence: whoever misspells a database finds an empty one. The names most like the one
 * that was asked for first; "" where there is none, or the user may not see them.
 */
export async function otherDumpsText(
  client: MongoClient,
  asked: string,
  signal?: AbortSignal,
): Promise<string> {
  const { databases } = await client
    .db("admin")
    .admin()
    .listDatabases({ nameOnly: true, authorizedDatabases: true })
    .catch(() => ({ databases: [] }));
  const names = databases
    .map(({ name }) => name)
    .filter((name) => name !== asked && !ownDatabases.has(name))
    .slice(0, databasesMax);
  const found = new Map<string, string>();
  for (const name of names) {
    signal?.throwIfAborted();
    const dumps = await client
      .db(name)
      .collection<DumpEntry>(registryCollection)
      .find({ status: "complete" }, { projection: { _id: 1 } })
      .sort({ taken_at: -1 })
      .limit(dumpsTold + 1)
      .toArray()
      .catch(() => []);
    // Other programs have a collection of that name too: its ids may be anything.
    const ids = dumps.map(({ _id }) => _id as unknown).filter((id) => typeof id === "string");
    if (ids.length === 0) continue;
    const more = ids.length > dumpsTold ? ", …" : "";
    found.set(name, `${name} (${ids.slice(0, dumpsTold).join(", ")}${more})`);
  }
  const near = nearest(asked, [...found.keys()]);
  const told = [...new Set([...near, ...found.keys()])].slice(0, toldMax);
  if (told.length === 0) return "";
  const rest = found.size > told.length ? ` and ${found.size - told.length} more` : "";
  const word = found.size === 1 ? "database" : "databases";
  return `there are dumps in the ${word} ${told.map((name) => found.get(name)).join(", ")}${rest}`;
}
