/**
 * Makes the fixture and its expected numbers:
 *
 *     node make.mjs MEMLAB_FOLDER      (npm i --prefix MEMLAB_FOLDER @memlab/heap-analysis@2.0.5)
 *
 * node-leak.heapsnapshot.zst is a V8 snapshot of a small leaking program, this one; node-leak.memlab.tsv.zst is what
 * memlab says of each of its nodes: id, type, size, retained size, id of the dominator. In the order of the dump.
 */
import { execFileSync } from "node:child_process";
import { EventEmitter } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import v8 from "node:v8";

class LeakedSession {
  constructor(number) {
    this.number = number;
    this.user = `user ${number}`;
    this.lines = Array.from({ length: 3 }, (_, line) => new Line(number, line));
  }
}
class Line {
  constructor(session, line) {
    this.label = `line ${line} of ${session}`;
  }
}
class Cached {}
class Watched {}

// What must retain: listeners' closures, Maps, Sets, symbols as keys, accessors, bound functions, generators, promises.
const bus = new EventEmitter().setMaxListeners(0);
function leak(number) {
  const session = new LeakedSession(number);
  bus.on("tick", function onLeakedTick() {
    return session;
  });
}
for (let number = 0; number < 250; number++) leak(number);
const kept = {
  bus,
  map: new Map(Array.from({ length: 40 }, (_, number) => [`key ${number}`, new Cached()])),
  set: new Set(Array.from({ length: 20 }, () => new Cached())),
  [Symbol("by symbol")]: new Cached(),
  bound: leak.bind(undefined, 1),
  generator: (function* generate() {
    const local = new Cached();
    yield local;
  })(),
  promise: Promise.resolve(new Cached()),
  buffer: Buffer.alloc(100_000),
  long: "ä".repeat(2_000) + "long text ".repeat(500),
  "no identifier": 1.5,
  list: Array.from({ length: 300 }, (_, number) => ({ number })),
};
kept.generator.next();
kept.self = kept;
// What must not: weak references, and a WeakMap's values without their key.
const keys = Array.from({ length: 30 }, () => new Watched());
kept.weakMap = new WeakMap(keys.map((key) => [key, new Cached()]));
kept.weakSet = new WeakSet(keys);
kept.weakRef = new WeakRef(keys[0]);
kept.keys = keys.slice(0, 10);
globalThis.kept = kept;

const memlabFolder = process.argv[2];
if (memlabFolder === undefined) throw new Error("name the folder where memlab is installed");
const here = fileURLToPath(new URL(".", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "heapdump-golden-"));
try {
  const snapshot = join(folder, "node-leak.heapsnapshot");
  v8.writeHeapSnapshot(snapshot);
  const require = createRequire(join(memlabFolder, "package.json"));
  const { getFullHeapFromFile } = require("@memlab/heap-analysis");
  const heap = await getFullHeapFromFile(snapshot);
  const lines = [];
  heap.nodes.forEach((node) => {
    const { id, type, self_size: size, retainedSize, dominatorNode } = node;
    lines.push([id, type, size, retainedSize, dominatorNode?.id ?? "-"].join("\t"));
  });
  const table = join(folder, "node-leak.memlab.tsv");
  writeFileSync(table, `${lines.join("\n")}\n`);
  for (const file of [snapshot, table])
    execFileSync("zstd", [
      "-19",
      "-q",
      "-f",
      file,
      "-o",
      `${join(here, file.slice(folder.length))}.zst`,
    ]);
} finally {
  rmSync(folder, { recursive: true });
}
