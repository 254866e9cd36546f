/**
 * How fast, and in how much memory, is a V8 snapshot read and measured, beside memlab? And the whole import of it?
 *
 *     node dist/bench/snapshot-vs-memlab.js [ROUNDS] [ORDERS]
 *
 * Makes the snapshot (bench/make-snapshot.mjs) and installs memlab below /var/tmp/heapdump-bench once. Runs take turns,
 * each in a process of its own. Counts and the retained sizes of all customers must agree before a time is printed.
 */
import { execFileSync } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { benchServer } from "./shared/bench-mongod.js";
import { recordResult, repository } from "./shared/record-result.js";
import { runApart as watched, type Outcome } from "./shared/run-apart.js";
import { readSnapshot } from "../src/decode/v8-snapshot/read-snapshot.js";
import { snapshotHeap } from "../src/decode/v8-snapshot/snapshot-heap.js";
import { measureHeap } from "../src/graph/graph.js";

const folder = "/var/tmp/heapdump-bench";
const memlabVersion = "2.0.5";

type Found = {
  nodes: number;
  edges: number;
  /** Retained size of each customer, by id. */
  retained: Record<string, number>;
};
/** `cpuSeconds` of all threads: what counts on a machine that others use too. */
type Run = Found & { seconds: number; cpuSeconds: number; peakMebibytes: number };

async function ours(file: string): Promise<Found> {
  const { graph, labels, ids } = snapshotHeap(
    await readSnapshot(createReadStream(file, { highWaterMark: 1 << 20 }), file),
  );
  const { retainedSize } = measureHeap(graph);
  const customer = labels.classNames.indexOf("Customer");
  const retained: Record<string, number> = {};
  for (let node = 0; node < graph.nodeCount; node++) {
    if (
      labels.classNameOf[node] === customer &&
      labels.typeNames[labels.typeOf[node] ?? 0] === "object"
    )
      retained[String(ids.integerOf[node])] = retainedSize[node] as number;
  }
  return { nodes: graph.nodeCount, edges: graph.edgeTo.length, retained };
}

type MemlabNode = { id: number; name: string; type: string; retainedSize: number };
type Memlab = {
  getFullHeapFromFile(file: string): Promise<{
    nodes: { length: number; forEach(visit: (node: MemlabNode) => void): void };
    edges: { length: number };
  }>;
};

async function memlab(file: string): Promise<Found> {
  const require = createRequire(join(folder, "memlab", "package.json"));
  const { getFullHeapFromFile } = require("@memlab/heap-analysis") as Memlab;
  const heap = await getFullHeapFromFile(file);
  const retained: Record<string, number> = {};
  heap.nodes.forEach((node) => {
    if (node.name === "Customer" && node.type === "object")
      retained[String(node.id)] = node.retainedSize;
  });
  return { nodes: heap.nodes.length, edges: heap.edges.length, retained };
}

const contenders = { ours, memlab };

async function runOne(name: keyof typeof contenders, file: string): Promise<void> {
  const started = performance.now();
  const found = await contenders[name](file);
  const seconds = (performance.now() - started) / 1000;
  const peakMebibytes = process.resourceUsage().maxRSS / 1024;
  const { user, system } = process.cpuUsage();
  const cpuSeconds = (user + system) / 1e6;
  const out = `${JSON.stringify({ ...found, seconds, cpuSeconds, peakMebibytes } satisfies Run)}\n`;
  // memlab prints what it does: our line is the last.
  process.stdout.write(`\n${out}`);
}

