/// <reference lib="es2024.sharedmemory" />
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import v8 from "node:v8";
import {
  getEnvironmentData,
  isMainThread,
  setEnvironmentData,
  threadId,
} from "node:worker_threads";
import { HeapdumpError } from "../errors.js";
import { convertApart } from "./convert-apart.js";
import { countObjectsThrough, type ObjectCounts } from "./count-objects.js";
import { ensureReplaceable } from "./out-file.js";
import { dumpBytesMax, ensureSpace } from "./disk-space.js";
import { dumpName } from "./dump-name.js";
import { HeapdumpInspector } from "./inspector-session.js";
import { askedMode, textOfMode } from "../redaction.js";
import { trackAllocations } from "./track-allocations.js";

export { trackAllocations };

export type DumpOptions = {
  /** Folder of the dump. Default: the current one. */
  readonly dir?: string;
  /**
   * Name of the dump; `%p` stands for the pid (`PID_wTHREAD` in a worker thread), `%t` for the time. One that is there
   * is replaced. Default: `dump_%p_%t.ndjson`.
   */
  readonly file?: string;
  /** ndjson: our own lines, ready for import; heapsnapshot: V8's file, as it is. Default: ndjson. */
  readonly format?: "ndjson" | "heapsnapshot";
  /**
   * Replaces the contents of strings by length and a keyed hash: all (`true`), "values", or those that fit a pattern,
   * as `heapdump-import --redact`. For ndjson only. The key is HEAPDUMP_REDACT_KEY, else a new one for each dump.
   */
  readonly redact?: boolean | string | RegExp;
  /** Begins `trackAllocations`, at its price: from now on, so for the next dump. */
  readonly trackAllocations?: boolean;
};

export type Dumped = {
  readonly file: string;
  readonly bytes: number;
  /** How long this thread stood still. */
  readonly pauseMs: number;
};

export type SignalOptions = DumpOptions & {
  readonly onDump?: (dumped: Dumped) => void;
  /** Default: a process warning. */
  readonly onError?: (error: unknown) => void;
};

/**
 * Writes a dump of this thread's heap: collects garbage first, 0600, under a temporary name until it is whole.
 *
 * The thread stands still as long as `v8.writeHeapSnapshot` takes; the conversion runs in a process of its own. A call
 * while another runs gives the running one's dump.
 *
 * @throws {HeapdumpError} `capture/no-space`, `capture/failed`, `usage/bad-option`
 */
export async function dump(options: DumpOptions = {}): Promise<Dumped> {
  checkOptions(options);
  running ??= dumpAlone(options).finally(() => (running = undefined));
  return running;
}

let running: Promise<Dumped> | undefined;

const optionNames: readonly string[] = Object.keys({
  dir: 1,
  file: 1,
  format: 1,
  redact: 1,
  trackAllocations: 1,
  onDump: 1,
  onError: 1,
} satisfies Record<keyof SignalOptions, 1>);

/** JavaScript has no types: a dump elsewhere than where it was wanted is found too late. */
function checkOptions(options: unknown): void {
  if (typeof options !== "object" || options === null) {
    throw new HeapdumpError(
      "usage/bad-option",
      `expected options, like { file: "app.ndjson" }, found a ${typeof options}`,
    );
  }
  for (const name of Object.keys(options)) {
    if (optionNames.includes(name)) continue;
    throw new HeapdumpError(
      "usage/bad-option",
      `there is no option "${name.slice(0, 60)}"; there are ${optionNames.join(", ")}`,
    );
  }
}

async function dumpAlone(options: DumpOptions): Promise<Dumped> {
  const format = options.format ?? "ndjson";
  const redaction = askedMode(options.redact);
  if (format === "heapsnapshot" && redaction !== undefined) {
    throw new HeapdumpError("usage/bad-option", "redact works with the format ndjson only");
  }
  if (options.trackAllocations === true) trackAllocations();
  const at = new Date();
  const file = freeName(
    dumpName(options.dir ?? ".", options.file, format, { pid: process.pid, threadId, at }),
    options.file === undefined,
  );
  await ensureReplaceable(file);
  const folder = dirname(file);
  const heap = v8.getHeapStatistics();
  await ensureSpace(folder, dumpBytesMax(heap.used_heap_size, format === "ndjson"));
  const snapshot = join(folder, `.${basename(file)}.${randomBytes(6).toString("hex")}.part`);
  // Made by us and exclusively, so that nobody's link is followed.
  await (await open(snapshot, "wx", 0o600)).close();
  try {
    const startMs = performance.now();
    v8.writeHeapSnapshot(snapshot);
    const pauseMs = performance.now() - startMs;
    if (format === "heapsnapshot") {
      await rename(snapshot, file);
      return { file, bytes: (await stat(file)).size, pauseMs };
    }
    const header = headerFields(at, heap);
    const { bytes } = await convertApart({
      snapshot,
      file,
      redact: redaction === undefined ? undefined : textOfMode(redaction),
      header,
    });
    return { file, bytes, pauseMs };
  } finally {
    await rm(snapshot, { force: true });
  }
}

