import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { ask, endAll, freePort, leakingNode } from "../support/node-process.js";
import { repositoryPath, run } from "../support/run.js";

describe("a leak in a Node, from the process to the database", () => {
  let database: TestDatabase;
  let folder: string;
  before(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
  });
  afterEach(() => endAll());
  after(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });

  it("dumped upon a signal", async () => {
    const preload = repositoryPath("dist/src/capture/on-signal.js");
    const { child, numbers } = await leakingNode(["--require", preload], { HEAPDUMP_DIR: folder });
    const { sessions } = await ask(numbers[0]?.port as number, "/leak/123");
    child.kill("SIGUSR2");
    const file = join(folder, await dumpIn(folder, `dump_${child.pid}_`));
    await imports(file, "by-signal");
    await holdsTheLeak("by-signal", sessions, child.pid);
  });

  it("dumped from within, redacted and compressed", async () => {
    const file = join(folder, "within.ndjson.gz");
    const module = join(folder, "within.mjs");
    await writeFile(
      module,
      `import { EventEmitter } from "node:events";
      import { dump } from ${JSON.stringify(repositoryPath("dist/src/capture/producer.js"))};
      class LeakedSession { constructor(n) { this.password = "hunter2-" + n; } }
      const bus = new EventEmitter().setMaxListeners(0);
      function leak(n) {
        const session = new LeakedSession(n);
        bus.on("tick", function onLeakedTick() { return session; });
      }
      for (let n = 0; n < 77; n++) leak(n);
      await dump({ file: ${JSON.stringify(file)}, redact: /hunter2/ });
      console.log(JSON.stringify({ pid: process.pid, listeners: bus.listenerCount("tick") }));`,
    );
    const { stdout } = await promisify(execFile)(process.execPath, [module]);
    const said = JSON.parse(stdout) as { pid: number; listeners: number };
    await imports(file, "within");
    await holdsTheLeak("within", said.listeners, said.pid);
    const strings = database.db.collection("within");
    assert.equal(await strings.countDocuments({ value: /hunter2/ }), 0);
    assert.ok((await strings.countDocuments({ value: /^redacted:/ })) > 0);
    assert.ok((await strings.countDocuments({ value: /tick/ })) > 0, "what does not fit stays");
  });

  it("dumped from outside, straight into the database", async () => {
    const { child, numbers } = await leakingNode([`--inspect-port=${await freePort()}`]);
    const { sessions } = await ask(numbers[0]?.port as number, "/leak/9");
    const { code, stderr } = await run("heapdump-dump", [
      ...["--pid", String(child.pid), "--db", database.name, "--uri", database.uri],
    ]);
    assert.equal(code, 0, stderr);
    const [entry] = await database.db
      .collection<DumpEntry>("dumps")
      .find({ _id: new RegExp(`^dump_${child.pid}_`) })
      .toArray();
    await holdsTheLeak(entry?._id ?? "", sessions, child.pid);
    assert.equal((await ask(numbers[0]?.port as number, "/numbers")).sessions, sessions);
  });

  it("with the places where its objects were made, in a dump of ours, V8's own and that one converted", async () => {
    const module = join(folder, "sited.mjs");
    await writeFile(
      module,
      `import { dump, trackAllocations } from ${JSON.stringify(repositoryPath("dist/src/capture/producer.js"))};
      trackAllocations();
      class Planted {}
      const kept = [];
      function plantMany() { kept.push(new Planted()); }
      function plantFew() { kept.push(new Planted()); }
      for (let n = 0; n < 64; n++) plantMany();
      for (let n = 0; n < 13; n++) plantFew();
      for (const format of ["ndjson", "heapsnapshot"])
        await dump({ dir: ${JSON.stringify(folder)}, file: "sited." + format, format });
      globalThis.kept = kept;`,
    );
    await promisify(execFile)(process.execPath, [module], { timeout: 30_000 });
    const { code } = await run("heapdump-dump", [
      ...["--convert", join(folder, "sited.heapsnapshot")],
      ...["--out", join(folder, "sited-converted.ndjson")],
    ]);
    assert.equal(code, 0);
    const { href } = pathToFileURL(module);
    for (const [file, name] of [
      ["sited.ndjson", "sited-ours"],
      ["sited.heapsnapshot", "sited-v8"],
      ["sited-converted.ndjson", "sited-converted"],
    ] as const) {
      await imports(join(folder, file), name);
      const stored = await database.db
        .collection(name)
        .aggregate<{ _id: { file: string; line: number }; count: number }>([
          { $match: { class_name: "Planted", file: { $exists: true } } },
          { $group: { _id: { file: "$file", line: "$line" }, count: { $sum: 1 } } },
          { $sort: { count: -1 } },
        ])
        .toArray();
      const [many, few] = stored;
      assert.deepEqual(many, { _id: { file: href, line: 5 }, count: 64 }, name);
      assert.deepEqual(few, { _id: { file: href, line: 6 }, count: 13 }, name);
      // plantMany made more than these: the list's own storage, for one.
      const sites = await asked(name, ["sites", "--limit", "10000"]);
      const siteOf = (line: number): unknown[] =>
        sites.filter((row) => row["name"] === `${href}:${line}`).map((row) => row["count"]);
      const inDump = (line: number): Promise<number> =>
        database.db.collection(name).countDocuments({ file: href, line });
      assert.deepEqual(siteOf(5), [await inDump(5)]);
      assert.deepEqual(siteOf(6), [await inDump(6)]);
      const held = await asked(name, ["retainers", "--class", "Planted", "--site", `${href}:6`]);
      assert.equal(held[0]?.["count"], 13);
    }
  });

  /** The rows that `heapdump-query` answers on a dump. */
  async function asked(name: string, argv: readonly string[]): Promise<Record<string, unknown>[]> {
    const { code, stdout, stderr } = await run("heapdump-query", [
      ...argv,
      ...["--db", database.name, "--dump", name, "--uri", database.uri, "--json"],
    ]);
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { rows: Record<string, unknown>[] }).rows;
  }

  async function imports(file: string, name: string): Promise<void> {
    const { code, stderr } = await run("heapdump-import", [
      ...[file, "--db", database.name, "-c", name, "--uri", database.uri],
    ]);
    assert.equal(code, 0, stderr);
  }

  /** Class, count and retaining path of the planted leak are as the process said itself. */
  async function holdsTheLeak(name: string, count: number, pid: number | undefined): Promise<void> {
    const entry = await database.db.collection<DumpEntry>("dumps").findOne({ _id: name });
    assert.deepEqual(
      [entry?.["pid"], entry?.["runtime"], entry?.["status"]],
      [pid, "node", "complete"],
    );
    const [held, ...others] = await asked(name, ["retainers", "--class", "LeakedSession"]);
    assert.equal(held?.["count"], count);
    assert.match(
      String(held["path"]),
      / EventEmitter\._events → Object\.tick → Array\[…\] → closure onLeakedTick\(\)\.context → system \/ Context(\.session|\[…\])$/,
    );
    assert.deepEqual(others, []);
  }
});

async function dumpIn(folder: string, prefix: string): Promise<string> {
  for (let attempt = 0; attempt < 600; attempt++) {
    const found = (await readdir(folder)).find((name) => name.startsWith(prefix));
    if (found !== undefined) return found;
    await new Promise((done) => setTimeout(done, 50));
  }
  return assert.fail(`no dump ${prefix}… in 30 s`);
}
