import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MongoClient, type Db } from "mongodb";
import { sameDump } from "../support/compare-dumps.js";
import { startLossyProxy } from "../support/lossy-proxy.js";
import { startMongod, testEnvironment, testServer, type OwnMongod } from "../support/mongod.js";
import { repositoryPath, run, type Outcome } from "../support/run.js";
import { skipBecause } from "../support/skip-because.js";
import { makeDump } from "../support/small-dump.js";

type Counters = Record<"lines" | "objects" | "documents" | "rejected" | "blank", number>;

/** More than ten batches of 4 MB. */
const objectCount = 110_000;

describe("an import that meets faults", function () {
  this.timeout(240_000);
  let folder: string;
  let file: string;
  let mongod: OwnMongod;
  let client: MongoClient;
  let reference: Db;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "heapdump-faults-"));
    file = join(folder, "faulty.json");
    const made = makeDump(file, objectCount);
    mongod = await startMongod();
    client = await new MongoClient(mongod.uri).connect();
    reference = client.db("reference");
    const { code, stderr } = await importing(mongod.uri, "reference", [file]).ended;
    assert.equal(code, 3, stderr);
    assert.equal(await reference.collection("faulty").countDocuments(), made.objects);
    assert.equal(await reference.collection("faulty.rejects").countDocuments(), made.rejects);
  });
  after(async () => {
    await client.close();
    await mongod.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("loses replies after the writes were done: nothing is doubled, nothing missing", async () => {
    const proxy = await startLossyProxy(mongod.port);
    proxy.loseReplies(4);
    const { code, stderr } = await importing(proxy.uri, "replies", [file]).ended;
    await proxy.close();
    assert.equal(code, 3, stderr);
    assert.equal(proxy.lost(), 4);
    await sameDump(client.db("replies"), reference, "faulty");
  });

  it("has its connections cut again and again", async () => {
    const proxy = await startLossyProxy(mongod.port);
    const running = importing(proxy.uri, "cuts", [file]);
    await midLoad(client.db("cuts"));
    let cut = 0;
    for (let round = 0; round < 8; round++) {
      cut += proxy.cut();
      await sleep(150);
    }
    const { code, stderr } = await running.ended;
    await proxy.close();
    assert.equal(code, 3, stderr);
    assert.ok(cut > 0);
    await sameDump(client.db("cuts"), reference, "faulty");
  });

  it("sees the server restart while it loads", async () => {
    const running = importing(mongod.uri, "restart", [file]);
    await midLoad(client.db("restart"));
    await mongod.kill("SIGTERM");
    assert.equal(running.child.exitCode, null, "it had ended before");
    await mongod.restart();
    const { code, stderr } = await running.ended;
    assert.equal(code, 3, stderr);
    await sameDump(client.db("restart"), reference, "faulty");
  });

  it("gives up when the server stays away, in order, and goes on later", async () => {
    const running = importing(mongod.uri, "away", [file, "--retry-for", "1"]);
    await midLoad(client.db("away"));
    await mongod.kill("SIGKILL");
    const { code, stderr } = await running.ended;
    assert.equal(code, 5, stderr);
    assert.match(stderr, /load\/no-server.*did not come back/);
    await mongod.restart();
    const again = await importing(mongod.uri, "away", [file, "--json"]).ended;
    assert.equal(again.code, 3, again.stderr);
    assert.match(again.stdout, /"resumed":true/);
    await sameDump(client.db("away"), reference, "faulty");
  });

  it("is asked to stop, and told of a changed file when it is to go on", async () => {
    const running = importing(mongod.uri, "stopped", [file]);
    await midLoad(client.db("stopped"));
    running.child.kill("SIGINT");
    const { code, stderr } = await running.ended;
    assert.equal(code, 7, stderr);
    const changed = join(folder, "changed", "faulty.json");
    mkdirSync(join(folder, "changed"));
    makeDump(changed, objectCount, 2);
    const refused = await importing(mongod.uri, "stopped", [changed]).ended;
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /load\/changed.*has changed/);
    const again = await importing(mongod.uri, "stopped", [file]).ended;
    assert.equal(again.code, 3, again.stderr);
    await sameDump(client.db("stopped"), reference, "faulty");
  });

  it("stops at once when it is asked twice, and goes on where it was", async () => {
    const running = importing(mongod.uri, "twice", [file]);
    await midLoad(client.db("twice"));
    // A server that hangs: batches in flight cannot be drained.
    process.kill(mongod.pid(), "SIGSTOP");
    running.child.kill("SIGINT");
    await sleep(500);
    assert.equal(running.child.exitCode, null, "the first one lets it drain");
    const asked = Date.now();
    running.child.kill("SIGINT");
    const { code } = await running.ended;
    assert.ok(Date.now() - asked < 1_000, "the second one does not");
    process.kill(mongod.pid(), "SIGCONT");
    assert.equal(code, 7);
    const again = await importing(mongod.uri, "twice", [file, "--json"]).ended;
    assert.equal(again.code, 3, again.stderr);
    assert.equal((JSON.parse(again.stdout) as { resumed: boolean }).resumed, true);
    await sameDump(client.db("twice"), reference, "faulty");
  });

  it("takes over the lock of an import that died here, not of one elsewhere", async () => {
    const first = importing(mongod.uri, "dead", [file]);
    await midLoad(client.db("dead"));
    first.child.kill("SIGKILL");
    await first.ended;
    const registry = client.db("dead").collection<{ _id: string }>("dumps");
    const left = await registry.findOne({ _id: "faulty.loading" });
    assert.equal((left as unknown as { lock: { pid: number } }).lock.pid, first.child.pid);
    await registry.updateOne({ _id: "faulty.loading" }, { $set: { "lock.host": "elsewhere" } });
    const refused = await importing(mongod.uri, "dead", [file]).ended;
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, new RegExp(`process ${first.child.pid} on elsewhere since`));
    assert.match(refused.stderr, /fix: /);
    const host = (left as unknown as { lock: { host: string } }).lock.host;
    await registry.updateOne({ _id: "faulty.loading" }, { $set: { "lock.host": host } });
    const again = await importing(mongod.uri, "dead", [file]).ended;
    assert.equal(again.code, 3, again.stderr);
    assert.match(again.stderr, new RegExp(`process ${first.child.pid} on ${host} had this import`));
    await sameDump(client.db("dead"), reference, "faulty");
  });

  it("ends an import that stood still while another took over, and leaves the other's dump alone", async () => {
    const db = client.db("asleep");
    const first = importing(mongod.uri, "asleep", [file]);
    await midLoad(db);
    first.child.kill("SIGSTOP");
    const registry = db.collection<{ _id: string }>("dumps");
    await registry.updateOne(
      { _id: "faulty.loading" },
      { $set: { "lock.host": "elsewhere", "lock.seen": new Date(Date.now() - 61_000) } },
    );
    const second = await importing(mongod.uri, "asleep", [file]).ended;
    assert.equal(second.code, 3, second.stderr);
    const holder = `process ${first.child.pid} on elsewhere had this import and was last seen`;
    assert.match(second.stderr, new RegExp(holder));
    await sameDump(db, reference, "faulty");
    first.child.kill("SIGCONT");
    const { code, stderr } = await first.ended;
    assert.equal(code, 1, stderr);
    assert.match(stderr, /load\/locked.*another import of faulty took over/);
    await sameDump(db, reference, "faulty");
  });

  it("begins anew with --drop where another file's load was left, even if that is killed in turn", async () => {
    const other = join(folder, "other", "faulty.json");
    mkdirSync(join(folder, "other"));
    makeDump(other, objectCount, 3);
    const first = importing(mongod.uri, "anew", [other]);
    await midLoad(client.db("anew"));
    first.child.kill("SIGKILL");
    await first.ended;
    // As if it had died at the very end: the mark must not be taken for the next load's.
    await client
      .db("anew")
      .collection<{ _id: string }>("dumps")
      .updateOne({ _id: "faulty.loading" }, { $set: { swapping: true } });
    const second = importing(mongod.uri, "anew", [file, "--drop"]);
    await sleep(100);
    await midLoad(client.db("anew"));
    second.child.kill("SIGKILL");
    await second.ended;
    const third = await importing(mongod.uri, "anew", [file, "--drop"]).ended;
    assert.equal(third.code, 3, third.stderr);
    await sameDump(client.db("anew"), reference, "faulty");
  });

  it("keeps what only the server refuses, once, also when it is killed in between", async () => {
    const db = client.db("refusing");
    const running = importing(mongod.uri, "refusing", [file]);
    // The server's own rule, there before the first document: ids of the first batch and of the last.
    const ids = [
      0x7f00_0000_0000,
      0x7f00_0000_0000 + 40,
      0x7f00_0000_0000 + (objectCount - 1) * 40,
    ];
    for (let waited = 0; ; waited++) {
      const outcome = await db
        .command({ collMod: "faulty.loading", validator: { _id: { $nin: ids } } })
        .catch(() => undefined);
      if (outcome?.ok === 1) break;
      assert.ok(waited < 5_000, "the collection is not there");
      await sleep(2);
    }
    const rejects = db.collection<{ code: string; object?: string }>("faulty.loading.rejects");
    while ((await rejects.countDocuments({ code: "server" })) === 0) await sleep(5);
    running.child.kill("SIGKILL");
    await running.ended;
    assert.ok((await rejects.countDocuments({ code: "server" })) < 3, "it was not in between");
    const rejectsFile = join(folder, "refusing.rejects");
    const again = await importing(mongod.uri, "refusing", [
      ...[file, "--json", "--rejects-file", rejectsFile],
    ]).ended;
    assert.equal(again.code, 3, again.stderr);
    const summary = JSON.parse(again.stdout) as { resumed: boolean; counters: Counters };
    assert.equal(summary.resumed, true);
    const { counters } = summary;
    const undisturbed = (await reference
      .collection<{ _id: string; counters: Counters }>("dumps")
      .findOne({ _id: "faulty" }))!.counters;
    assert.equal(counters.rejected, undisturbed.rejected + 3);
    assert.equal(counters.objects, undisturbed.objects - 3);
    assert.equal(counters.documents, undisturbed.documents - 3);
    assert.equal(counters.lines, counters.objects + counters.rejected + counters.blank);
    assert.equal(await db.collection("faulty").countDocuments(), counters.documents);
    const stored = await db
      .collection("faulty.rejects")
      .find({ code: "server" })
      .sort({ _id: 1 })
      .project<{ object: string }>({ _id: 0, object: "$_id.object" })
      .toArray();
    assert.deepEqual(
      stored.map(({ object }) => Number(object)),
      ids,
    );
    const lines = readFileSync(rejectsFile, "utf8").trim().split("\n");
    assert.equal(lines.length, counters.rejected);
    assert.equal(new Set(lines).size, lines.length);
  });

  it("finds another import of the same dump at work, and says whose", async () => {
    const running = importing(mongod.uri, "locked", [file]);
    await midLoad(client.db("locked"));
    const second = await importing(mongod.uri, "locked", [file]).ended;
    assert.equal(second.code, 1);
    assert.match(
      second.stderr,
      new RegExp(
        `load/locked.*process ${running.child.pid} on ${hostname()} since \\d{4}-\\d\\d-\\d\\dT`,
      ),
    );
    assert.equal((await running.ended).code, 3);
    await sameDump(client.db("locked"), reference, "faulty");
  });

  it("is left alone by another container of the same host name, where its pid means nothing", async function () {
    // As in a container: a pid namespace each, one host name. The second has no process nor thread of the first's pid.
    const contained = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    if (!runs([...contained, "true"])) {
      skipBecause(this, "no pid namespaces may be made here");
    }
    const db = client.db("contained");
    const pid = 201;
    const behindOthers = `i=2; while [ $i -lt ${pid} ]; do (:); i=$((i + 1)); done; "$@" & wait $!`;
    const first = importing(mongod.uri, "contained", [file], {
      within: [...contained, "sh", "-c", behindOthers, "sh"],
    });
    await midLoad(db);
    const inside = descendantsOf(first.child.pid ?? 0).at(-1) ?? 0;
    process.kill(inside, "SIGSTOP");
    const registry = db.collection<{ _id: string; lock: { pid: number } }>("dumps");
    const held = await registry.findOne({ _id: "faulty.loading" });
    assert.equal(held?.lock.pid, pid);
    const second = await importing(mongod.uri, "contained", [file], { within: contained }).ended;
    assert.equal(second.code, 1, second.stderr);
    assert.match(second.stderr, new RegExp(`load/locked.*process ${pid} on `));
    assert.match(second.stderr, /fix: .*forgotten after a minute/);
    process.kill(inside, "SIGCONT");
    const { code, stderr } = await first.ended;
    assert.equal(code, 3, stderr);
    await sameDump(db, reference, "faulty");
  });

  it("is refused by the server: at once, and the password shows nowhere", async () => {
    const canary = "canary-7b1f";
    const said: string[] = [];
    const home = mkdtempSync(join(folder, "home-"));
    const secured = await startMongod({ args: ["--auth"] });
    try {
      const admin = await new MongoClient(secured.uri).connect();
      await admin.db("admin").command({ createUser: "root", pwd: canary, roles: ["root"] });
      await admin.close();
      const at = `127.0.0.1:${secured.port}/?directConnection=true`;
      const asked = async (database: string, uri: string, ...more: string[]): Promise<Outcome> => {
        const ended = await importing(uri, database, [file, "--verbose", ...more], { home }).ended;
        said.push(ended.stdout, ended.stderr);
        return ended;
      };
      const started = Date.now();
      const refused = await asked("auth", `mongodb://root:${canary}x@${at}`);
      assert.equal(refused.code, 6, refused.stderr);
      assert.ok(Date.now() - started < 5_000);
      // Other ways to fail with a password in the URI: nobody there, no such host, no URI at all, options nobody knows.
      const elsewhere = ["127.0.0.1:9/", "nowhere.invalid/", `${at}&tls=maybe`, `${at}&nonsense=1`];
      for (const place of elsewhere) {
        const { code } = await asked("auth", `mongodb://root:${canary}@${place}`);
        assert.notEqual(code, 0);
      }
      assert.notEqual(
        (await asked("auth", `mongodb+srv://root:${canary}@nowhere.invalid/`)).code,
        0,
      );
      assert.notEqual((await asked("auth", `mongo://root:${canary}@${at}`)).code, 0);
      // And all that an import leaves that went well after it was killed.
      const uri = `mongodb://root:${canary}@${at}`;
      const reader = await new MongoClient(uri).connect();
      const killed = importing(uri, "auth", [file, "--verbose"], { home });
      await midLoad(reader.db("auth"));
      killed.child.kill("SIGTERM");
      const stopped = await killed.ended;
      said.push(stopped.stdout, stopped.stderr);
      const rejects = join(home, "rejects");
      const loaded = await asked("auth", uri, "--json", "--rejects-file", rejects);
      assert.equal(loaded.code, 3, loaded.stderr);
      for (const { name } of await reader.db("auth").listCollections({}).toArray()) {
        if (name.startsWith("system.")) continue;
        for await (const document of reader.db("auth").collection(name).find()) {
          const text = JSON.stringify(document);
          if (text.includes(canary)) assert.fail(`${name}: ${text.slice(0, 300)}`);
        }
      }
      await reader.close();
    } finally {
      await secured.stop();
    }
    for (const text of said) assert.doesNotMatch(text, new RegExp(canary));
    for (const entry of readdirSync(home, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const content = readFileSync(join(entry.parentPath, entry.name));
      assert.ok(!content.includes(canary), entry.name);
    }
  });

  it("loads into a replica set whose primary steps down, and one whose primary dies", async () => {
    const members: OwnMongod[] = [];
    try {
      for (let index = 0; index < 3; index++) {
        members.push(await startMongod({ args: ["--replSet", "faults", "--oplogSize", "200"] }));
      }
      const direct = await new MongoClient(members[0]!.uri).connect();
      await direct.db("admin").command({
        replSetInitiate: {
          _id: "faults",
          members: members.map(({ port }, _id) => ({ _id, host: `127.0.0.1:${port}` })),
          settings: { electionTimeoutMillis: 2_000 },
        },
      });
      await direct.close();
      const hosts = members.map(({ port }) => `127.0.0.1:${port}`).join(",");
      const uri = `mongodb://${hosts}/?replicaSet=faults`;
      const set = await new MongoClient(uri, { serverSelectionTimeoutMS: 60_000 }).connect();
      try {
        const stepped = importing(uri, "stepped", [file, "--writeConcern", "majority"]);
        await midLoad(set.db("stepped"));
        await set.db("admin").command({ replSetStepDown: 10, force: true });
        assert.equal(stepped.child.exitCode, null, "it had ended before");
        const outcome = await stepped.ended;
        assert.equal(outcome.code, 3, outcome.stderr);
        await sameDump(set.db("stepped"), reference, "faulty");

        const killed = importing(uri, "killed", [file, "--writeConcern", "majority"]);
        await midLoad(set.db("killed"));
        const hello = await set.db("admin").command({ hello: 1 });
        const primary = members.find(({ port }) => hello["primary"] === `127.0.0.1:${port}`);
        await primary?.kill("SIGKILL");
        assert.equal(killed.child.exitCode, null, "it had ended before");
        const survived = await killed.ended;
        assert.equal(survived.code, 3, survived.stderr);
        await sameDump(set.db("killed"), reference, "faulty");
      } finally {
        await set.close();
      }
    } finally {
      for (const member of members) await member.stop();
    }
  });

  it("fills the server's disk: the old dump stays, and the same command goes on when there is room", async function () {
    const disk = join(folder, "disk");
    mkdirSync(disk);
    if (!mounted(disk, "340m")) skipBecause(this, "no tmpfs may be mounted here");
    let small: OwnMongod | undefined;
    try {
      small = await startMongod({ dbpath: disk, args: ["--syncdelay", "2"] });
      const old = join(folder, "old.json");
      makeDump(old, 1_000);
      assert.equal((await importing(small.uri, "before", [old]).ended).code, 3);
      const big = join(folder, "big.json");
      makeDump(big, 300_000);
      const full = await importing(small.uri, "full", [big, "--retry-for", "3"]).ended;
      assert.ok(full.code === 1 || full.code === 5, full.stderr);
      assert.match(full.stderr, /load\/(disk-full|no-server)/);
      await small.kill("SIGKILL");
      execFileSync("mount", ["-o", "remount,size=1g", disk]);
      await small.restart();
      const there = await new MongoClient(small.uri).connect();
      assert.equal(await there.db("before").collection("old").countDocuments(), 1_003);
      const again = await importing(small.uri, "full", [big, "--json"]).ended;
      assert.equal(again.code, 3, again.stderr);
      assert.equal((JSON.parse(again.stdout) as { resumed: boolean }).resumed, true);
      assert.equal((await importing(mongod.uri, "undisturbed", [big]).ended).code, 3);
      await sameDump(there.db("full"), client.db("undisturbed"), "big");
      await there.close();
    } finally {
      await small?.kill("SIGKILL");
      execFileSync("umount", ["-l", disk]);
    }
  });
});

