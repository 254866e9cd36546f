import { kill } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { HeapdumpError } from "../errors.js";
import { InspectorClient } from "./inspector-client.js";
import { holderOf, portsOf } from "./listening-ports.js";
import { processInfo, readProc, type ProcessInfo } from "./process-info.js";

/** An inspector to work with, and how to leave it as it was found. */
export type OpenInspector = {
  readonly client: InspectorClient;
  /** Ends the connection; closes the inspector where we have opened it, and sees that it is closed. */
  readonly close: () => Promise<void>;
};

/** Where Node opens its inspector if nobody says otherwise. @see https://nodejs.org/api/cli.html#--inspect-porthostport */
const portDefault = 9229;
/** The bit of SIGUSR1 (10) in a signal mask. */
const sigusr1Bit = 1n << 9n;
const pollMs = 50;
/** Options of Node whose value may stand alone, behind a space. */
const optionsWithValue = new Set(
  "-r --require --import --loader --experimental-loader -C --conditions --env-file --title --inspect-port --debug-port".split(
    " ",
  ),
);
/** How long a process may take to open or close its inspector when its event loop turns. */
const openMsMax = 10_000;

/**
 * Opens the inspector of a running Node with SIGUSR1, on the loopback address, and connects.
 *
 * Says no before it signals wherever that can be known: without Node's handler SIGUSR1 ends a process. It talks to a
 * port only if a socket of this very process listens on it, and then asks the process for its pid.
 *
 * @throws {HeapdumpError} `capture/not-supported`, `capture/port-taken`, `capture/failed`
 */
