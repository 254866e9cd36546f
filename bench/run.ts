/**
 * Runs every bench, one after the other, each in a process of its own: npm run bench. One only: npm run bench -- graph
 *
 * On a quiet machine this takes about 15 minutes; the largest dump is made once.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { repository } from "./shared/record-result.js";

/** In this order: the quick ones first. */
const benches = [
  "graph",
  "graph-vs-peers",
  "import-vs-mongoimport",
  "import-memory",
  "count-objects",
  "producer-pause",
  "diff",
  "query",
] as const;

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(benches as readonly string[]).includes(name));
if (unknown.length > 0) throw new Error(`no bench ${unknown.join(", ")}; ${benches.join(", ")}`);
for (const name of benches) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const file = join(repository, "dist", "bench", `${name}.js`);
  const { status } = spawnSync(process.execPath, [file], { stdio: "inherit" });
  if (status !== 0) throw new Error(`${name} failed`);
}
