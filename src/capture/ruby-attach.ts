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
import { arch, userInfo } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { env as environment, kill } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { HeapdumpError } from "../errors.js";
import { textOfMode, type RedactionMode } from "../redaction.js";
import type { Captured, CaptureOptions } from "./capture.js";
import type { ObjectCounts } from "./count-objects.js";
import { temporaryFolder } from "./out-file.js";
import { readProc, type ProcessInfo } from "./process-info.js";
import { rubyProcess, type PostponedJob, type RubyProcess } from "./ruby-process.js";

type Wish =
  | { readonly mode: "dump"; readonly redact: RedactionMode | undefined }
  | { readonly mode: "count"; readonly names: readonly string[] };

const producerPath = fileURLToPath(new URL("../../../ruby/heap_dump.rb", import.meta.url));
const debuggerScriptPath = fileURLToPath(new URL("../../../ruby/register_job.py", import.meta.url));
const moduleName = "HeapDumpFromDebugger";
const timeoutDefaultMs = 60_000;
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
 * Dumps a running Ruby that has loaded nothing of ours.
 *
 * gdb attaches for a moment and has Ruby evaluate one line at its own next safe point (see ruby/register_job.py). That
 * line forks; the child loads heap_dump.rb and dumps, the process itself goes on. Costs it the stop, the fork and one
 * page of memory.
 *
 * @throws {HeapdumpError} `capture/no-process`, `capture/not-supported` (no CRuby, or not on x86-64),
 * `capture/no-permission`, `capture/no-debugger`, `capture/busy`, `capture/no-space`, `capture/failed`
 */
export async function captureRuby(info: ProcessInfo, options: CaptureOptions): Promise<Captured> {
  const file = resolve(options.file);
  await inChildOf(info, { mode: "dump", redact: options.redact }, file, options);
  const { size: bytes } = await stat(file);
  return { pid: info.pid, runtime: "ruby", file, bytes, format: "ndjson" };
}

