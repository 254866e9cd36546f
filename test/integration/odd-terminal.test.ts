import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  closeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { writeTextfile } from "../../bin/shared/write-textfile.js";
import { startMongod, testEnvironment, type OwnMongod } from "../support/mongod.js";
import { repositoryPath } from "../support/run.js";
import { skipBecause } from "../support/skip-because.js";

/** Traces of what only we should see. */
const stack = /^ +at |node:|broken-promise|EPIPE/m;

describe("the commands in odd places", function () {
  this.timeout(60_000);
  let folder: string;
  let dump: string;
  let mongod: OwnMongod;
  let client: MongoClient;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "heapdump-odd-"));
    chmodSync(folder, 0o755);
    dump = join(folder, "odd.json");
    writeFileSync(dump, '{"address":"0x10","type":"OBJECT","class_name":"Shop"}\n{"broken\n');
    mongod = await startMongod();
    client = await new MongoClient(mongod.uri).connect();
  });
  after(async () => {
    await client.close();
    await mongod.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  type Stdio = "ignore" | "pipe" | number;
  /** Runs a command whose outputs go to what is given; "gone" is a pipe that nobody reads. */
  async function runInto(
    command: string,
    args: readonly string[],
    { stdout = "pipe", stderr = "pipe" }: { stdout?: Stdio | "gone"; stderr?: Stdio | "gone" },
  ): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const kind = (one: Stdio | "gone"): Stdio => (one === "gone" ? "pipe" : one);
    const child = spawn(
      process.execPath,
      [repositoryPath(`dist/bin/${command}.js`), ...args, "--uri", mongod.uri, "--db", "odd"],
      { env: testEnvironment(), stdio: ["ignore", kind(stdout), kind(stderr)] },
    );
    const said = { stdout: "", stderr: "" };
    for (const [name, wanted] of [
      ["stdout", stdout],
      ["stderr", stderr],
    ] as const) {
      if (wanted === "gone") child[name]?.destroy();
      else child[name]?.on("data", (chunk: Buffer) => (said[name] += chunk.toString()));
    }
    const [code] = (await once(child, "close")) as [number | null];
    return { code, ...said };
  }

  it("keep their exit code where nobody reads what they say", async () => {
    const args = ["--json", "--drop", "--verbose", dump];
    const answered = await runInto("heapdump-import", args, { stdout: "gone" });
    assert.equal(answered.code, 3, answered.stderr);
    assert.doesNotMatch(answered.stderr, stack);
    const told = await runInto("heapdump-import", args, { stderr: "gone" });
    assert.equal(told.code, 3);
    assert.equal((JSON.parse(told.stdout) as { dump: string }).dump, "odd");
    const neither = await runInto("heapdump-import", args, { stdout: "gone", stderr: "gone" });
    assert.equal(neither.code, 3);
    assert.equal(await client.db("odd").collection("odd").countDocuments(), 1);
    const asked = await runInto("heapdump-query", ["classes"], { stdout: "gone" });
    assert.equal(asked.code, 0, asked.stderr);
    assert.equal(asked.stderr, "");
    const refused = await runInto("heapdump-query", ["nonsense"], { stderr: "gone" });
    assert.equal(refused.code, 2);
  });

  it("say that their answer could not be written", async function () {
    if (!existsSync("/dev/full")) skipBecause(this, "no /dev/full here");
    const full = openSync("/dev/full", "w");
    try {
      for (const [command, ...args] of [
        ["heapdump-import", "--json", "--drop", dump],
        ["heapdump-query", "classes"],
        ["heapdump-query", "--help"],
      ] as const) {
        const { code, stderr } = await runInto(command, args, { stdout: full });
        assert.equal(code, 1, stderr);
        assert.match(
          stderr,
          /^error \[report\/not-written\] standard output: the disk is full\nfix: /m,
        );
        assert.doesNotMatch(stderr, stack);
      }
      const { code } = await runInto("heapdump-import", ["--drop", dump], { stderr: full });
      assert.equal(code, 3);
    } finally {
      closeSync(full);
    }
  });

  it("do not empty a dump that is named as the file of its rejects", async () => {
    const content = readFileSync(dump, "utf8");
    const names = ["symbolic", "hard"].map((name) => join(folder, name));
    symlinkSync(dump, names[0] as string);
    linkSync(dump, names[1] as string);
    for (const name of [dump, ...names]) {
      const { code, stderr } = await runInto(
        "heapdump-import",
        ["--drop", "--rejects-file", name, dump],
        {},
      );
      assert.equal(code, 2, stderr);
      assert.match(stderr, /usage\/bad-option.* is the dump itself/);
      assert.equal(readFileSync(dump, "utf8"), content);
    }
  });

  it("end when the file of the rejects cannot be made, and work in a folder that is gone", async () => {
    const nowhere = join(folder, "nowhere", "rejects");
    const args = ["--drop", "--rejects-file", nowhere, dump];
    const { code, stderr } = await runInto("heapdump-import", args, {});
    assert.equal(code, 1, stderr);
    assert.match(stderr, /decode\/spool.*--rejects-file: .*its folder does not exist/);
    const gone = spawnSync(
      "sh",
      [
        ...["-c", 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"', join(folder, "gone")],
        ...[process.execPath, repositoryPath("dist/bin/heapdump-import.js")],
        ...["--drop", dump, "--uri", mongod.uri, "--db", "odd"],
      ],
      { env: testEnvironment(), encoding: "utf8", timeout: 30_000 },
    );
    assert.equal(gone.status, 3, gone.stderr);
    assert.match(gone.stderr, /^next: .*heapdump-query/m);
  });

  it("put no dump in the place of a folder or a device", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    const link = join(folder, "stdout");
    symlinkSync("/proc/self/fd/1", link);
    for (const out of [folder, pipe, link]) {
      for (const what of [
        ["--convert", dump],
        ["--pid", String(process.pid)],
      ]) {
        const { status, stderr } = spawnSync(
          process.execPath,
          [repositoryPath("dist/bin/heapdump-dump.js"), ...what, "--out", out],
          { env: testEnvironment(), encoding: "utf8" },
        );
        assert.equal(status, 2, stderr);
        assert.match(stderr, /usage\/bad-option.*: is (a folder|no regular file), a dump cannot/);
      }
    }
    assert.ok(lstatSync(pipe).isFIFO());
    assert.ok(lstatSync(link).isSymbolicLink());
    // Metrics are written to where it leads.
    const reader = spawn("cat", [pipe], { stdio: ["ignore", "pipe", "inherit"] });
    const read = once(reader.stdout, "data") as Promise<[Buffer]>;
    await writeTextfile(pipe, "heapdump 1\n", 0o644);
    assert.equal((await read)[0].toString(), "heapdump 1\n");
    assert.ok(lstatSync(pipe).isFIFO());
  });

  it("say that there is no folder for temporary files, before the process is asked", () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        ...[repositoryPath("dist/bin/heapdump-dump.js"), "--pid", String(process.pid)],
        ...["--import", "--uri", mongod.uri],
      ],
      { env: { ...testEnvironment(), TMPDIR: join(folder, "nowhere") }, encoding: "utf8" },
    );
    assert.equal(status, 1, stderr);
    assert.match(stderr, /capture\/no-space.*nowhere \(ENOENT\); TMPDIR names another place/);
    assert.doesNotMatch(stderr, stack);
  });

  it("work for a user without a name and a home, who is told where one is needed", async function () {
    const stranger = ["--reuid", "54321", "--regid", "54321", "--clear-groups"];
    const script = repositoryPath("dist/bin/heapdump-import.js");
    const { HEAPDUMP_HOME: _home, HOME: _user, ...environment } = testEnvironment();
    const asStranger = (...args: string[]) =>
      spawnSync("setpriv", [...stranger, ...args], {
        env: { ...environment, HEAPDUMP_LOCAL_PORT: "0" },
        encoding: "utf8",
        cwd: "/",
      });
    const isReadable = `require("node:fs").accessSync(${JSON.stringify(script)})`;
    if (asStranger(process.execPath, "-e", isReadable).status !== 0) {
      skipBecause(this, "this user cannot become another one that may read this folder");
    }
    const args = [process.execPath, script, "--db", "stranger", dump];
    const there = asStranger(...args, "--uri", mongod.uri);
    assert.equal(there.status, 3, there.stderr);
    const nowhere = asStranger(...args);
    assert.equal(nowhere.status, 1, nowhere.stderr);
    assert.match(nowhere.stderr, /load\/no-home.*HOME is not set\nfix: .*HEAPDUMP_HOME/);
    assert.doesNotMatch(nowhere.stderr, stack);
  });
});
