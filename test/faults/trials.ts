import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { MongoClient, type Db } from "mongodb";
import { sameDump } from "../support/compare-dumps.js";
import { randomOf } from "../support/mutate-lines.js";
import { startMongod, stopTestServer, testEnvironment, type OwnMongod } from "../support/mongod.js";
import { repositoryPath } from "../support/run.js";
import { makeDump } from "../support/small-dump.js";

export type TrialFigures = {
  trials: number;
  importerKilled: number;
  mongodKilled: number;
  bothKilled: number;
  asked: number;
  /** Commands that ended before their fault came. */
  early: number;
  /** Second and later runs that went on where an earlier one had stopped. */
  resumed: number;
};

const faults = ["importer", "mongod", "both", "term"] as const;

/**
 * Kills importer and mongod at random moments, runs the same command until it is through, and compares what is then
 * in the database with an undisturbed import.
 *
 * @throws when a trial ends with anything else than the reference
 */
export async function runTrials(options: {
  trials: number;
  seed: number;
  objects: number;
  onTrial?: (trial: number, faults: readonly string[]) => void;
}): Promise<TrialFigures> {
  const folder = mkdtempSync(join(tmpdir(), "heapdump-trials-"));
  const mongod = await startMongod();
  const client = await new MongoClient(mongod.uri).connect();
  const figures: TrialFigures = {
    ...{ trials: 0, importerKilled: 0, mongodKilled: 0, bothKilled: 0 },
    ...{ asked: 0, early: 0, resumed: 0 },
  };
  try {
    const file = join(folder, "trial.json");
    const made = makeDump(file, options.objects);
    const reference = client.db("reference");
    const started = performance.now();
    const first = await finished(startImport(mongod, "reference", file));
    // On a machine that is busy with other things at first, all faults would come too late.
    const wholeMs = Math.min(4_000, performance.now() - started);
    if (first.code !== 3) throw new Error(`the reference: ${first.code}: ${first.stderr}`);
    await checkOracle(reference, made);
    for (let trial = 0; trial < options.trials; trial++) {
      const random = randomOf(options.seed * 1_000_003 + trial);
      const name = `trial_${trial}`;
      const done: string[] = [];
      for (let round = 1 + Math.floor(random() * 3); round > 0; round--) {
        done.push(await disturbedRun(mongod, name, file, wholeMs, random, figures));
      }
      const last = await finished(startImport(mongod, name, file));
      const where = `trial ${trial} of seed ${options.seed} (${done.join(", ")})`;
      if (last.code !== 3) throw new Error(`${where}: exit ${last.code}: ${last.stderr}`);
      if (/"resumed":true/.test(last.stdout)) figures.resumed++;
      try {
        await sameDump(client.db(name), reference, "trial");
      } catch (error) {
        throw new Error(`${where}: ${String(error)}`, { cause: error });
      }
      await client.db(name).dropDatabase();
      figures.trials++;
      options.onTrial?.(trial, done);
    }
    return figures;
  } finally {
    await client.close();
    await mongod.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One run of the importer with one fault at a random moment. */
async function disturbedRun(
  mongod: OwnMongod,
  database: string,
  file: string,
  wholeMs: number,
  random: () => number,
  figures: TrialFigures,
): Promise<string> {
  const fault = faults[Math.floor(random() * faults.length)] as (typeof faults)[number];
  const atMs = Math.round(random() * wholeMs);
  const importer = startImport(mongod, database, file);
  const ended = finished(importer);
  await Promise.race([sleep(atMs), ended]);
  if (importer.exitCode !== null) figures.early++;
  else if (fault === "importer") figures.importerKilled++;
  else if (fault === "mongod") figures.mongodKilled++;
  else if (fault === "both") figures.bothKilled++;
  else figures.asked++;
  if (fault === "importer" || fault === "both") importer.kill("SIGKILL");
  if (fault === "term") importer.kill("SIGTERM");
  if (fault === "mongod" || fault === "both") {
    await mongod.kill("SIGKILL");
    await sleep(random() * 300);
    await mongod.restart();
  }
  const { code, stdout, stderr } = await ended;
  // With a lost server it goes on by itself; asked to stop, it says that it did.
  const allowed = fault === "term" ? [3, 7] : fault === "mongod" ? [3, 5] : [3, null];
  // A signal before the command is up ends it without a word.
  if (fault === "term" && stderr === "") allowed.push(null);
  if (!allowed.includes(code)) throw new Error(`${fault} at ${atMs} ms: exit ${code}: ${stderr}`);
  if (/"resumed":true/.test(stdout)) figures.resumed++;
  return `${fault} at ${atMs} ms: exit ${code ?? "by signal"}`;
}

function startImport(mongod: OwnMongod, database: string, file: string): ReturnType<typeof spawn> {
  return spawn(
    process.execPath,
    [
      repositoryPath("dist/bin/heapdump-import.js"),
      ...["--uri", mongod.uri, "--db", database, "--json", "--retry-for", "30", file],
    ],
    { env: testEnvironment(), stdio: ["ignore", "pipe", "pipe"] },
  );
}

async function finished(
  child: ReturnType<typeof spawn>,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

async function checkOracle(db: Db, made: { objects: number; rejects: number }): Promise<void> {
  const objects = await db.collection("trial").countDocuments();
  const rejects = await db.collection("trial.rejects").countDocuments();
  if (objects === made.objects && rejects === made.rejects) return;
  throw new Error(`the reference has ${objects} objects and ${rejects} rejects`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      trials: { type: "string" },
      seed: { type: "string" },
      objects: { type: "string" },
    },
  });
  const seed = Number(values.seed ?? 1);
  const started = performance.now();
  try {
    const figures = await runTrials({
      trials: Number(values.trials ?? 100),
      seed,
      objects: Number(values.objects ?? 150_000),
      onTrial: (trial, done) => process.stderr.write(`trial ${trial}: ${done.join("; ")}\n`),
    });
    const seconds = Math.round((performance.now() - started) / 1000);
    process.stdout.write(`${JSON.stringify({ seed, ...figures, seconds })}\n`);
  } finally {
    await stopTestServer();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