/**
 * Counts this thread's objects by kind, and those of the named classes, as the gem's `count_objects`.
 *
 * Costs a full collection and one walk of the heap, in which the thread stands still: 50 ms for a small
 * application, 0.6 s and 100 MB for a million objects (bench/count-objects.ts). For a health endpoint give
 * `maxAgeMs`: a younger answer to the same question is given again.
 *
 * @param names - classes, names of classes, namespaces (`"MyApp."`), or objects whose members are classes
 */
export async function countObjects(
  names: readonly (string | object)[] = [],
  options: { readonly maxAgeMs?: number } = {},
): Promise<ObjectCounts> {
  const wanted = [...new Set(names.flatMap(classNames))].sort();
  const question = wanted.join("\n");
  const atMs = performance.now();
  if (lastCount?.question === question && atMs - lastCount.atMs < (options.maxAgeMs ?? 0))
    return lastCount.counts;
  const session = new HeapdumpInspector();
  session.connect();
  try {
    const counts = await countObjectsThrough(
      (method, parameters) =>
        new Promise((done, failed) => {
          session.post(method, { ...parameters }, (error, result) => {
            if (error === null) done(result);
            else failed(new HeapdumpError("capture/failed", `${method}: ${error.message}`));
          });
        }),
      wanted,
    );
    lastCount = { question, atMs, counts };
    return counts;
  } finally {
    session.disconnect();
  }
}

let lastCount:
  { readonly question: string; readonly atMs: number; readonly counts: ObjectCounts } | undefined;

function classNames(name: string | object): string[] {
  if (typeof name === "string") return [name];
  const members: unknown[] = typeof name === "function" ? [name] : Object.values(name);
  return members.flatMap((member) =>
    typeof member === "function" && member.name !== "" ? [member.name] : [],
  );
}

/**
 * Dumps upon a signal: this process, and every worker thread of it that has called this too (they inherit
 * `--require heapdump-mongo/on-signal`), each to its own file.
 *
 * Until then it costs nothing: the main thread has a signal handler, a worker thread waits on four shared bytes,
 * neither keeps the process alive. A signal while a dump is made is ignored.
 *
 * @returns a function that ends it
 */
export function dumpOnSignal(
  signalName: NodeJS.Signals = "SIGUSR2",
  options: SignalOptions = {},
): () => void {
  checkOptions(options);
  if (options.trackAllocations === true) trackAllocations();
  const dumpNow = (): void => {
    if (running !== undefined) return;
    const failed =
      options.onError ?? ((error: unknown): void => process.emitWarning(warningOf(error)));
    dump(options).then(options.onDump, failed);
  };
  if (!isMainThread) return onSharedCall(dumpNow);
  const calls = sharedCalls() ?? new Int32Array(new SharedArrayBuffer(4));
  setEnvironmentData(environmentKey, calls.buffer);
  const onSignal = (): void => {
    Atomics.add(calls, 0, 1);
    Atomics.notify(calls, 0);
    dumpNow();
  };
  process.on(signalName, onSignal);
  return () => process.off(signalName, onSignal);
}

const environmentKey = "heapdump-mongo";

/** The number of signals so far, shared with the worker threads that were started since `dumpOnSignal`. */
function sharedCalls(): Int32Array | undefined {
  const buffer: unknown = getEnvironmentData(environmentKey);
  return buffer instanceof SharedArrayBuffer ? new Int32Array(buffer) : undefined;
}

/** Waits for the main thread's word without a handle, a timer or a listener: signals reach the main thread only. */
function onSharedCall(listener: () => void): () => void {
  const calls = sharedCalls();
  let ended = calls === undefined;
  const wait = (): void => {
    if (ended || calls === undefined) return;
    const call = Atomics.waitAsync(calls, 0, Atomics.load(calls, 0));
    void Promise.resolve(call.value).then(() => {
      if (ended) return;
      wait();
      listener();
    });
  };
  wait();
  return () => (ended = true);
}

/** Two dumps of one second must not replace each other where nobody gave the name. */
function freeName(file: string, isOurs: boolean): string {
  let free = file;
  for (let n = 2; isOurs && existsSync(free); n++) free = file.replace(/(\.[^.]+)$/, `_${n}$1`);
  return free;
}

function warningOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function headerFields(at: Date, heap: v8.HeapInfo): Record<string, unknown> {
  return {
    producer: "heapdump-mongo",
    runtime: "node",
    runtime_version: process.versions.node,
    pid: process.pid,
    ...(threadId === 0 ? {} : { thread_id: threadId }),
    host: hostname(),
    // Without further arguments: they may hold passwords.
    command: [basename(process.execPath), ...process.argv.slice(1, 2)].join(" "),
    taken_at: at.toISOString(),
    process_started_at: new Date(performance.timeOrigin).toISOString(),
    gc: {
      total_heap_bytes: heap.total_heap_size,
      used_heap_bytes: heap.used_heap_size,
      heap_limit_bytes: heap.heap_size_limit,
      external_bytes: heap.external_memory,
    },
  };
}
