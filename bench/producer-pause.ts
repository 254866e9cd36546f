/**
 * How long does the application stand still for a dump, against V8's own writeHeapSnapshot? What does allocation
 * tracking cost, and how large is a snapshot against the heap (src/capture/disk-space.ts)?
 *
 * Prints a line of JSON for each round, and the medians: node dist/bench/producer-pause.js [objects]
 */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import v8 from "node:v8";
import { dump, trackAllocations } from "../src/capture/producer.js";
import { median, recordResult } from "./shared/record-result.js";

const objectCount = Number(process.argv[2] ?? 300_000);
const rounds = 5;

class Leaked {
  readonly name: string;
  readonly parts: number[];
  constructor(readonly number: number) {
    this.name = `leaked number ${number}`;
    this.parts = [number, number + 1];
  }
}

const kept = Array.from({ length: objectCount }, (_, index) => new Leaked(index));
const folder = await mkdtemp(join(tmpdir(), "heapdump-bench-"));
try {
  const ratios: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const file = join(folder, "v8.heapsnapshot");
    const heapBytes = v8.getHeapStatistics().used_heap_size;
    const plainMs = await longestGapMs(async () => v8.writeHeapSnapshot(file));
    const snapshotBytes = (await stat(file)).size;
    const dumpMs = await longestGapMs(() =>
      dump({ dir: folder, file: "ours", format: "heapsnapshot" }),
    );
    ratios.push(dumpMs / plainMs);
    recordResult({
      question: "producer-pause",
      objects: objectCount,
      heapMebibytes: heapBytes / 1_048_576,
      writeHeapSnapshotMs: plainMs,
      dumpMs,
      ratio: dumpMs / plainMs,
      snapshotBytesPerHeapByte: snapshotBytes / heapBytes,
    });
  }
  recordResult({ question: "producer-pause", medianRatio: median(ratios) });
  const untracked = median(Array.from({ length: rounds }, allocateMs));
  trackAllocations();
  const tracked = median(Array.from({ length: rounds }, allocateMs));
  recordResult({
    question: "allocation-tracking",
    objects: 200_000,
    untrackedMs: untracked,
    trackedMs: tracked,
    ratio: tracked / untracked,
  });
} finally {
  await rm(folder, { recursive: true });
}
// Read at the end, so that the objects live until then.
if (kept.length !== objectCount) throw new Error("the objects are gone");

/** The longest time in which the event loop did not turn while `work` ran. */
async function longestGapMs(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let lastMs = performance.now();
  const turn = (): void => {
    const nowMs = performance.now();
    longest = Math.max(longest, nowMs - lastMs);
    lastMs = nowMs;
  };
  const timer = setInterval(turn, 1);
  await new Promise((done) => setTimeout(done, 20));
  await work();
  await new Promise((done) => setTimeout(done, 20));
  clearInterval(timer);
  return longest;
}

function allocateMs(): number {
  const startMs = performance.now();
  const made = Array.from({ length: 200_000 }, (_, index) => new Leaked(index));
  if (made.length !== 200_000) throw new Error("the objects were not made");
  return performance.now() - startMs;
}
