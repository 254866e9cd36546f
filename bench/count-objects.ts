/**
 * What does countObjects() cost an application, by the number of its objects?
 *
 * Prints a line of JSON for each size: node dist/bench/count-objects.js
 */
import { countObjects } from "../src/capture/producer.js";
import { recordResult } from "./shared/record-result.js";

class Counted {
  constructor(readonly number: number) {}
}

const kept: Counted[] = [];
for (const objectCount of [0, 10_000, 100_000, 1_000_000]) {
  while (kept.length < objectCount) kept.push(new Counted(kept.length));
  const times: number[] = [];
  const residentBytes = process.memoryUsage().rss;
  for (let round = 1; round <= 5; round++) {
    const startMs = performance.now();
    const counts = await countObjects([Counted]);
    times.push(performance.now() - startMs);
    if ((counts.user_types["Counted"] ?? 0) !== objectCount) throw new Error("the count is wrong");
  }
  times.sort((a, b) => a - b);
  recordResult({
    question: "count-objects",
    objects: objectCount,
    medianMs: Math.round(times[2] as number),
    peakMebibytesMore: Math.round(
      (process.resourceUsage().maxRSS * 1024 - residentBytes) / 1_048_576,
    ),
  });
}
