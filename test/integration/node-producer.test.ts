import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { ask, endAll, leakingNode } from "../support/node-process.js";
import { leakInSnapshot } from "../support/raw-snapshot.js";

const producer = new URL("../../src/capture/producer.js", import.meta.url).href;
const onSignal = new URL("../../src/capture/on-signal.js", import.meta.url);

describe("heapdump-mongo/producer", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
  });
  afterEach(async () => {
    await endAll();
    await rm(folder, { recursive: true });
  });

  for (const option of ["--require", "--import"]) {
    it(`dumps upon a signal, loaded by ${option}`, async () => {
      const preload = option === "--require" ? onSignal.pathname : onSignal.href;
      const { child, numbers } = await leakingNode([option, preload], {
        HEAPDUMP_DIR: folder,
        HEAPDUMP_FORMAT: "heapsnapshot",
      });
      await ask(numbers[0]?.port as number, "/leak/21");
      child.kill("SIGUSR2");
      const [name] = await dumpsIn(folder, 1);
      assert.match(name ?? "", new RegExp(`^dump_${child.pid}_\\d{8}T\\d{6}\\.heapsnapshot$`));
      assert.equal((await stat(join(folder, name ?? ""))).mode & 0o777, 0o600);
      assert.deepEqual(await leakInSnapshot(join(folder, name ?? "")), {
        sessions: 321,
        held: 321,
      });
      assert.equal((await ask(numbers[0]?.port as number, "/numbers")).sessions, 321);
    });
  }

  it("gives each worker thread a file of its own", async () => {
    const { child, numbers } = await leakingNode(
      ["--import", onSignal.href],
      { HEAPDUMP_DIR: folder, HEAPDUMP_FORMAT: "heapsnapshot", LEAK_IN: "threads" },
      2,
    );
    child.kill("SIGUSR2");
    const names = await dumpsIn(folder, 2);
    const worker = names.find((name) => name.startsWith(`dump_${child.pid}_w1_`)) ?? "";
    const main = names.find((name) => name !== worker) ?? "";
    const said = (threadId: number): number | undefined =>
      numbers.find((each) => each.threadId === threadId)?.sessions;
    assert.deepEqual(
      [
        (await leakInSnapshot(join(folder, main))).held,
        (await leakInSnapshot(join(folder, worker))).held,
      ],
      [said(0), said(1)],
    );
  });

  it("gives each worker of a cluster a file of its own, by its own signal", async () => {
    const { numbers } = await leakingNode(
      ["--import", onSignal.href],
      { HEAPDUMP_DIR: folder, HEAPDUMP_FORMAT: "heapsnapshot", LEAK_IN: "cluster" },
      2,
    );
    for (const { pid } of numbers) process.kill(pid, "SIGUSR2");
    const names = await dumpsIn(folder, 2);
    for (const { pid, sessions } of numbers) {
      const name = names.find((each) => each.startsWith(`dump_${pid}_`)) ?? "";
      assert.equal((await leakInSnapshot(join(folder, name))).held, sessions);
    }
  });

  it("costs nothing until the signal: no timer, no handle but the handler, and the process may end", async () => {
    const { before, after, listeners } = await evaluate(`
      const { dumpOnSignal } = await import(${JSON.stringify(producer)});
      await new Promise((done) => setImmediate(done));
      const count = () => process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0);
      const before = process.getActiveResourcesInfo();
      const listenersBefore = count();
      const stop = dumpOnSignal();
      const after = process.getActiveResourcesInfo();
      const listeners = [count() - listenersBefore, process.listenerCount("SIGUSR2")];
      stop();
      listeners.push(process.listenerCount("SIGUSR2"));
      dumpOnSignal();
      console.log(JSON.stringify({ before, after, listeners }));`);
    // That evaluate() came back at all shows that the event loop ended with the handler in place.
    assert.deepEqual(after, before);
    assert.deepEqual(listeners, [1, 1, 0]);
  });

  it("counts objects within the process: by class, by namespace, by the class itself", async () => {
    const { byName, byClass, cached, fresh } = await evaluate(`
      const { countObjects } = await import(${JSON.stringify(producer)});
      class Session {}
      class Special extends Session {}
      globalThis.MyApp = { Named: class Named {}, Nameless: class {}, Inner: { Deep: class {} } };
      globalThis.MyApp.Late = class {};
      const kept = [new Special(), new MyApp.Named(), new MyApp.Nameless(), new MyApp.Inner.Deep(), new MyApp.Late()];
      for (let n = 0; n < 25; n++) kept.push(new Session());
      // Nothing of the application may run while it is counted.
      kept.push(new Proxy({}, { getPrototypeOf() { throw new Error("trapped"); } }));
      kept.push(Object.create({ get constructor() { throw new Error("got"); } }));
      const byName = (await countObjects(["MyApp.", "Session", "Special"])).user_types;
      const byClass = (await countObjects([Session, { Special }], { maxAgeMs: 60_000 })).user_types;
      kept.push(new Session());
      const cached = (await countObjects([Session, { Special }], { maxAgeMs: 60_000 })).user_types;
      const fresh = (await countObjects([Session, { Special }])).user_types;
      console.log(JSON.stringify({ byName, byClass, cached, fresh, kept: kept.length }));`);
    assert.deepEqual(byName, {
      Session: 25,
      "MyApp.Inner.Deep": 1,
      "MyApp.Late": 1,
      "MyApp.Named": 1,
      "MyApp.Nameless": 1,
      Special: 1,
    });
    assert.deepEqual(byClass, { Session: 25, Special: 1 });
    assert.deepEqual(cached, { Session: 25, Special: 1 });
    assert.deepEqual(fresh, { Session: 26, Special: 1 });
  });

  it("finishes a dump whose process has ended meanwhile, and leaves nothing else", async () => {
    const said = await evaluate(`
      import { watch } from "node:fs";
      const { dump } = await import(${JSON.stringify(producer)});
      void dump({ dir: ${JSON.stringify(folder)}, file: "late.ndjson" });
      // The converter has begun when its own temporary file stands beside the snapshot.
      watch(${JSON.stringify(folder)}, (event, name) => {
        if (!/late.ndjson.*part$/.test(name) || globalThis.seen === name) return;
        if (globalThis.seen !== undefined) {
          console.log(JSON.stringify({ pid: process.pid }));
          process.kill(process.pid, "SIGKILL");
        }
        globalThis.seen = name;
      });`);
    const names = await dumpsIn(folder, 2);
    assert.deepEqual(names, ["late.ndjson", "module.mjs"]);
    const lines = (await readFile(join(folder, "late.ndjson"), "utf8")).trimEnd().split("\n");
    const trailer = JSON.parse(lines.at(-1) ?? "") as Trailer;
    assert.equal(trailer.pid, said["pid"]);
    assert.equal(trailer.counts.objects + trailer.counts.roots, lines.length - 2);
    for (let attempt = 0; (await readdir(folder)).length > 2; attempt++) {
      assert.ok(attempt < 100, (await readdir(folder)).join(", "));
      await new Promise((done) => setTimeout(done, 50));
    }
  });

  it("refuses a folder that is not there, and what cannot be redacted", async () => {
    const { codes } = await evaluate(`
      const { dump } = await import(${JSON.stringify(producer)});
      const codes = [];
      for (const options of [{ dir: "/no/such/folder" }, { format: "heapsnapshot", redact: true }, { redact: "/(/" }])
        await dump(options).catch((error) => codes.push(error.code));
      console.log(JSON.stringify({ codes }));`);
    assert.deepEqual(codes, ["capture/no-space", "usage/bad-option", "usage/bad-option"]);
  });

  it("refuses what is no option: the path alone, a misspelt name", async () => {
    const { said } = await evaluate(`
      const { dump, dumpOnSignal } = await import(${JSON.stringify(producer)});
      const said = [];
      await dump("app.ndjson").catch((error) => said.push(error.code));
      await dump({ path: "app.ndjson" }).catch((error) => said.push(error.code + error.message));
      try { dumpOnSignal("SIGUSR2", { files: "x" }); } catch (error) { said.push(error.code); }
      console.log(JSON.stringify({ said }));`);
    const [path, misspelt, onSignalToo] = said as string[];
    assert.deepEqual([path, onSignalToo], ["usage/bad-option", "usage/bad-option"]);
    assert.match(misspelt ?? "", /^usage\/bad-option.*"path"/);
    assert.deepEqual(await readdir(folder), ["module.mjs"]);
  });

  it("tells where objects were made, once tracking was begun, and the process still ends", async () => {
    const { file } = await evaluate(`
      const { dump, trackAllocations } = await import(${JSON.stringify(producer)});
      trackAllocations();
      class Planted {}
      function plant() {
        return Array.from({ length: 77 }, function make() { return new Planted(); });
      }
      globalThis.kept = plant();
      const { file } = await dump({ dir: ${JSON.stringify(folder)} });
      console.log(JSON.stringify({ file }));`);
    const sites = new Map<string, number>();
    for (const line of (await readFile(String(file), "utf8")).trimEnd().split("\n")) {
      const record = JSON.parse(line) as Sited;
      if (record.class_name !== "Planted" || record.type !== "object" || !record.file) continue;
      const site = `${record.file}:${record.line}`;
      sites.set(site, (sites.get(site) ?? 0) + 1);
    }
    const module = pathToFileURL(join(folder, "module.mjs")).href;
    assert.deepEqual(Object.fromEntries(sites), { [`${module}:6`]: 77 });
  });

  it("lets a process with tracking work on while anything is left to do, unseen work too", async () => {
    // Jobs of the thread pool are no resources that Node lists: this one takes longer than two looks.
    const { lengths } = await evaluate(`
      import { pbkdf2 } from "node:crypto";
      const { trackAllocations } = await import(${JSON.stringify(producer)});
      trackAllocations();
      const lengths = [];
      await new Promise((done) => setTimeout(done, 1500));
      pbkdf2("a", "b", 2_000_000, 32, "sha512", (error, key) => {
        lengths.push(key.length);
        console.log(JSON.stringify({ lengths }));
      });`);
    assert.deepEqual(lengths, [32]);
  });

  /** Runs a module's text in a Node of its own and gives what it printed as JSON. */
  async function evaluate(text: string): Promise<Record<string, unknown>> {
    const path = join(folder, "module.mjs");
    await writeFile(path, text);
    // One of them kills itself: what it printed counts.
    const { stdout } = await promisify(execFile)(process.execPath, [path], {
      timeout: 30_000,
    }).catch((error: { signal?: string; stdout: string }) =>
      error.signal === "SIGKILL" ? error : Promise.reject(error as unknown as Error),
    );
    return JSON.parse(stdout) as Record<string, unknown>;
  }
});

type Sited = { type: string; class_name?: string; file?: string; line?: number };
type Trailer = { pid: number; counts: { objects: number; roots: number } };

/** Names of the `count` whole dumps in the folder, as soon as they are there. */
async function dumpsIn(folder: string, count: number): Promise<string[]> {
  const deadlineMs = Date.now() + 30_000;
  for (;;) {
    const names = (await readdir(folder)).filter((name) => !name.startsWith("."));
    if (names.length >= count) return names.sort();
    if (Date.now() > deadlineMs) assert.fail(`found ${names.join(", ")} only`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
