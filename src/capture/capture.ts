import { HeapdumpError } from "../errors.js";
import type { RedactionMode } from "../redaction.js";
import type { OnProgress } from "../../schemas/progress.js";
import {
  childrenOf,
  processInfo,
  runtimeOf,
  type ProcessInfo,
  type Runtime,
} from "./process-info.js";
import type { ObjectCounts } from "./count-objects.js";
import { captureNode, countNode, type NodeTarget } from "./node-attach.js";
import { captureRuby, countRuby } from "./ruby-attach.js";

/** What a process may take to answer, where the caller does not say. */
const timeoutMsDefault = 60_000;

/** What a capture from outside may be told. */
export type CaptureOptions = {
  /** File to write; what it holds is `Captured.format`. Written under a temporary name, renamed when whole, 0600. */
  readonly file: string;
  /** Leave out the contents of strings. Node: the caller redacts when it converts. */
  readonly redact?: RedactionMode | undefined;
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
  /** Of a heapsnapshot: fields of the header line for its conversion. */
  readonly header?: Readonly<Record<string, unknown>>;
};

/**
 * Dumps the heap of a running process that has loaded nothing of ours.
 *
 * @throws {HeapdumpError} `capture/…`, with the reason, before anything was done to the process where that is possible
 */
export async function capture(pid: number, options: CaptureOptions): Promise<Captured> {
  const { info, runtime } = await known(pid);
  return runtime === "node" ? dumpNode(info, options) : captureRuby(info, options);
}

/**
 * Dumps the Node whose inspector is open at `url`: `http://host:port`, or the `ws://…` that Node prints.
 *
 * @throws {HeapdumpError} `capture/failed`, `capture/no-space`
 */
export async function captureUrl(url: string, options: CaptureOptions): Promise<Captured> {
  return dumpNode({ url }, options);
}

/** Counts the objects of the Node whose inspector is open at `url`. @throws {HeapdumpError} `capture/failed` */
export async function countUrl(
  url: string,
  names: readonly string[],
  options: Omit<CaptureOptions, "file">,
): Promise<ObjectCounts> {
  return countNode({ url }, names, { timeoutMs: timeoutMsDefault, ...options });
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
  return runtime === "node"
    ? countNode(info, names, { timeoutMs: timeoutMsDefault, ...options })
    : countRuby(info, names, options);
}

/** The pids of a process's children, ascending: the workers of a preforking server or a cluster. */
export function workersOf(parentPid: number): Promise<number[]> {
  return childrenOf(parentPid);
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

async function dumpNode(target: NodeTarget, options: CaptureOptions): Promise<Captured> {
  const { file, bytes, header } = await captureNode(target, {
    timeoutMs: timeoutMsDefault,
    ...options,
  });
  return {
    pid: Number(header["pid"]),
    runtime: "node",
    file,
    bytes,
    format: "heapsnapshot",
    header,
  };
}