/** Counts the objects of a running Ruby: the gem's `count_objects`, in a forked child too. Throws as `captureRuby`. */
export async function countRuby(
  info: ProcessInfo,
  names: readonly string[],
  options: Omit<CaptureOptions, "file">,
): Promise<ObjectCounts> {
  const folder = await temporaryFolder("heapdump-count-");
  try {
    const file = join(folder, "counts.json");
    await inChildOf(info, { mode: "count", names }, file, options);
    return JSON.parse(await readFile(file, "utf8")) as ObjectCounts;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Has a child of the process fulfil the wish; its result is then at `file`. */
async function inChildOf(
  info: ProcessInfo,
  wish: Wish,
  file: string,
  options: Omit<CaptureOptions, "file">,
): Promise<void> {
  const { pid } = info;
  const timeoutMs = options.timeoutMs ?? timeoutDefaultMs;
  const deadline = Date.now() + timeoutMs;
  const { signal } = options;
  if (arch() !== "x64") {
    throw new HeapdumpError(
      "capture/not-supported",
      `dumping a Ruby from outside works on x86-64 only: use HeapDump.on_signal in process ${pid}`,
    );
  }
  await checkPermission(info);
  const ruby = await rubyProcess(pid);
  if (ruby === undefined) {
    throw new HeapdumpError("capture/not-supported", `process ${pid} is no CRuby`);
  }
  const stage = await makeStage(info, file);
  try {
    const code = await childCode(wish, timeoutMs);
    await writeFile(join(stage.outside, "child.rb"), code, { mode: 0o600 });
    await writeFile(join(stage.outside, "go"), "", { mode: 0o600 });
    await stage.handOver(["child.rb", "go"]);
    await registerJob(ruby, loaderCode(stage.inside), deadline, signal);
    await waitForResult(pid, stage.outside, deadline, signal);
    await moveFile(join(stage.outside, "result"), file);
  } finally {
    // Without it, a job that was not yet run does nothing when it is.
    await rm(stage.outside, { recursive: true, force: true });
  }
}

/** Says beforehand, and with the reason, what the debugger would be refused. */
async function checkPermission({ pid, uid: owner }: ProcessInfo): Promise<void> {
  const own = userInfo().uid;
  const tracer = /^TracerPid:\t(\d+)/m.exec(await readProc(pid, "status"))?.[1];
  if (tracer !== undefined && tracer !== "0") {
    throw new HeapdumpError("capture/busy", `process ${pid} is traced by process ${tracer}`);
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
async function makeStage(info: ProcessInfo, file: string): Promise<Stage> {
  const { pid, uid: owner } = info;
  const own = userInfo().uid;
  const sameFiles =
    !info.elsewhere.files && (await readlink(`/proc/${pid}/root`).catch(() => "")) === "/";
  const beside = sameFiles && own === owner;
  const root = beside ? "" : `/proc/${pid}/root`;
  const folder = beside ? dirname(file) : "/tmp";
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
async function childCode(wish: Wish, timeoutMs: number): Promise<string> {
  // Under a name of its own: the process may have a HeapDump, ours or the old gem's.
  const producer = (await readFile(producerPath, "utf8")).replaceAll(/\bHeapDump\b/g, moduleName);
  const timeoutS = Math.ceil(timeoutMs / 1_000);
  return wish.mode === "dump"
    ? `${producer}\n${moduleName}::FromOutside.dump(stage, threads, redact: ${wish.redact === undefined ? "false" : rubyString(textOfMode(wish.redact))}, timeout: ${timeoutS})\n`
    : `${producer}\n${moduleName}::FromOutside.count(stage, [${wish.names.map(rubyString).join(", ")}], timeout: ${timeoutS})\n`;
}

/** Attaches until the thread is at a good place. */
async function registerJob(
  ruby: RubyProcess,
  code: string,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (ruby.postponedJob === undefined || ruby.syscallAddress === undefined) {
    throw new HeapdumpError(
      "capture/not-supported",
      `Ruby ${ruby.rubyVersion ?? "(unknown version)"} of process ${ruby.pid} takes no postponed jobs: use HeapDump.on_signal`,
    );
  }
  for (let attempts = 1; ; attempts++) {
    signal?.throwIfAborted();
    const { outcome, text } = await runDebugger(ruby, code);
    if (outcome === "registered") return;
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

/** For the debugger's script. */
function addressesOf(
  job: PostponedJob | undefined,
  hex: (address: bigint | undefined) => string,
): Record<string, string> {
  if (job === undefined || "registerAddress" in job) {
    return {
      HEAPDUMP_REGISTER_ADDRESS: hex(job?.registerAddress),
      HEAPDUMP_CURRENT_ADDRESS: hex(job?.currentContextAddress),
      HEAPDUMP_THREAD_MAIN_ADDRESS: hex(job?.mainThreadAddress),
    };
  }
  return {
    HEAPDUMP_REGISTER_ADDRESS: hex(job.preregisterAddress),
    HEAPDUMP_TRIGGER_ADDRESS: hex(job.triggerAddress),
  };
}

async function runDebugger(ruby: RubyProcess, code: string): Promise<DebuggerOutcome> {
  const hex = (address: bigint | undefined): string => `0x${(address ?? 0n).toString(16)}`;
  const options = [
    ["-nx", "-nh", "-batch", "-iex", "set auto-load off", "-iex", "set auto-solib-add off"],
    // Nothing may ask the network, or a person, while the process stands still.
    ["-iex", "set debuginfod enabled off", "-iex", "set confirm off"],
    ["-p", String(ruby.pid), "-x", debuggerScriptPath],
  ].flat();
  const env = {
    PATH: environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin",
    LC_ALL: "C",
    ...addressesOf(ruby.postponedJob, hex),
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
  signal: AbortSignal | undefined,
): Promise<void> {
  let wakeAt = 0;
  for (;;) {
    signal?.throwIfAborted();
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
  const caught = /^SigCgt:\t([0-9a-f]+)/m.exec(await readProc(pid, "status"))?.[1];
  const mask = BigInt(`0x${caught ?? "0"}`);
  // Never one that is not caught: its default could end the process.
  const usable = wakeSignals.find(({ number }) => ((mask >> (number - 1n)) & 1n) === 1n);
  if (usable !== undefined) kill(pid, usable.name);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Moves across file systems too: then under a temporary name first. */
async function moveFile(from: string, target: string): Promise<void> {
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
