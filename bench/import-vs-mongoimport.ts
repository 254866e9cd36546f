/**
 * How long does an import take, against the ways there were before?
 *
 * `ours`: heapdump-import, with the analysis, the summaries and all its indexes.
 * `unanalysed`: heapdump-import --no-analysis, which stores documents and makes indexes as the others do, no more.
 * `mongoimport`: `sed 's/"address"/"_id"/' | mongoimport -j 2`, then the indexes on type and references.
 * `mongorestore`: the documents that mongoimport made, as BSON from mongodump, then the same indexes.
 *
 * Each run has a new server; the ways take turns. Counts are checked before a time is printed.
 *
 *   node dist/bench/import-vs-mongoimport.js [--rounds 3] [--objects 2200000] [--ways ours,unanalysed,mongoimport,mongorestore]
 */
import { createReadStream, existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Collection } from "mongodb";
import { benchDump, benchFolder } from "./shared/bench-dump.js";
import { benchServer, type BenchServer } from "./shared/bench-mongod.js";
import { mebibyte, median, recordResult, repository } from "./shared/record-result.js";
import { runApart } from "./shared/run-apart.js";

const question = "import-vs-mongoimport";
const ways = ["ours", "unanalysed", "mongoimport", "mongorestore"] as const;
type Way = (typeof ways)[number];
type Times = {
  readonly loadSeconds: number;
  readonly indexSeconds: number;
  /** Of the importing process; the server's stands apart. */
  readonly peakMebibytes: number;
  readonly cpuSeconds: number;
  readonly phases?: unknown;
};

const database = "bench";
const collectionName = "rails";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    objects: { type: "string", default: "2200000" },
    ways: { type: "string", default: ways.join(",") },
    tools: { type: "string", default: process.env["HEAPDUMP_TOOLS"] ?? "/work/shared/tools" },
  },
});
const dump = benchDump(Number(values.objects));
const bsonFolder = join(benchFolder, `${dump.name}.bson`);
/** Each line is an object: all of them must arrive. Counting also brings the file into the page cache. */
const lines = await lineCountOf(dump.path);
const asked = ways.filter((way) => values.ways.split(",").includes(way));
if (asked.includes("mongorestore")) await makeBson();

const seconds: Record<Way, number[]> = {
  ours: [],
  unanalysed: [],
  mongoimport: [],
  mongorestore: [],
};
for (let round = 0; round < Number(values.rounds); round++) {
  for (let turn = 0; turn < asked.length; turn++) {
    const way = asked[(round + turn) % asked.length] as Way;
    const server = await benchServer();
    try {
      const times = await run(way, server);
      const serverCpuSeconds = server.cpuSeconds();
      await check(way, server);
      const total = times.loadSeconds + times.indexSeconds;
      seconds[way].push(total);
      recordResult({
        question,
        way,
        round: round + 1,
        dump: dump.name,
        records: lines,
        mebibytes: dump.facts.dump_bytes / mebibyte,
        seconds: total,
        ...times,
        serverCpuSeconds,
        serverPeakMebibytes: server.peakMebibytes(),
        mongod: server.version,
      });
    } finally {
      await server.stop();
    }
  }
}
const medians = Object.fromEntries(asked.map((way) => [way, median(seconds[way])]));
const ratios = asked
  .filter(isOurs)
  .flatMap((own) =>
    asked
      .filter((way) => !isOurs(way))
      .map((way) => [
        `${way}Per${own === "ours" ? "Ours" : "Unanalysed"}`,
        (medians[way] ?? NaN) / (medians[own] ?? NaN),
      ]),
  );
recordResult({
  question,
  dump: dump.name,
  records: lines,
  rounds: Number(values.rounds),
  medians,
  ...Object.fromEntries(ratios),
});

function run(way: Way, server: BenchServer): Promise<Times> {
  if (isOurs(way)) return importOurs(server, way === "ours" ? [] : ["--no-analysis"]);
  return way === "mongoimport" ? importMongoimport(server) : importMongorestore(server);
}

function isOurs(way: Way): boolean {
  return way === "ours" || way === "unanalysed";
}

