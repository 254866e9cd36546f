/**
 * What does the analysis of a whole dump cost, from the file's bytes to retained sizes and summaries, in one process?
 *
 * Peers run on the same dump where they are named: `--harb PATH` (csfrancis/harb, C++), `--reap PATH` (Rust).
 *
 *   node dist/bench/graph-vs-peers.js [--rounds 5] [--objects 2200000] [--harb PATH] [--reap PATH] [--peer-seconds 120]
 */
import { createReadStream } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { beginScan, scanBlocks } from "../src/decode/scan-dump.js";
import { lineFormatOf } from "../src/decode/formats.js";
import { lineBlocks } from "../src/decode/split-lines.js";
import { createGraphBuilder } from "../src/graph/build-graph.js";
import { measureHeap } from "../src/graph/graph.js";
import { summarise } from "../src/graph/summaries.js";
import { benchDump } from "./shared/bench-dump.js";
import { mebibyte, median, recordResult } from "./shared/record-result.js";
import { runApart } from "./shared/run-apart.js";

const question = "graph-vs-peers";

/** What the measured process says of itself. */
type Analysed = {
  readonly scanSeconds: number;
  readonly buildSeconds: number;
  readonly measureSeconds: number;
  readonly summariseSeconds: number;
  readonly records: number;
  readonly references: number;
  readonly subscribersRetain: number;
  readonly residentPeakMebibytes: number;
};

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    objects: { type: "string", default: "2200000" },
    harb: { type: "string" },
    reap: { type: "string" },
    "peer-seconds": { type: "string", default: "120" },
    /** The measured process itself. */
    analyse: { type: "boolean", default: false },
  },
});
const dump = benchDump(Number(values.objects));
if (values.analyse) process.stdout.write(JSON.stringify(await analyse()));
else await compare();

async function compare(): Promise<void> {
  const ours: number[] = [];
  const peers = { harb: [] as number[], reap: [] as number[] };
  for (let round = 1; round <= Number(values.rounds); round++) {
    const words = [fileURLToPath(import.meta.url), "--analyse", "--objects", values.objects];
    const { seconds, cpuSeconds, stdout } = await runApart(process.execPath, words);
    const analysed = JSON.parse(stdout) as Analysed;
    check(analysed);
    ours.push(seconds);
    const { residentPeakMebibytes: peakMebibytes, ...more } = analysed;
    recordResult({ ...common(round), way: "ours", seconds, cpuSeconds, peakMebibytes, ...more });
    for (const peer of ["harb", "reap"] as const) {
      const path = values[peer];
      if (path === undefined) continue;
      const words = [values["peer-seconds"], path, dump.path];
      const outcome = await runApart("timeout", words).catch((error: unknown) => String(error));
      if (typeof outcome === "string") {
        recordResult({ ...common(round), way: peer, failed: outcome.slice(0, 200) });
      } else {
        peers[peer].push(outcome.seconds);
        recordResult({ ...common(round), way: peer, seconds: outcome.seconds });
      }
    }
  }
  recordResult({ ...common(0), medianSeconds: median(ours) });
}

function common(round: number): { question: string; [field: string]: unknown } {
  const mebibytes = dump.facts.dump_bytes / mebibyte;
  return { question, dump: dump.name, mebibytes, ...(round === 0 ? {} : { round }) };
}

async function analyse(): Promise<Analysed> {
  const started = performance.now();
  const scan = beginScan(lineFormatOf("objspace"));
  const builder = createGraphBuilder();
  const chunks = createReadStream(dump.path, { highWaterMark: 1 << 20 });
  for await (const block of scanBlocks(lineBlocks(chunks), scan, { file: dump.path })) {
    builder.add(block.scan);
  }
  const scanned = performance.now();
  const { names } = scan;
  const { graph, labels, ids } = builder.finish({
    types: names.types.names,
    sites: names.sites.names,
    classNames: names.classNames.names,
  });
  const built = performance.now();
  const measures = measureHeap(graph);
  const measured = performance.now();
  summarise(graph, measures, labels);
  const summarised = performance.now();
  const holder = ids.integerOf.indexOf(Number(dump.facts.subscribers.address));
  return {
    scanSeconds: (scanned - started) / 1000,
    buildSeconds: (built - scanned) / 1000,
    measureSeconds: (measured - built) / 1000,
    summariseSeconds: (summarised - measured) / 1000,
    records: graph.nodeCount,
    references: graph.edgeTo.length,
    subscribersRetain: measures.retainedCount[holder] ?? 0,
    residentPeakMebibytes: process.resourceUsage().maxRSS / 1024,
  };
}

/** Each subscriber keeps its proc, its environment, its RequestState, and at least seven objects of that one. */
function check({ records, subscribersRetain }: Analysed): void {
  if (records < Number(values.objects)) throw new Error(`${records} objects only`);
  if (subscribersRetain < dump.facts.subscribers.size * 10) {
    throw new Error(`@subscribers retains ${subscribersRetain} objects only`);
  }
}
