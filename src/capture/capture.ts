import { HeapdumpError } from "../errors.js";
import type { OnProgress } from "../../schemas/progress.js";
import { processInfo, runtimeOf, type ProcessInfo, type Runtime } from "./process-info.js";
import { captureNode, countNode } from "./node-attach.js";
import { captureRuby, countRuby } from "./ruby-attach.js";

export { workersOf } from "./process-info.js";

/** What a capture from outside may be told. */
export type CaptureOptions = {
  /** File to write; what it holds is `Captured.format`. Written under a temporary name, renamed when whole, 0600. */
  readonly file: string;
  /** Leave out the contents of strings. Node: the caller redacts when it converts. */
  readonly redact?: boolean;
  /** The longest a process may take to answer. Default: 60,000. */
  readonly timeoutMs?: number;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
};

export type Captured = {
  readonly pid: number;
  readonly runtime: Runtime;
  readonly file: string;
  readonly bytes: number;
  /** heapsnapshot: V8's own, still to be converted; ndjson: our producers' lines. */
  readonly format: "heapsnapshot" | "ndjson";
};

/** The gem's answer to `count_objects`. */
export type ObjectCounts = {
  /** Ruby: slots of the heap. Node: objects found (V8 has no slots). */
  readonly total_slots: number;
  /** Node: 0. */
  readonly free_slots: number;
  readonly basic_types: Readonly<Record<string, number>>;
  readonly user_types: Readonly<Record<string, number>>;
};

/**
 * Dumps the heap of a running process that has loaded nothing of ours.
 *
 * @throws {HeapdumpError} `capture/…`, with the reason, before anything was done to the process where that is possible
 */
export async function capture(pid: number, options: CaptureOptions): Promise<Captured> {
  const { info, runtime } = await known(pid);
  return runtime === "node" ? captureNode(info, options) : captureRuby(info, options);
}

/**
 * Counts the objects of a running process, those of the named classes and namespaces too.
 *
 * @throws {HeapdumpError} as `capture`
 */
export async function countOf(
  pid: number,
  names: readonly string[],
  options: Omit<CaptureOptions, "file">,
): Promise<ObjectCounts> {
  const { info, runtime } = await known(pid);
  return runtime === "node" ? countNode(info, names, options) : countRuby(info, names, options);
}

async function known(pid: number): Promise<{ info: ProcessInfo; runtime: Runtime }> {
  const info = await processInfo(pid);
  const runtime = await runtimeOf(info);
  if (runtime === undefined) {
    throw new HeapdumpError(
      "capture/not-supported",
      `process ${pid} runs ${info.executable}: neither Ruby nor Node`,
    );
  }
  return { info, runtime };
}