function runApart(name: keyof typeof contenders, file: string): Run {
  const output = execFileSync(
    process.execPath,
    ["--max-old-space-size=12000", fileURLToPath(import.meta.url), "one", name, file],
    {
      maxBuffer: 1 << 28,
      timeout: 600_000,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as Run;
}

/** Everything that both tell must be the same; `Customer.prototype` bears the name too, and is compared as well. */
function check(one: Run, other: Run): void {
  if (one.nodes !== other.nodes || one.edges !== other.edges) throw new Error("counts differ");
  const ids = Object.keys(one.retained);
  if (ids.length < 20_000 || ids.length !== Object.keys(other.retained).length)
    throw new Error("customers differ");
  for (const id of ids) {
    if (one.retained[id] !== other.retained[id])
      throw new Error(`retained size of ${id}: ${one.retained[id]}, ${other.retained[id]}`);
  }
}

function prepare(orders: string): string {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `v8-${orders}.heapsnapshot`);
  const maker = fileURLToPath(new URL("../../bench/make-snapshot.mjs", import.meta.url));
  if (!existsSync(file))
    execFileSync(process.execPath, ["--max-old-space-size=8000", maker, file, orders]);
  const home = join(folder, "memlab");
  if (!existsSync(join(home, "node_modules", "@memlab", "heap-analysis"))) {
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, "package.json"), '{"private":true}');
    const wanted = `@memlab/heap-analysis@${memlabVersion}`;
    execFileSync("npm", ["i", "--no-audit", "--no-fund", "--ignore-scripts", wanted], {
      cwd: home,
    });
  }
  return file;
}

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;
}

/** The whole import into a new server: documents, indexes, summaries. */
async function importWhole(file: string, expected: Run): Promise<Outcome> {
  const server = await benchServer();
  try {
    const command = join(repository, "dist", "bin", "heapdump-import.js");
    const words = ["--uri", server.uri, "-d", "bench", "-c", "snapshot", "--json", file];
    const outcome = await watched(process.execPath, [command, ...words]);
    const customers = await server.client
      .db("bench")
      .collection("snapshot")
      .find({ class_name: "Customer", type: "object" }, { projection: { retained_size: 1 } })
      .toArray();
    for (const { _id: id, retained_size: size } of customers) {
      if (expected.retained[String(id)] !== size) throw new Error(`retained size of ${String(id)}`);
    }
    if (customers.length < 20_000) throw new Error("customers are missing");
    return outcome;
  } finally {
    await server.stop();
  }
}

async function compare(rounds: number, file: string): Promise<void> {
  const runs: Record<keyof typeof contenders, Run[]> = { ours: [], memlab: [] };
  const imports: Outcome[] = [];
  for (let round = 0; round < rounds; round++) {
    runs.ours.push(runApart("ours", file));
    runs.memlab.push(runApart("memlab", file));
    check(runs.ours.at(-1) as Run, runs.memlab.at(-1) as Run);
    imports.push(await importWhole(file, runs.ours.at(-1) as Run));
  }
  const ofImports = (value: (outcome: Outcome) => number): number =>
    Number(median(imports.map(value)).toFixed(1));
  const seconds = (name: keyof typeof contenders): number =>
    median(runs[name].map((run) => run.seconds));
  const cpu = (name: keyof typeof contenders): number =>
    median(runs[name].map((run) => run.cpuSeconds));
  const peak = (name: keyof typeof contenders): number =>
    median(runs[name].map((run) => run.peakMebibytes));
  const line = {
    question: "snapshot-vs-memlab",
    bytes: statSync(file).size,
    nodes: runs.ours[0]?.nodes,
    edges: runs.ours[0]?.edges,
    rounds,
    oursSeconds: Number(seconds("ours").toFixed(1)),
    memlabSeconds: Number(seconds("memlab").toFixed(1)),
    oursCpuSeconds: Number(cpu("ours").toFixed(1)),
    memlabCpuSeconds: Number(cpu("memlab").toFixed(1)),
    timesFaster: Number((seconds("memlab") / seconds("ours")).toFixed(2)),
    oursPeakMebibytes: Math.round(peak("ours")),
    memlabPeakMebibytes: Math.round(peak("memlab")),
    shareOfMemory: Number((peak("ours") / peak("memlab")).toFixed(2)),
    importSeconds: ofImports((one) => one.seconds),
    importCpuSeconds: ofImports((one) => one.cpuSeconds),
    importPeakMebibytes: ofImports((one) => one.peakMebibytes),
    importPerMemlab: Number((ofImports((one) => one.seconds) / seconds("memlab")).toFixed(2)),
    memlab: memlabVersion,
  };
  recordResult(line);
}

const [first, second, third] = process.argv.slice(2);
if (first === "one") await runOne(second as keyof typeof contenders, third as string);
else await compare(Number(first ?? 3), prepare(second ?? "3000000"));
