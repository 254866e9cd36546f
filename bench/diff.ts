/**
 * How long do heapdump-diff A B and A B C take on dumps of 2.2 million objects, and in how much memory?
 *
 * The dumps are one real dump, loaded three times; from A the planted leak is taken out, in C every 97th string is made
 * another object at the same address. So the numbers to find are known: node dist/bench/diff.js [objects] [runs]
 */
import { join } from "node:path";
import { importDump } from "../src/index.js";
import { benchDump } from "./shared/bench-dump.js";
import { benchServer } from "./shared/bench-mongod.js";
import { median, recordResult, repository } from "./shared/record-result.js";
import { runApart } from "./shared/run-apart.js";

const objectCount = Number(process.argv[2] ?? 2_200_000);
const runs = Number(process.argv[3] ?? 5);
const leakedClasses = ["Shop::RequestState", "Shop::Line"];

type Group = { readonly class_name: string; readonly count: number };

const dump = benchDump(objectCount);
const server = await benchServer();
try {
  const db = server.client.db("diff");
  for (const name of ["A", "B", "C"]) await importDump({ file: dump.path, db, name });
  const leaked = { class_name: { $in: leakedClasses } };
  const leakedCount = (await db.collection("A").deleteMany(leaked)).deletedCount;
  const churned = { type: "STRING", generation: { $exists: true }, _id: { $mod: [97, 0] } };
  const churn = await db
    .collection("C")
    .updateMany(churned as never, { $inc: { generation: 1_000_000 } });
  const script = join(repository, "dist", "bin", "heapdump-diff.js");
  const call = [script, "--uri", server.uri, "--db", "diff", "--json", "--limit", "20"];
  for (const names of [
    ["B", "C"],
    ["A", "B", "C"],
  ]) {
    const seconds: number[] = [];
    const peaks: number[] = [];
    const cpu: number[] = [];
    const serverCpu: number[] = [];
    for (let run = 0; run < runs; run++) {
      const serverBefore = server.cpuSeconds();
      const outcome = await runApart(process.execPath, [...call, ...names]);
      check(outcome.stdout, names.length);
      seconds.push(outcome.seconds);
      peaks.push(outcome.peakMebibytes);
      cpu.push(outcome.cpuSeconds);
      serverCpu.push(server.cpuSeconds() - serverBefore);
    }
    recordResult({
      question: "diff",
      dumps: names.length,
      objects: objectCount,
      runs,
      seconds: median(seconds),
      slowest: Math.max(...seconds),
      cpuSeconds: median(cpu),
      serverCpuSeconds: median(serverCpu),
      peakMebibytes: median(peaks),
      mongod: server.version,
    });
  }

  function check(json: string, dumps: number): void {
    if (dumps === 2) {
      const { objects } = JSON.parse(json) as { objects: { appeared: Group[] } };
      expect(sum(objects.appeared), churn.modifiedCount);
    } else {
      const { groups } = JSON.parse(json) as { groups: Group[] };
      expect(sum(groups.filter((it) => leakedClasses.includes(it.class_name))), leakedCount);
    }
  }
} finally {
  await server.stop();
}

function sum(groups: readonly Group[]): number {
  return groups.reduce((total, { count }) => total + count, 0);
}

function expect(found: number, expected: number): void {
  if (found !== expected) throw new Error(`expected ${expected} objects, found ${found}`);
}
