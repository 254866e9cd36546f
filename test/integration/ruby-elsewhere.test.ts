import assert from "node:assert/strict";
import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { execPath, kill } from "node:process";
import { userInfo } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { repositoryPath } from "../support/run.js";
import { skipBecause } from "../support/skip-because.js";

const nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
const withoutPtrace = ["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"];
const ruby = ["ruby", "-e", "$stdout.sync = true; Thread.new { sleep }; puts 'ready'; sleep 60"];

describe("heapdump-dump, on a Ruby of another user or in other namespaces", () => {
  let child: ChildProcess | undefined;
  before(function () {
    if (userInfo().uid !== 0) skipBecause(this, "only root can make these");
  });
  afterEach(() => {
    if (child?.pid !== undefined && child.exitCode === null) kill(child.pid, "SIGKILL");
  });

  it("root counts one in a pid and mount namespace of its own", async function () {
    const apart = ["--pid", "--mount", "--fork", "--kill-child"];
    // In an ordinary container root has not CAP_SYS_ADMIN.
    mustRun(this, "unshare", [...apart, "true"]);
    const pid = await start("unshare", [...apart, ...ruby]);
    const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
    const inner = Number(text.trim());
    assert.deepEqual(await count([], inner), { status: 0, code: undefined });
    kill(inner, 0);
  });

  it("root counts another user's, and so does that user", async function () {
    mustRun(this, "setpriv", [...nobody, "true"]);
    const pid = await start("setpriv", [...nobody, ...ruby]);
    assert.deepEqual(await count([], pid), { status: 0, code: undefined });
    const scope = await readFile("/proc/sys/kernel/yama/ptrace_scope", "utf8").catch(() => "0");
    const expected =
      scope.trim() === "0"
        ? { status: 0, code: undefined }
        : { status: 1, code: "capture/no-permission" };
    assert.deepEqual(await count(["setpriv", ...nobody], pid), expected);
    kill(pid, 0);
  });

  it("root without CAP_SYS_PTRACE is refused another user's, which goes on", async function () {
    mustRun(this, "setpriv", [...nobody, "true"]);
    mustRun(this, "setpriv", [...withoutPtrace, "true"]);
    const pid = await start("setpriv", [...nobody, ...ruby]);
    const refused = { status: 1, code: "capture/no-permission" };
    assert.deepEqual(await count(["setpriv", ...withoutPtrace], pid), refused);
    assert.doesNotMatch(await readFile(`/proc/${pid}/status`, "utf8"), /^State:\t[TtZ]/m);
  });

  /** Skips the test where this root may not do what it needs, and says which command was refused. */
  function mustRun(context: Mocha.Context, command: string, argv: readonly string[]): void {
    const { status, stderr } = spawnSync(command, argv, { encoding: "utf8" });
    if (status !== 0) skipBecause(context, `${command}: ${(stderr ?? "").trim() || "not found"}`);
  }

  async function start(command: string, argv: readonly string[]): Promise<number> {
    child = spawn(command, [...argv], { stdio: ["ignore", "pipe", "inherit"] });
    assert.ok(child.stdout !== null && child.pid !== undefined);
    await once(child.stdout, "data");
    await sleep(100);
    return child.pid;
  }
});

function count(prefix: readonly string[], pid: number) {
  const [command = "", ...argv] = [
    ...prefix,
    ...[execPath, repositoryPath("dist/bin/heapdump-dump.js")],
    ...["--pid", String(pid), "--count", "--timeout", "20"],
  ];
  return new Promise((done) =>
    execFile(command, argv, { timeout: 40_000 }, (error, _, stderr) =>
      done({
        status: typeof error?.code === "number" ? error.code : 0,
        code: /error \[([^\]]+)\]/.exec(stderr)?.[1],
      }),
    ),
  );
}