describe("a disk of ours that is full", function () {
  this.timeout(60_000);
  const rejected = '{"address":"0x10","type":"STRING"}\n'.repeat(4_000);
  let disk: string;
  let isMounted = false;
  before(() => {
    disk = mkdtempSync(join(tmpdir(), "heapdump-disk-"));
    isMounted = mounted(disk, "64k");
  });
  after(() => {
    if (isMounted) execFileSync("umount", ["-l", disk]);
    rmSync(disk, { recursive: true, force: true });
  });

  it("is told of when it is the spool's, and the spool is removed", async function () {
    if (!isMounted) skipBecause(this, "no tmpfs may be mounted here");
    const { uri } = await testServer();
    const { code, stderr } = await run("heapdump-import", ["--uri", uri, "--db", "spool", "-"], {
      input: rejected,
      environment: { TMPDIR: disk },
    });
    assert.equal(code, 1, stderr);
    assert.match(stderr, /decode\/spool.*the disk is full/);
    assert.deepEqual(readdirSync(disk), []);
  });

  it("is told of when it is that of the rejects", async function () {
    if (!isMounted) skipBecause(this, "no tmpfs may be mounted here");
    const { uri } = await testServer();
    const file = mkdtempSync(join(tmpdir(), "heapdump-rejects-"));
    writeFileSync(join(file, "rejects.json"), rejected);
    const { code, stderr } = await run("heapdump-import", [
      ...["--uri", uri, "--db", "spool", "--rejects-file", join(disk, "rejects")],
      join(file, "rejects.json"),
    ]);
    rmSync(file, { recursive: true });
    assert.equal(code, 1, stderr);
    assert.match(stderr, /decode\/spool.*--rejects-file: .*the disk is full/);
    assert.equal(statSync(join(disk, "rejects")).mode & 0o777, 0o600);
  });
});

