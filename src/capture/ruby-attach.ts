import { execFile } from "node:child_process";
import {
  chmod,
  chown,
  copyFile,
  mkdtemp,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { arch, platform, userInfo } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { kill } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { HeapdumpError } from "../errors.js";
import { processError, rubyProcess, type RubyProcess } from "./ruby-process.js";

export type RubyCaptureOptions = {
  readonly pid: number;
  /** Path of the dump, or of the counts. Replaced if it exists. */
  readonly out: string;
  readonly signal: AbortSignal;
  /** For all of it: waiting for a safe point, and the dump. */
  readonly timeoutMs: number;
  /** count: the gem's `count_objects` as JSON. */
  readonly mode: "dump" | "count";
  /** For count: classes and namespaces under `user_types`. */
  readonly names?: readonly string[];
  readonly redact?: boolean;
  /** Run the collector in the child first. Default: true. */
  readonly gc?: boolean;
};

export type RubyCapture = {
  readonly path: string;
  readonly rubyVersion: string | undefined;
  /** How often the debugger attached: more than once where the process was at no good place. */
  readonly attempts: number;
};

const producerPath = fileURLToPath(new URL("../../../ruby/heap_dump.rb", import.meta.url));
const debuggerScriptPath = fileURLToPath(new URL("../../../ruby/register_job.py", import.meta.url));
const moduleName = "HeapDumpFromDebugger";
/** The debugger starts, attaches, works and detaches in a fifth of a second. */
const debuggerTimeoutMs = 20_000;
const pauseBetweenAttemptsMs = 100;
const pollMs = 20;
/** A wake-up can come before the thread sleeps again: repeat it. */
const wakeEveryMs = 250;
const capabilitySysPtrace = 19n;
const wakeSignals = [
  // Ruby handles these, and does nothing but look for interrupts where the application set no handler of its own.
  { name: "SIGCHLD", number: 17n },
  { name: "SIGVTALRM", number: 26n },
  { name: "SIGWINCH", number: 28n },
] as const;

/**
 * Dumps a running Ruby that has loaded nothing of ours, or counts its objects.
 *
 * gdb attaches for a moment and has Ruby evaluate one line at its own next safe point (see ruby/register_job.py). That
 * line forks; the child loads heap_dump.rb and dumps, the process itself goes on. Costs it the stop, the fork and one
 * page of memory.
 *
 * @throws {HeapdumpError} `capture/no-process`, `capture/not-supported` (no Ruby, or not on Linux x86-64),
 * `capture/no-permission`, `capture/no-debugger`, `capture/busy`, `capture/no-space`, `capture/failed`
 */
export async function captureRuby(options: RubyCaptureOptions): Promise<RubyCapture> {
  const { pid, signal } = options;
  const deadline = Date.now() + options.timeoutMs;
  if (platform() !== "linux" || arch() !== "x64") {
    throw new HeapdumpError(
      "capture/not-supported",
      `dumping a Ruby from outside works on Linux x86-64 only: use HeapDump.on_signal in process ${pid}`,
    );
  }
  const owner = await ownerOf(pid);
  await checkPermission(pid, owner);
  const ruby = await rubyProcess(pid);
  if (ruby === undefined) {
    throw new HeapdumpError("capture/not-supported", `process ${pid} is no Ruby`);
  }
  const stage = await makeStage(options, owner);
  try {
    await writeFile(join(stage.outside, "child.rb"), await childCode(options), {
      mode: 0o600,
    });
    await writeFile(join(stage.outside, "go"), "", { mode: 0o600 });
    await stage.handOver(["child.rb", "go"]);
    const attempts = await registerJob(ruby, loaderCode(stage.inside), deadline, signal);
    await waitForResult(pid, stage.outside, deadline, signal);
    await moveFile(join(stage.outside, "result"), options.out);
    return { path: resolve(options.out), rubyVersion: ruby.rubyVersion, attempts };
  } finally {
    // Without it, a job that was not yet run does nothing when it is.
    await rm(stage.outside, { recursive: true, force: true });
  }
}

async function ownerOf(pid: number): Promise<number> {
  try {
    return (await stat(`/proc/${pid}`)).uid;
  } catch (error) {
    throw processError(pid, error);
  }
}

/** Says beforehand, and with the reason, what the debugger would be refused. */
async function checkPermission(pid: number, owner: number): Promise<void> {
  const own = userInfo().uid;
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch((error: unknown) => {
    throw processError(pid, error);
  });
  const tracer = /^TracerPid:\t(\d+)/m.exec(status)?.[1];
  if (tracer !== undefined && tracer !== "0") {
    throw new HeapdumpError("capture/busy", `process ${pid} is traced by process ${tracer}`);
  }
  if (/^State:\t[ZX]/m.test(status)) {
    throw new HeapdumpError("capture/no-process", `process ${pid} has ended`);
  }
  if (await mayTraceAll()) return;
  if (own !== owner) {
    throw new HeapdumpError(
      "capture/no-permission",
      own === 0
        ? `process ${pid} belongs to another user (uid ${owner}), and CAP_SYS_PTRACE is missing here`
        : `process ${pid} belongs to another user (uid ${owner}), this is uid ${own}`,
    );
  }
  const scope = await readFile("/proc/sys/kernel/yama/ptrace_scope", "utf8").catch(() => "0");
  if (scope.trim() !== "0") {
    throw new HeapdumpError(
      "capture/no-permission",
      `kernel.yama.ptrace_scope is ${scope.trim()}: only root (CAP_SYS_PTRACE) may attach`,
    );
  }
}

async function mayTraceAll(): Promise<boolean> {
  const status = await readFile("/proc/self/status", "utf8");
  const capabilities = BigInt(`0x${/^CapEff:\t([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  return ((capabilities >> capabilitySysPtrace) & 1n) === 1n;
}

type Stage = {
  /** The folder as we see it, and as the process does: in a container these differ. */
  readonly outside: string;
  readonly inside: string;
  readonly handOver: (files: readonly string[]) => Promise<void>;
};

/** A private folder that the process can write: beside the result where it can, else in its own /tmp. */
async function makeStage(options: RubyCaptureOptions, owner: number): Promise<Stage> {
  const { pid, out } = options;
  const own = userInfo().uid;
  const sameFiles =
    (await readlink(`/proc/${pid}/ns/mnt`).catch(() => "")) ===
      (await readlink("/proc/self/ns/mnt")) &&
    (await readlink(`/proc/${pid}/root`).catch(() => "")) === "/";
  const beside = sameFiles && own === owner;
  const root = beside ? "" : `/proc/${pid}/root`;
  const folder = beside ? dirname(resolve(out)) : "/tmp";
  let outside: string;
  try {
    outside = await mkdtemp(`${root}${folder}/.heapdump-`); // 0700
  } catch (error) {
    throw new HeapdumpError("capture/failed", `cannot make a folder in ${folder}`, {
      cause: error,
    });
  }
  const handOver = async (files: readonly string[]): Promise<void> => {
    if (own === owner) return;
    for (const file of files) await chown(join(outside, file), owner, -1);
    await chown(outside, owner, -1);
  };
  return { outside, inside: `${folder}/${basename(outside)}`, handOver };
}

/** A Ruby expression for any path, whatever bytes are in it. */
function rubyString(text: string): string {
  return `[${JSON.stringify(Buffer.from(text).toString("hex"))}].pack("H*").force_encoding("UTF-8")`;
}

/**
 * What the process itself evaluates: forks, and raises nothing. Must fit one page.
 *
 * The threads' values are taken here because in the child the other threads are gone.
 */
function loaderCode(stage: string): string {
  return `
begin
  lambda do
    stage = ${rubyString(stage)}
    begin
      File.unlink(stage + "/go")
    rescue SystemCallError
      next
    end
    threads = (Thread.list - [Thread.current]).map do |thread|
      seen = ObjectSpace.respond_to?(:reachable_objects_from) && ObjectSpace.respond_to?(:dump)
      objects = if seen then ObjectSpace.reachable_objects_from(thread)
                else thread.keys.map { |k| thread[k] } + thread.thread_variables.map { |k| thread.thread_variable_get(k) }
                end
      [thread, thread.status, objects, seen ? ObjectSpace.dump(thread) : nil]
    end
    child = Process.fork do
      begin
        eval(File.read(stage + "/child.rb", encoding: "UTF-8"), binding, stage + "/child.rb")
      rescue Exception => error
        File.write(stage + "/failed", error.class.to_s + ": " + error.message)
      ensure
        Process.exit!(1)
      end
    end
    Process.detach(child)
  rescue Exception => error
    begin
      File.write(stage + "/failed", error.class.to_s + ": " + error.message)
    rescue Exception
      nil
    end
  end.call
rescue Exception
  nil
end
`;
}

/** What the forked child evaluates: our producer, then the wish. */
async function childCode(options: RubyCaptureOptions): Promise<string> {
  // Under a name of its own: the process may have a HeapDump, ours or the old gem's.
  const producer = (await readFile(producerPath, "utf8")).replaceAll(/\bHeapDump\b/g, moduleName);
  const names = (options.names ?? []).map(rubyString).join(", ");
  return `${producer}
${moduleName}::FromOutside.run(
  stage, threads,
  mode: ${JSON.stringify(options.mode)}, names: [${names}], gc: ${String(options.gc ?? true)},
  redact: ${String(options.redact ?? false)}, timeout: ${Math.ceil(options.timeoutMs / 1_000)}
)
`;
}

/** Attaches until the thread is at a good place. Gives the number of attempts. */
async function registerJob(
  ruby: RubyProcess,
  code: string,
  deadline: number,
  signal: AbortSignal,
): Promise<number> {
  if (ruby.registerAddress === undefined || ruby.syscallAddress === undefined) {
    throw new HeapdumpError(
      "capture/not-supported",
      `Ruby ${ruby.rubyVersion ?? "(unknown version)"} of process ${ruby.pid} has no rb_postponed_job_register_one: use HeapDump.on_signal`,
    );
  }
  for (let attempts = 1; ; attempts++) {
    signal.throwIfAborted();
    const { outcome, text } = await runDebugger(ruby, code);
    if (outcome === "registered") return attempts;
    if (outcome === "failed") {
      throw new HeapdumpError("capture/failed", `gdb in process ${ruby.pid}: ${text}`);
    }
    if (Date.now() + pauseBetweenAttemptsMs > deadline) {
      throw new HeapdumpError("capture/busy", `${text}, ${attempts} times in a row`);
    }
    await sleep(pauseBetweenAttemptsMs);
  }
}

type DebuggerOutcome = {
  readonly outcome: "registered" | "busy" | "failed";
  readonly text: string;
};

async function runDebugger(ruby: RubyProcess, code: string): Promise<DebuggerOutcome> {
  const hex = (address: bigint | undefined): string => `0x${(address ?? 0n).toString(16)}`;
  const options = [
    ["-nx", "-nh", "-batch", "-iex", "set auto-load off", "-iex", "set auto-solib-add off"],
    // Nothing may ask the network, or a person, while the process stands still.
    ["-iex", "set debuginfod enabled off", "-iex", "set confirm off"],
    ["-p", String(ruby.pid), "-x", debuggerScriptPath],
  ].flat();
  const env = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LC_ALL: "C",
    HEAPDUMP_REGISTER_ADDRESS: hex(ruby.registerAddress),
    HEAPDUMP_EVAL_ADDRESS: hex(ruby.evalAddress),
    HEAPDUMP_SYSCALL_ADDRESS: hex(ruby.syscallAddress),
    HEAPDUMP_UNSAFE_RANGES: ruby.unsafeRanges
      .map(({ start, end }) => `${start.toString(16)}-${end.toString(16)}`)
      .join(","),
    HEAPDUMP_CODE: code,
  };
  const { error, output } = await new Promise<{ error: Error | null; output: string }>((done) => {
    // SIGTERM: gdb detaches on it.
    execFile("gdb", options, { env, timeout: debuggerTimeoutMs }, (error, stdout, stderr) =>
      done({ error, output: `${stdout}\n${stderr}` }),
    );
  });
  if ((error as NodeJS.ErrnoException | null)?.code === "ENOENT") {
    throw new HeapdumpError("capture/no-debugger", "gdb is not installed");
  }
  const answer = /^heapdump: (registered|busy|failed) (.*)$/m.exec(output);
  if (answer !== null) {
    return { outcome: answer[1] as DebuggerOutcome["outcome"], text: answer[2] ?? "" };
  }
  throw debuggerError(ruby.pid, output);
}

function debuggerError(pid: number, output: string): HeapdumpError {
  if (/[Pp]ython scripting is not supported|Scripting in the "Python" language/.test(output)) {
    return new HeapdumpError("capture/no-debugger", "this gdb is built without Python");
  }
  if (/Operation not permitted|Permission denied/.test(output)) {
    return new HeapdumpError(
      "capture/no-permission",
      `gdb may not attach to process ${pid} (in a container: --cap-add=SYS_PTRACE)`,
    );
  }
  if (/No such process/.test(output)) {
    return new HeapdumpError("capture/no-process", `process ${pid} has ended`);
  }
  const last = output.trim().split("\n").at(-1) ?? "no output";
  return new HeapdumpError("capture/failed", `gdb: ${last.slice(0, 200)}`);
}

/** The job is taken when `go` is gone; the child writes `result` or `failed`. */
async function waitForResult(
  pid: number,
  stage: string,
  deadline: number,
  signal: AbortSignal,
): Promise<void> {
  let wakeAt = 0;
  for (;;) {
    signal.throwIfAborted();
    if (await exists(join(stage, "result"))) return;
    const failure = await readFile(join(stage, "failed"), "utf8").catch(() => undefined);
    if (failure !== undefined && failure !== "") throw childError(pid, failure);
    const isTaken = !(await exists(join(stage, "go")));
    if (Date.now() > deadline) {
      throw isTaken
        ? new HeapdumpError("capture/failed", `the dump of process ${pid} took too long`)
        : new HeapdumpError("capture/busy", `process ${pid} reached no safe point in time`);
    }
    if (!isTaken && Date.now() >= wakeAt) {
      await wake(pid);
      wakeAt = Date.now() + wakeEveryMs;
    }
    await sleep(pollMs);
  }
}

function childError(pid: number, failure: string): HeapdumpError {
  const code = /MB free in |no space left/.test(failure) ? "capture/no-space" : "capture/failed";
  return new HeapdumpError(code, `in the child of process ${pid}: ${failure.slice(0, 300)}`);
}

/** A thread that sleeps or waits for input looks for jobs when a signal comes that Ruby itself handles. */
async function wake(pid: number): Promise<void> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch((error: unknown) => {
    throw processError(pid, error);
  });
  const caught = BigInt(`0x${/^SigCgt:\t([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  // Never one that is not caught: its default could end the process.
  const usable = wakeSignals.find(({ number }) => ((caught >> (number - 1n)) & 1n) === 1n);
  if (usable !== undefined) kill(pid, usable.name);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Moves across file systems too: then under a temporary name first. */
async function moveFile(from: string, to: string): Promise<void> {
  const target = resolve(to);
  const part = join(dirname(target), `.${basename(target)}.part`);
  try {
    await rename(from, target).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "EXDEV") throw error;
      await copyFile(from, part);
      await rename(part, target);
    });
    await chmod(target, 0o600);
    if (userInfo().uid === 0) await chown(target, 0, -1);
  } catch (error) {
    await rm(part, { force: true });
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOSPC") {
      throw new HeapdumpError("capture/no-space", `no space left for ${target}`, { cause: error });
    }
    throw new HeapdumpError("capture/failed", `cannot write ${target}`, { cause: error });
  }
}
