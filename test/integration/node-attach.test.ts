import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import {
  answers,
  ask,
  endAll,
  freePort,
  leakingNode,
  newestNode,
  run,
} from "../support/node-process.js";
import { leakInSnapshot } from "../support/raw-snapshot.js";

describe("heapdump-dump, on a running Node that has loaded nothing of ours", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
  });
  afterEach(async () => {
    await endAll();
    await rm(folder, { recursive: true });
  });

  it("dumps it while it serves: the leak's numbers are the process's own, the inspector is closed again", async () => {
    // Started with nothing special but a port of its own: 9229 may be in use by others on this machine.
    const port = await freePort();
    const { numbers } = await leakingNode([`--inspect-port=${port}`]);
    const server = numbers[0]?.port as number;
    const pid = numbers[0]?.pid as number;
    const before = await ask(server, "/leak/45");
    assert.equal(before.sessions, 345);
    for (const round of [1, 2]) {
      const file = join(folder, `${round}.heapsnapshot`);
      const dumping = run("heapdump-dump", ["--pid", String(pid), "--out", file]);
      let during = 0;
      let isOver = false;
      void dumping.finally(() => (isOver = true));
      while (!isOver) {
        assert.equal((await ask(server, "/numbers")).sessions, 345);
        during++;
        await new Promise((done) => setTimeout(done, 10));
      }
      assert.deepEqual(await dumping, { code: 0, stdout: `${file}\n`, stderr: "" });
      assert.ok(during > 5, `it answered ${during} times meanwhile`);
      assert.deepEqual(await leakInSnapshot(file), { sessions: 345, held: before.listeners });
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      assert.equal(await answers(port), false);
    }
    assert.deepEqual(await readdir(folder), ["1.heapsnapshot", "2.heapsnapshot"]);
    assert.equal((await ask(server, "/leak/1")).sessions, 346);
  });

  it("dumps the newest LTS of Node, and is refused where that was started with --disable-sigusr1", async function () {
    this.timeout(150_000);
    const node = await newestNode();
    if (node === undefined) this.skip(); // npm reaches no registry: not tried, and told so.
    const port = await freePort();
    const { numbers } = await leakingNode([`--inspect-port=${port}`], {}, 1, node);
    const server = numbers[0]?.port as number;
    const { sessions, listeners } = await ask(server, "/leak/45");
    const file = join(folder, "newest.heapsnapshot");
    const pid = String(numbers[0]?.pid);
    const outcome = await run("heapdump-dump", ["--pid", pid, "--out", file]);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.deepEqual(await leakInSnapshot(file), { sessions, held: listeners });
    assert.equal(await answers(port), false);
    for (const [argv, environment] of [
      [["--disable-sigusr1"], {}],
      [[], { NODE_OPTIONS: "--disable-sigusr1" }],
    ] as const) {
      const closed = await leakingNode(argv, environment, 1, node);
      const refused = await run("heapdump-dump", [
        ...["--pid", String(closed.numbers[0]?.pid), "--out", join(folder, "none.ndjson")],
      ]);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /was started with --disable-sigusr1.*on-signal/);
      assert.equal((await ask(closed.numbers[0]?.port as number, "/numbers")).sessions, 300);
    }
    assert.deepEqual(await readdir(folder), ["newest.heapsnapshot"]);
  });

  it("finds the default port", async () => {
    const { numbers } = await leakingNode();
    // Others on this machine may hold 9229 for a moment: that is told, and no failure of ours.
    for (let attempt = 1; ; attempt++) {
      const { code, stdout, stderr } = await run("heapdump-dump", [
        ...["--pid", String(numbers[0]?.pid)],
        ...["--count", "LeakedSession"],
      ]);
      if (stderr.includes("capture/port-taken") && attempt < 20) {
        await new Promise((done) => setTimeout(done, 500));
        continue;
      }
      assert.equal(code, 0, stderr);
      assert.equal((JSON.parse(stdout) as Counts).user_types["LeakedSession"], 300);
      return;
    }
  });

  it("counts its objects in the gem's shape", async () => {
    const { numbers } = await leakingNode([`--inspect-port=${await freePort()}`]);
    await ask(numbers[0]?.port as number, "/leak/11");
    const { code, stdout } = await run("heapdump-dump", [
      ...["--pid", String(numbers[0]?.pid)],
      ...["--count", "LeakedSession", "NoSuchClass"],
    ]);
    assert.equal(code, 0);
    const counts = JSON.parse(stdout) as Counts;
    assert.deepEqual(counts.user_types, { LeakedSession: 311 });
    assert.equal(counts.free_slots, 0);
    assert.ok((counts.basic_types["function"] ?? 0) > 311, "each listener is a function");
    const kinds = Object.values(counts.basic_types).reduce((sum, count) => sum + count, 0);
    assert.ok(kinds <= counts.total_slots && kinds > 0.9 * counts.total_slots);
  });

  it("leaves an inspector open that was open before, and talks to one by URL", async () => {
    const port = await freePort();
    const { numbers } = await leakingNode([`--inspect=127.0.0.1:${port}`]);
    for (const target of [
      ["--pid", String(numbers[0]?.pid)],
      ["--url", `http://127.0.0.1:${port}`],
    ]) {
      const { code, stdout } = await run("heapdump-dump", [...target, "--count", "LeakedSession"]);
      assert.equal(code, 0);
      assert.equal((JSON.parse(stdout) as Counts).user_types["LeakedSession"], 300);
      assert.equal(await answers(port), true);
    }
  });

  it("dumps each worker of a cluster", async () => {
    // The primary gives each worker the next port.
    const { numbers } = await leakingNode(
      [`--inspect-port=${await freePort()}`],
      { LEAK_IN: "cluster" },
      2,
    );
    const primary = numbers.find(({ sessions }) => sessions === 300)?.pid;
    const { code, stdout } = await run("heapdump-dump", [
      ...["--workers", String(primary)],
      ...["--count", "LeakedSession"],
    ]);
    assert.equal(code, 0);
    assert.equal((JSON.parse(stdout) as Counts).user_types["LeakedSession"], 700);
  });

  it("closes the inspector when it is stopped in the middle, and leaves no file", async () => {
    const port = await freePort();
    const { numbers } = await leakingNode([`--inspect-port=${port}`]);
    // Enough for a second of V8's work.
    await ask(numbers[0]?.port as number, "/leak/100000");
    const script = fileURLToPath(new URL("../../bin/heapdump-dump.js", import.meta.url));
    const file = join(folder, "never.ndjson");
    const argv = [script, "--pid", String(numbers[0]?.pid), "--out", file];
    const dumping = spawn(process.execPath, argv, { stdio: "ignore" });
    while ((await readdir(folder)).length === 0) await new Promise((done) => setTimeout(done, 10));
    dumping.kill("SIGINT");
    const [code] = (await once(dumping, "exit")) as [number];
    assert.equal(code, 7);
    assert.deepEqual(await readdir(folder), []);
    assert.equal(await answers(port), false);
    assert.equal((await ask(numbers[0]?.port as number, "/numbers")).sessions, 100_300);
  });

  it("converts a snapshot without a database, and refuses a cut one", async () => {
    const { numbers } = await leakingNode([`--inspect-port=${await freePort()}`]);
    const raw = join(folder, "app.heapsnapshot");
    const out = join(folder, "app.ndjson.gz");
    await run("heapdump-dump", ["--pid", String(numbers[0]?.pid), "--out", raw]);
    assert.deepEqual(await run("heapdump-dump", ["--convert", raw, "--out", out]), {
      ...{ code: 0, stdout: `${out}\n`, stderr: "" },
    });
    const snapshot = await readFile(raw);
    const lines = gunzipSync(await readFile(out))
      .toString()
      .trimEnd()
      .split("\n");
    const { node_count } = (JSON.parse(snapshot.toString()) as Head).snapshot;
    assert.equal(lines.length, node_count + 2, "a header, a trailer, and a line for each node");
    await writeFile(raw, snapshot.subarray(0, snapshot.length - 1000));
    await rm(out);
    const { code, stderr } = await run("heapdump-dump", ["--convert", raw, "--out", out]);
    assert.equal(code, 4);
    assert.match(stderr, /^error \[decode\/corrupt\] .*byte \d+: the snapshot ends here/);
    assert.deepEqual(await readdir(folder), ["app.heapsnapshot"]);
  });

  describe("refuses, with the reason and without harm,", () => {
    it("what is neither Node nor Ruby", async () => {
      const sleeper = spawn("sleep", ["30"]);
      try {
        await refuses(sleeper.pid, "capture/not-supported", /sleep: neither Ruby nor Node/);
      } finally {
        sleeper.kill();
      }
    });

    it("a process that is not there", () => refuses(4_194_303, "capture/no-process", /4194303/));

    it("a zombie", async () => {
      // The shell's child ends at once; the program that replaces the shell never waits for it.
      const parent = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 30"]);
      const [pid] = (await once(parent.stdout, "data")) as [Buffer];
      await new Promise((done) => setTimeout(done, 300));
      try {
        await refuses(Number(pid.toString()), "capture/no-process", /zombie/);
      } finally {
        parent.kill();
      }
    });

    it("another user's process", async () => {
      const { numbers } = await leakingNode();
      // As root we can become somebody else; anybody else finds root's process 1.
      const isRoot = process.getuid?.() === 0;
      const pid = isRoot ? numbers[0]?.pid : 1;
      await refuses(
        pid,
        "capture/no-permission",
        /belongs to user 0/,
        isRoot ? { uid: 65_534 } : {},
      );
    });

    it("a port that another process holds, and names it", async () => {
      const holder = createServer().listen(0, "127.0.0.1");
      await once(holder, "listening");
      const { port } = holder.address() as { port: number };
      const { numbers } = await leakingNode([`--inspect-port=${port}`]);
      try {
        await refuses(
          numbers[0]?.pid,
          "capture/port-taken",
          new RegExp(`port ${port}, which process ${process.pid} `),
        );
      } finally {
        holder.close();
      }
      assert.equal((await ask(numbers[0]?.port as number, "/numbers")).sessions, 300);
    });

    it("a process that SIGUSR1 would end", async () => {
      const { numbers } = await leakingNode([], { SIGUSR1_IS: "deadly" });
      await refuses(numbers[0]?.pid, "capture/not-supported", /does not handle SIGUSR1/);
      assert.equal((await ask(numbers[0]?.port as number, "/numbers")).sessions, 300);
    });

    it("a process that handles SIGUSR1 itself", async () => {
      const port = await freePort();
      const { numbers } = await leakingNode([`--inspect-port=${port}`], { SIGUSR1_IS: "handled" });
      await refuses(numbers[0]?.pid, "capture/failed", /handles SIGUSR1 itself/);
      assert.equal((await ask(numbers[0]?.port as number, "/numbers")).sessions, 300);
    });

    it("a process in a network namespace of its own", async () => {
      const isRoot = process.getuid?.() === 0;
      const argv = [isRoot ? "-n" : "-rn", process.execPath, "-e", "setInterval(() => {}, 1000)"];
      const contained = spawn("unshare", argv);
      try {
        // unshare becomes node: the pid is the same.
        await new Promise((done) => setTimeout(done, 500));
        await refuses(contained.pid, "capture/not-supported", /another network namespace/);
      } finally {
        contained.kill();
      }
    });

    it("a URL where no inspector answers", async () => {
      const { numbers } = await leakingNode();
      for (const port of [await freePort(), numbers[0]?.port]) {
        const url = `http://127.0.0.1:${port}`;
        const { code, stderr } = await run("heapdump-dump", ["--url", url, "--count"]);
        assert.equal(code, 1);
        assert.match(stderr, /^error \[capture\/failed\] .*inspector/);
      }
    });

    it("two targets at once", async () => {
      const { code, stderr } = await run("heapdump-dump", ["--pid", "1", "--workers", "1"]);
      assert.equal(code, 2);
      assert.match(stderr, /--pid, --workers/);
    });
  });
});

type Head = { snapshot: { node_count: number } };
type Counts = {
  total_slots: number;
  free_slots: number;
  basic_types: Record<string, number>;
  user_types: Record<string, number>;
};

async function refuses(
  pid: number | undefined,
  failure: string,
  reason: RegExp,
  options: { uid?: number } = {},
): Promise<void> {
  const argv = ["--pid", String(pid), "--count", "--timeout", "2"];
  const { code, stderr } = await run("heapdump-dump", argv, options);
  assert.equal(code, 1, stderr);
  assert.ok(stderr.startsWith(`error [${failure}] `), stderr);
  assert.match(stderr, reason);
}