export async function openInspector(
  info: ProcessInfo,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<OpenInspector> {
  if (info.elsewhere.network) {
    throw new HeapdumpError(
      "capture/not-supported",
      `process ${info.pid} lives in another network namespace (a container): run heapdump-dump in there, or forward its inspector's port and use --url`,
    );
  }
  const port = await inspectorPort(info);
  const before = await portsOf(info.pid);
  if (port !== 0 && before.has(port)) {
    const client = await connectTo(info, port, timeoutMs);
    return { client, close: async () => client.close() };
  }
  await refuseUnlessItOpens(info, port);
  kill(info.pid, "SIGUSR1");
  const opened = await newPortOf(info, before, port, Math.min(openMsMax, timeoutMs), signal);
  const client = await connectTo(info, opened, timeoutMs);
  return { client, close: () => closeInspector(info, opened, client, timeoutMs) };
}

/**
 * Connects to an inspector that is open already.
 *
 * @param url - `http://host:port`, or the `ws://…` that Node prints
 * @throws {HeapdumpError} `capture/failed`
 */
export async function joinInspector(url: string, timeoutMs: number): Promise<OpenInspector> {
  const socketUrl = /^wss?:/.test(url) ? url : await socketUrlOf(new URL(url), timeoutMs);
  const client = await InspectorClient.connect(socketUrl, timeoutMs);
  return { client, close: async () => client.close() };
}

/** The port the process would take: from its command line and NODE_OPTIONS. 0: any free one. */
async function inspectorPort(info: ProcessInfo): Promise<number> {
  let port = portDefault;
  for (const option of await nodeOptions(info)) {
    const value =
      /^--(?:inspect|inspect-brk|inspect-port|debug-port|inspect-wait)=(?:.*:)?(\d+)$/.exec(
        option,
      )?.[1];
    if (value !== undefined) port = Number(value);
  }
  return port;
}

/** Options of Node itself, in the order in which they count; `--name value` as `--name=value`. */
async function nodeOptions(info: ProcessInfo): Promise<string[]> {
  const environment = (await readProc(info.pid, "environ")).split("\0");
  const inherited = environment.find((entry) => entry.startsWith("NODE_OPTIONS="))?.slice(13) ?? "";
  const options = inherited.split(/\s+/);
  let takesValue = false;
  for (const argument of info.argv.slice(1)) {
    const previous = options.at(-1);
    if (takesValue) options[options.length - 1] = `${previous}=${argument}`;
    else if (argument.startsWith("-")) options.push(argument);
    else break; // The script: what follows is its own.
    takesValue = !takesValue && optionsWithValue.has(argument);
  }
  return options;
}

async function refuseUnlessItOpens(info: ProcessInfo, port: number): Promise<void> {
  if ((await nodeOptions(info)).includes("--disable-sigusr1")) {
    throw new HeapdumpError(
      "capture/not-supported",
      `process ${info.pid} was started with --disable-sigusr1: its inspector does not open; load heapdump-mongo/on-signal in it`,
    );
  }
  if ((info.signalsCaught & sigusr1Bit) === 0n) {
    throw new HeapdumpError(
      "capture/not-supported",
      `process ${info.pid} does not handle SIGUSR1, which would end it (it is still starting, or was built without inspector)`,
    );
  }
  const holder = port === 0 ? undefined : await holderOf(port, info.pid);
  if (holder !== undefined) {
    throw new HeapdumpError(
      "capture/port-taken",
      `process ${info.pid} would open its inspector on port ${port}, which ${holder} holds`,
    );
  }
}

/** Waits until the process listens on a port more than before. */
async function newPortOf(
  info: ProcessInfo,
  before: ReadonlySet<number>,
  port: number,
  msMax: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const deadlineMs = performance.now() + msMax;
  while (performance.now() < deadlineMs) {
    signal?.throwIfAborted();
    await sleep(pollMs);
    await processInfo(info.pid);
    const opened = [...(await portsOf(info.pid))].filter((candidate) => !before.has(candidate));
    // The application may open a port of its own in the same moment.
    const chosen = port !== 0 && opened.includes(port) ? port : opened[0];
    if (chosen !== undefined) return chosen;
  }
  const holder = port === 0 ? undefined : await holderOf(port, info.pid);
  if (holder !== undefined) {
    throw new HeapdumpError("capture/port-taken", `port ${port} was taken by ${holder} meanwhile`);
  }
  throw new HeapdumpError(
    "capture/failed",
    `process ${info.pid} opened no inspector within ${msMax} ms: it handles SIGUSR1 itself, its event loop is blocked, or its inspector is open on a port that only --url can name`,
  );
}

async function connectTo(
  info: ProcessInfo,
  port: number,
  timeoutMs: number,
): Promise<InspectorClient> {
  const url = await socketUrlOf(new URL(`http://127.0.0.1:${port}`), timeoutMs);
  const client = await InspectorClient.connect(url, timeoutMs);
  const pid = await client.evaluate("process.pid");
  if (pid !== info.pidInside) {
    client.close();
    throw new HeapdumpError(
      "capture/failed",
      `port ${port} is answered by process ${String(pid)}, not by ${info.pidInside}: nothing was done`,
    );
  }
  return client;
}

/** @see https://chromedevtools.github.io/devtools-protocol/#endpoints */
async function socketUrlOf(base: URL, timeoutMs: number): Promise<string> {
  const answer = await fetch(new URL("/json/list", base), {
    signal: AbortSignal.timeout(timeoutMs),
  })
    .then((response) => response.json())
    .catch((error: unknown) => {
      throw new HeapdumpError("capture/failed", `no inspector answers at ${base.host}`, {
        cause: error,
      });
    });
  const targets = (Array.isArray(answer) ? answer : []) as { webSocketDebuggerUrl?: string }[];
  const target = targets[0]?.webSocketDebuggerUrl;
  if (target === undefined) {
    throw new HeapdumpError(
      "capture/failed",
      `${base.host} answers, but is no inspector of a Node`,
    );
  }
  // Behind a forwarded port the inspector names an address that only its own machine knows.
  const url = new URL(target);
  url.host = base.host;
  return url.href;
}

async function closeInspector(
  info: ProcessInfo,
  port: number,
  client: InspectorClient,
  timeoutMs: number,
): Promise<void> {
  // The answer must leave before the connection goes.
  const closing = `setTimeout(() => (process._debugEnd ?? require("node:inspector").close)(), 0), 0`;
  await client
    .evaluate(closing)
    .catch(async () => {
      // Our connection broke: a fresh one for the last word.
      const fresh = await connectTo(info, port, timeoutMs);
      await fresh.evaluate(closing).finally(() => fresh.close());
    })
    .catch(() => undefined)
    .finally(() => client.close());
  const deadlineMs = performance.now() + openMsMax;
  while ((await portsOf(info.pid).catch(() => new Set<number>())).has(port)) {
    if (performance.now() > deadlineMs) {
      throw new HeapdumpError(
        "capture/failed",
        `the inspector of process ${info.pid} is still open on 127.0.0.1:${port}`,
      );
    }
    await sleep(pollMs);
  }
}
