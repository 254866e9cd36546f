import { randomBytes } from "node:crypto";
import { open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { HeapdumpError } from "../errors.js";
import type { OnProgress } from "../../schemas/progress.js";
import { countObjectsThrough, type ObjectCounts } from "./count-objects.js";
import { dumpBytesMax, ensureSpace } from "./disk-space.js";
import type { InspectorClient } from "./inspector-client.js";
import { joinInspector, openInspector, type OpenInspector } from "./node-inspector.js";
import type { ProcessInfo } from "./process-info.js";

/** A process of this machine, or the URL of an inspector that is open already. */
export type NodeTarget = ProcessInfo | { readonly url: string };

export type NodeCaptureOptions = {
  readonly file: string;
  /** The longest silence of the process. */
  readonly timeoutMs: number;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type NodeCaptured = {
  readonly file: string;
  readonly bytes: number;
  /** Fields of our header line: the process says them itself. */
  readonly header: Readonly<Record<string, unknown>>;
};

/**
 * Streams V8's snapshot of a running Node to a file: 0600, under a temporary name until it is whole.
 *
 * The process stands still while V8 makes the snapshot and hands it out, and holds what we have not read yet: the disk
 * should be fast. Progress is in bytes once V8 has looked at all objects.
 *
 * @throws {HeapdumpError} `capture/…`; the inspector is closed again in every case
 */
export async function captureNode(
  target: NodeTarget,
  options: NodeCaptureOptions,
): Promise<NodeCaptured> {
  const file = resolve(options.file);
  return withInspector(target, options, async (client) => {
    const header = await headerFields(client);
    const { usedSize } = (await client.call("Runtime.getHeapUsage")) as { usedSize: number };
    await ensureSpace(dirname(file), dumpBytesMax(usedSize, false));
    const part = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString("hex")}.part`);
    try {
      await streamSnapshot(client, part, options.onProgress);
      await rename(part, file);
    } finally {
      await rm(part, { force: true });
    }
    return { file, bytes: (await stat(file)).size, header };
  });
}

/** Counts the objects of a running Node through its inspector. @throws {HeapdumpError} as `captureNode` */
export async function countNode(
  target: NodeTarget,
  names: readonly string[],
  options: Omit<NodeCaptureOptions, "file">,
): Promise<ObjectCounts> {
  return withInspector(target, options, (client) =>
    countObjectsThrough((method, parameters) => client.call(method, parameters), names),
  );
}

async function withInspector<T>(
  target: NodeTarget,
  { timeoutMs, signal }: Omit<NodeCaptureOptions, "file">,
  work: (client: InspectorClient) => Promise<T>,
): Promise<T> {
  const inspector: OpenInspector =
    "url" in target
      ? await joinInspector(target.url, timeoutMs)
      : await openInspector(target, timeoutMs, signal);
  const onAbort = (): void => inspector.client.close("stopped");
  signal?.addEventListener("abort", onAbort);
  try {
    signal?.throwIfAborted();
    return await work(inspector.client);
  } catch (error) {
    // What the caller wanted counts, not how the connection ended.
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
    await inspector.close();
  }
}

async function streamSnapshot(
  client: InspectorClient,
  path: string,
  onProgress: OnProgress | undefined,
): Promise<void> {
  const startMs = performance.now();
  const output = (await open(path, "wx", 0o600)).createWriteStream({ highWaterMark: 8 << 20 });
  let failure: Error | undefined;
  let bytesDone = 0;
  output.on("error", (error) => {
    failure ??= error;
    client.close(`${path}: ${error.message}`);
  });
  output.on("drain", () => client.resume());
  client.on("HeapProfiler.reportHeapSnapshotProgress", ({ done, total }) =>
    onProgress?.({
      phase: "snapshot",
      kind: "step",
      objectsDone: Number(done),
      objectsTotal: Number(total),
      elapsedMs: performance.now() - startMs,
    }),
  );
  client.on("HeapProfiler.addHeapSnapshotChunk", ({ chunk }) => {
    const bytes = Buffer.from(String(chunk), "utf8");
    bytesDone += bytes.length;
    if (!output.write(bytes)) client.pause();
    onProgress?.({
      phase: "stream",
      kind: "step",
      bytesDone,
      elapsedMs: performance.now() - startMs,
    });
  });
  try {
    // Collects garbage first. The answer comes behind the last chunk.
    await client.call("HeapProfiler.takeHeapSnapshot", { reportProgress: true });
  } finally {
    await new Promise<void>((done) => {
      output.once("close", done);
      output.end(() => output.destroy());
    });
  }
  if (failure !== undefined) {
    const code =
      (failure as NodeJS.ErrnoException).code === "ENOSPC" ? "capture/no-space" : "capture/failed";
    throw new HeapdumpError(code, failure.message, { cause: failure });
  }
  onProgress?.({
    phase: "stream",
    kind: "end",
    bytesDone,
    elapsedMs: performance.now() - startMs,
  });
}

async function headerFields(client: InspectorClient): Promise<Record<string, unknown>> {
  // The same fields as producer.ts, so that two dumps of one process are known as such however they were made.
  const expression = `(() => {
    const { basename } = require("node:path");
    const heap = require("node:v8").getHeapStatistics();
    return {
      producer: "heapdump-mongo",
      runtime: "node",
      runtime_version: process.versions.node,
      pid: process.pid,
      host: require("node:os").hostname(),
      command: [basename(process.execPath), ...process.argv.slice(1, 2)].join(" "),
      taken_at: new Date().toISOString(),
      process_started_at: new Date(performance.timeOrigin).toISOString(),
      gc: {
        total_heap_bytes: heap.total_heap_size,
        used_heap_bytes: heap.used_heap_size,
        heap_limit_bytes: heap.heap_size_limit,
        external_bytes: heap.external_memory,
      },
    };
  })()`;
  return (await client.evaluate(expression)) as Record<string, unknown>;
}
