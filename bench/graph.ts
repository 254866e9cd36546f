/**
 * What do building and measuring a graph cost, apart from reading a dump? By the shape of the heap.
 *
 *   node dist/bench/graph.js [--rounds 5] [--objects 2200000]
 *
 * `heap`: 3.6 candidates an object, most of them near, some far, a tenth no ids at all, as dumps of Ruby have them.
 * `list`: each object knows the next one. `array`: one object knows all. Each run is a process of its own.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { ScanBlock } from "../schemas/scan-block.js";
import { createGraphBuilder } from "../src/graph/build-graph.js";
import { measureHeap } from "../src/graph/graph.js";
import { summarise } from "../src/graph/summaries.js";
import { median, recordResult } from "./shared/record-result.js";
import { runApart } from "./shared/run-apart.js";

const question = "graph";
const shapes = ["heap", "list", "array"] as const;
type Shape = (typeof shapes)[number];

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    objects: { type: "string", default: "2200000" },
    /** The measured process itself: its shape. */
    measure: { type: "string" },
  },
});
const objectCount = Number(values.objects);
const measured = shapes.find((shape) => shape === values.measure);
if (measured !== undefined) process.stdout.write(JSON.stringify(measure(measured)));
else {
  for (const shape of shapes) {
    const seconds: number[] = [];
    for (let round = 1; round <= Number(values.rounds); round++) {
      const words = [fileURLToPath(import.meta.url), "--measure", shape];
      const more = ["--objects", values.objects];
      const { stdout } = await runApart(process.execPath, [...words, ...more]);
      const outcome = JSON.parse(stdout) as ReturnType<typeof measure>;
      if (outcome.records !== objectCount || outcome.retainedByRoot !== outcome.reached) {
        throw new Error(`${shape}: wrong counts: ${stdout}`);
      }
      seconds.push(outcome.seconds);
      recordResult({ question, shape, round, ...outcome });
    }
    recordResult({ question, shape, records: objectCount, medianSeconds: median(seconds) });
  }
}

function measure(shape: Shape): {
  seconds: number;
  buildSeconds: number;
  measureSeconds: number;
  summariseSeconds: number;
  records: number;
  references: number;
  reached: number;
  retainedByRoot: number;
  peakMebibytes: number;
} {
  const builder = createGraphBuilder();
  let drawing = 0;
  const started = performance.now();
  for (let first = 0; first < objectCount;) {
    const before = performance.now();
    const block = blockAt(shape, first);
    drawing += performance.now() - before;
    builder.add(block);
    first += block.objectCount;
  }
  const { graph, labels } = builder.finish({ types: ["OBJECT"], sites: [], classNames: [] });
  const built = performance.now();
  const measures = measureHeap(graph);
  const ready = performance.now();
  summarise(graph, measures, labels);
  const ended = performance.now();
  return {
    seconds: (ended - started - drawing) / 1000,
    buildSeconds: (built - started - drawing) / 1000,
    measureSeconds: (ready - built) / 1000,
    summariseSeconds: (ended - ready) / 1000,
    records: graph.nodeCount,
    references: graph.edgeTo.length,
    reached: measures.depth.reduce((sum, depth) => sum + (depth === -1 ? 0 : 1), 0),
    retainedByRoot: measures.retainedCount[graph.roots[0] as number] as number,
    peakMebibytes: process.resourceUsage().maxRSS / 1024,
  };
}

/** Addresses as Ruby's: 40 bytes an object, in pages of 64 KiB. */
function idOf(object: number): number {
  return 0x7f00_0000_0000 + Math.floor(object / 1600) * 65_536 + (object % 1600) * 40;
}

function blockAt(shape: Shape, first: number): ScanBlock {
  const count = Math.min(8_000, objectCount - first);
  const references: number[] = [];
  const firstReference = new Uint32Array(count + 1);
  const ids = new Float64Array(count);
  for (let position = 0; position < count; position++) {
    const object = first + position;
    ids[position] = idOf(object);
    pushReferences(shape, object, references);
    firstReference[position + 1] = references.length;
  }
  const none = new Int32Array(count).fill(-1);
  return {
    objectCount: count,
    ids,
    otherIds: new Map(),
    classIds: new Float64Array(count).fill(shape === "heap" ? idOf(1) : NaN),
    sizes: new Float64Array(count).fill(40),
    typeCodes: new Uint16Array(count),
    siteCodes: none,
    generations: none,
    classNameCodes: none,
    firstReference,
    references: Float64Array.from(references),
    otherReferences: new Map(),
    weak: undefined,
    rootPositions: first === 0 ? [0] : [],
    names: new Map(),
    labels: new Map(),
  };
}

function pushReferences(shape: Shape, object: number, references: number[]): void {
  if (shape === "list") {
    if (object + 1 < objectCount) references.push(idOf(object + 1));
  } else if (shape === "array") {
    if (object > 0) return;
    for (let other = 1; other < objectCount; other++) references.push(idOf(other));
  } else {
    // A tree, so that all is reached, with more edges near and far, and numbers that are no ids.
    for (const child of [object * 2 + 1, object * 2 + 2]) {
      if (child < objectCount) references.push(idOf(child));
    }
    references.push(idOf(Math.min(objectCount - 1, object + (object % 97))));
    if (object % 4 === 0) references.push(idOf(scatter(object) % objectCount));
    if (object % 3 === 0) references.push(object);
  }
}

/** Deterministic, and far from where it starts. */
function scatter(object: number): number {
  return Math.imul(object, 0x9e3779b1) >>> 0;
}
