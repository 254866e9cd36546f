import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export type Worker = { readonly pid: number; readonly port: number };
export type RubyServer = { readonly child: ChildProcess; readonly workers: readonly Worker[] };

/** What a worker says of itself. */
export type WorkerNumbers = {
  readonly pid: number;
  readonly kept: number;
  readonly requests: number;
  readonly fds: number;
};

/** A line of a dump, as far as the tests look. */
export type DumpLine = {
  readonly type: string;
  readonly address?: string;
  readonly class?: string;
  readonly name?: string;
  readonly struct?: string;
  readonly references?: readonly string[];
  readonly reference_names?: readonly string[];
  readonly proc?: { readonly file: string; readonly line: number };
  readonly captures?: Readonly<Record<string, unknown>>;
  readonly env_of?: { readonly method: string };
  readonly pid?: number;
  readonly counts?: { readonly objects: number };
};

/** Path of the server's Ruby: its sources are where TypeScript's are. */
export const serverPath = fileURLToPath(
  new URL("../../../test/support/forking-server.rb", import.meta.url),
);

/** Starts test/support/forking-server.rb; it ends with its standard input. */
export async function rubyServer(dumpFolder?: string): Promise<RubyServer> {
  const child = spawn("ruby", [serverPath, ...(dumpFolder === undefined ? [] : [dumpFolder])], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return { child, ...(JSON.parse(line) as { workers: Worker[] }) };
}

export async function endServer({ child }: RubyServer): Promise<void> {
  const ended = once(child, "exit");
  child.stdin?.end();
  await ended;
}

/** One request; a server that does not answer within 10 s fails the test. */
export async function askWorker({ port }: Worker, path: string): Promise<WorkerNumbers> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    signal: AbortSignal.timeout(10_000),
  });
  return (await response.json()) as WorkerNumbers;
}

/** Keeps asking all workers until `stop`; gives the number of answers and the slowest one. */
export function load(workers: readonly Worker[]): {
  stop: () => Promise<{ answers: number; slowestMs: number }>;
} {
  let isOver = false;
  let answers = 0;
  let slowestMs = 0;
  const client = async (worker: Worker): Promise<void> => {
    while (!isOver) {
      const startMs = performance.now();
      await askWorker(worker, "/ping");
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
      answers++;
      await new Promise((done) => setTimeout(done, 5));
    }
  };
  const clients = Promise.all(workers.map(client));
  return {
    stop: async () => {
      isOver = true;
      await clients;
      return { answers, slowestMs };
    },
  };
}

/** All lines of a dump. */
export async function dumpLines(path: string): Promise<DumpLine[]> {
  const lines: DumpLine[] = [];
  for await (const line of createInterface({ input: createReadStream(path) })) {
    lines.push(JSON.parse(line) as DumpLine);
  }
  return lines;
}

/** What the dump says of the planted leak, by independent looks at it. */
export function plantedLeak(lines: readonly DumpLine[]) {
  const byAddress = new Map(lines.map((line) => [line.address, line]));
  const requestClass = lines.find(({ type, name }) => type === "CLASS" && name === "Request");
  const keeper = lines.find(({ type, name }) => type === "CLASS" && name === "Callbacks");
  const listAt = keeper?.reference_names?.indexOf("@kept") ?? -1;
  const list = byAddress.get(keeper?.references?.[listAt]);
  const closures = lines.filter(
    ({ struct, proc, captures }) =>
      struct === "proc" && proc?.file === serverPath && captures?.["request"] !== undefined,
  );
  const environments = closures.map(({ references, reference_names }) =>
    byAddress.get(references?.[reference_names?.indexOf("(environment)") ?? -1]),
  );
  return {
    pid: lines[0]?.pid,
    isWhole: lines.at(-1)?.counts?.objects === lines.filter(({ address }) => address).length,
    kept: list?.references?.length ?? 0,
    requests: lines.filter((line) => line.type === "OBJECT" && line.class === requestClass?.address)
      .length,
    closures: closures.length,
    ownedByRemember: environments.filter((line) => line?.env_of?.method === "remember").length,
    capturedRequests: new Set(closures.map(({ captures }) => captures?.["request"])).size,
  };
}