type Importing = { readonly child: ReturnType<typeof spawn>; readonly ended: Promise<Outcome> };

/** Starts an import with several batches in flight. */
function importing(
  uri: string,
  database: string,
  args: readonly string[],
  { home, within = [] }: { home?: string; within?: readonly string[] } = {},
): Importing {
  const [command = "", ...before] = [...within, process.execPath];
  const child = spawn(
    command,
    [
      ...before,
      repositoryPath("dist/bin/heapdump-import.js"),
      ...["--uri", uri, "--db", database, "-j", "3", ...args],
    ],
    {
      env: { ...testEnvironment(), ...(home === undefined ? {} : { HOME: home, TMPDIR: home }) },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, "close").then(([code]) => ({ code: code as number, stdout, stderr }));
  return { child, ended };
}

/** Waits until the first documents are there. */
async function midLoad(db: Db): Promise<void> {
  for (let waited = 0; waited < 60_000; waited += 10) {
    if ((await db.collection("faulty.loading").findOne({ type: "OBJECT" })) !== null) return;
    await sleep(10);
  }
  throw new Error("no document is ever loaded");
}

function runs([command = "", ...args]: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** Pids below a process, the innermost last: each has one child. */
function descendantsOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  const child = Number(text.split(" ").at(-1));
  return text === "" ? [] : [child, ...descendantsOf(child)];
}

function mounted(folder: string, size: string): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder], {
      stdio: "ignore",
    });
    return true;
  } catch {
    return false;
  }
}