async function importOurs({ uri }: BenchServer, more: readonly string[]): Promise<Times> {
  const command = join(repository, "dist", "bin", "heapdump-import.js");
  const words = ["--uri", uri, "-d", database, "-c", collectionName, "--json", ...more, dump.path];
  const outcome = await runApart(process.execPath, [command, ...words]);
  const { phases_ms: phases } = JSON.parse(outcome.stdout) as { phases_ms: { index: number } };
  return {
    loadSeconds: outcome.seconds - phases.index / 1000,
    indexSeconds: phases.index / 1000,
    peakMebibytes: outcome.peakMebibytes,
    cpuSeconds: outcome.cpuSeconds,
    phases,
  };
}

async function importMongoimport(server: BenchServer): Promise<Times> {
  const tool = `exec "$1" --quiet --uri "$2" -d ${database} -c ${collectionName} -j 2`;
  // bash becomes mongoimport, so that it is the process that is watched.
  const script = `${tool} < <(sed 's/"address"/"_id"/' "$3")`;
  const words = ["-c", script, "bench", join(values.tools, "mongoimport"), server.uri, dump.path];
  const outcome = await runApart("bash", words);
  return {
    loadSeconds: outcome.seconds,
    indexSeconds: await indexSeconds(server),
    peakMebibytes: outcome.peakMebibytes,
    cpuSeconds: outcome.cpuSeconds,
  };
}

async function importMongorestore(server: BenchServer): Promise<Times> {
  const words = ["--quiet", "--uri", server.uri, "--noIndexRestore", bsonFolder];
  const outcome = await runApart(join(values.tools, "mongorestore"), words);
  return {
    loadSeconds: outcome.seconds,
    indexSeconds: await indexSeconds(server),
    peakMebibytes: outcome.peakMebibytes,
    cpuSeconds: outcome.cpuSeconds,
  };
}

/** The two indexes of the gem's instructions, in one command, as one would type it. */
async function indexSeconds(server: BenchServer): Promise<number> {
  const started = performance.now();
  await collectionOf(server).createIndexes([{ key: { type: 1 } }, { key: { references: 1 } }]);
  return (performance.now() - started) / 1000;
}

/** What mongoimport loads, as BSON; made once for each dump. */
async function makeBson(): Promise<void> {
  if (existsSync(bsonFolder)) return;
  const made = `${bsonFolder}.part`;
  rmSync(made, { recursive: true, force: true });
  const server = await benchServer();
  try {
    await importMongoimport(server);
    await runApart(join(values.tools, "mongodump"), ["--quiet", "--uri", server.uri, "-o", made]);
    renameSync(made, bsonFolder);
  } finally {
    await server.stop();
  }
}

/** A time counts only when everything is there: all lines, the classes as the dumped process counted them, the indexes. */
async function check(way: Way, server: BenchServer): Promise<void> {
  const collection = collectionOf(server);
  const found = await collection.countDocuments();
  if (found !== lines) throw new Error(`${way}: ${found} documents of ${lines} lines`);
  const indexed = await collection.indexes();
  for (const field of ["type", "references"]) {
    if (!indexed.some(({ key }) => field in key)) throw new Error(`${way}: no index on ${field}`);
  }
  if (!isOurs(way)) return;
  for (const [name, count] of Object.entries(dump.facts.counts)) {
    const stored = await collection.countDocuments({ class_name: name, type: { $ne: "CLASS" } });
    if (stored !== count) throw new Error(`${stored} objects of ${name}, expected ${count}`);
  }
  if (way === "unanalysed") return;
  const holder = await collection.findOne(
    { _id: Number(dump.facts.subscribers.address) as never },
    { projection: { retained_count: 1 } },
  );
  // Each subscriber keeps its proc, its environment, its RequestState, and what that one has.
  const retainedMin = dump.facts.subscribers.size * 10;
  if (!(Number(holder?.["retained_count"]) > retainedMin)) {
    throw new Error(`@subscribers retains ${String(holder?.["retained_count"])} objects`);
  }
}

function collectionOf({ client }: BenchServer): Collection {
  return client.db(database).collection(collectionName);
}

async function lineCountOf(path: string): Promise<number> {
  let count = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    const bytes = chunk as Buffer;
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) count++;
  }
  return count;
}
