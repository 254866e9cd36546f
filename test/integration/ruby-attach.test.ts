import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { fileURLToPath } from "node:url";
import {
  askWorker,
  dumpLines,
  endServer,
  load,
  plantedLeak,
  rubyServer,
  type RubyServer,
} from "../support/ruby-server.js";

describe("heapdump-dump, on a running Ruby that has loaded nothing of ours", () => {
  let folder: string;
  let server: RubyServer;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
    server = await rubyServer();
    for (let n = 0; n < 53; n++) await askWorker(first(), `/leak/${n}`);
  });
  after(async () => {
    await endServer(server);
    await rm(folder, { recursive: true, force: true });
  });
  const first = () => server.workers[0] ?? assert.fail("no worker");

  it("dumps it 20 times in a row under load: it keeps serving, and each dump has its own numbers", async () => {
    const before = await askWorker(first(), "/numbers");
    assert.equal(before.kept, 53);
    const clients = load(server.workers);
    const file = join(folder, "dump.json");
    for (let round = 1; round <= 20; round++) {
      // In turns with leaks, so that a dump that came late would show.
      const own = await askWorker(first(), "/leak/again");
      await run(["--pid", String(first().pid), "--out", file], 0);
      const leak = plantedLeak(await dumpLines(file));
      assert.deepEqual(leak, {
        pid: first().pid,
        isWhole: true,
        kept: 53 + round,
        requests: own.requests,
        closures: 53 + round,
        ownedByRemember: 53 + round,
        capturedRequests: 53 + round,
      });
    }
    const { answers, slowestMs } = await clients.stop();
    assert.ok(answers > 100, `it answered ${answers} times meanwhile`);
    assert.ok(slowestMs < 5_000, `the slowest answer took ${slowestMs} ms`);
    const own = await askWorker(first(), "/numbers");
    assert.deepEqual(own, { ...before, kept: 73, requests: 73 }, "no file left open, none lost");
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder), ["dump.json"]);
    assert.doesNotMatch(await readFile(`/proc/${first().pid}/status`, "utf8"), /^State:\t[TtZ]/m);
  }).timeout(180_000);

  it("counts its objects", async () => {
    const { stdout } = await run(["--pid", String(first().pid), "--count", "Request"], 0);
    const own = await askWorker(first(), "/numbers");
    const counts = JSON.parse(stdout) as { user_types: unknown };
    assert.deepEqual(counts.user_types, { Request: own.requests });
    assert.deepEqual(Object.keys(counts), [
      "total_slots",
      "free_slots",
      "basic_types",
      "user_types",
    ]);
  });

  it("redacts", async () => {
    const file = join(folder, "redacted.json");
    await run(["--pid", String(first().pid), "--out", file, "--redact"], 0);
    const text = await readFile(file, "utf8");
    assert.match(text, /"redacted":"hmac:/);
    assert.doesNotMatch(text, /body of \/leak/);
    await run(["--pid", String(first().pid), "--out", file, "--redact=/BODY OF/i"], 0);
    const less = await readFile(file, "utf8");
    assert.match(less, /"redacted":"hmac:/);
    assert.doesNotMatch(less, /body of \/leak/);
    assert.match(less, /"value":"/);
  });

  it("wakes a process wherever it waits", async () => {
    const waits = [
      "sleep",
      "loop {}",
      "IO.pipe.first.read",
      "Queue.new.pop",
      "Thread.new { sleep }.join",
      // The thread that ran last is not the one that signals wake.
      "require 'socket'; s = TCPServer.new('127.0.0.1', 0); [0, 1].map { Thread.new { s.accept } }.each(&:join)",
    ];
    for (const code of waits) {
      const ruby = spawn("ruby", [
        "-e",
        `$stdout.puts; $stdout.flush; Thread.new { sleep }; ${code}`,
      ]);
      try {
        await once(ruby.stdout, "data");
        await run(["--pid", String(ruby.pid), "--count"], 0);
        assert.equal(ruby.exitCode, null, `${code}: it lives on`);
      } finally {
        ruby.kill("SIGKILL");
      }
    }
  });

  it("refuses, with the reason, what it cannot do", async () => {
    const pid = String(first().pid);
    const out = ["--out", join(folder, "refused.json")];
    const sleeper = spawn("sleep", ["60"]);
    try {
      await refuses(["--pid", String(sleeper.pid), ...out], "capture/not-supported");
    } finally {
      sleeper.kill();
    }
    await refuses(["--pid", "4194303", ...out], "capture/no-process");
    await refuses(["--pid", pid, ...out], "capture/no-debugger", { PATH: "/nonexistent" });
    await refuses(["--pid", pid, "--out", join(folder, "missing", "x.json")], "capture/");
    const before = await askWorker(first(), "/numbers");
    assert.equal(before.pid, first().pid, "it still serves");
  });

  it("refuses another user's process", async function () {
    // Only root can become another user; elsewhere pid 1 is another's.
    const isRoot = userInfo().uid === 0;
    const pid = isRoot ? first().pid : 1;
    const code = `
      const [tool, pid, out, isRoot] = process.argv.slice(1);
      if (isRoot === "true") { process.setgid(65534); process.setuid(65534); }
      process.argv = [process.execPath, tool, "--pid", pid, "--out", out];
      await import(tool);`;
    const argv = [
      "--input-type=module",
      "-e",
      code,
      tool,
      String(pid),
      join(tmpdir(), `refused-${pid}.json`),
    ];
    const { status, stderr } = await execute([...argv, String(isRoot)]);
    assert.deepEqual([status, /\[capture\/no-permission\]/.test(stderr)], [1, true], stderr);
  });
});

const tool = fileURLToPath(new URL("../../bin/heapdump-dump.js", import.meta.url));

async function run(argv: readonly string[], status: number, environment = {}) {
  const done = await execute([tool, ...argv], environment);
  assert.equal(done.status, status, done.stderr);
  return done;
}

async function refuses(argv: readonly string[], code: string, environment = {}): Promise<void> {
  const { stderr } = await run(argv, 1, environment);
  assert.ok(stderr.includes(`error [${code}`), stderr);
}

function execute(
  argv: readonly string[],
  environment = {},
): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((done) =>
    execFile(
      execPath,
      [...argv],
      { env: { ...env, ...environment }, timeout: 60_000 },
      (error, stdout, stderr) =>
        done({ status: typeof error?.code === "number" ? error.code : 0, stdout, stderr }),
    ),
  );
}
