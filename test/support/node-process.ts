import { execFile, spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** What a leaking server says of itself. */
export type Numbers = {
  readonly pid: number;
  readonly threadId: number;
  readonly port: number;
  readonly sessions: number;
  readonly listeners: number;
};

export type LeakingNode = {
  readonly child: ChildProcess;
  /** What each of its processes and threads printed when it was ready, in the order in which they were. */
  readonly numbers: readonly Numbers[];
  readonly stderr: () => string;
};

const children: ChildProcess[] = [];

/** Starts test/support/leaking-node.ts and waits until `count` servers of it listen. */
export async function leakingNode(
  argv: readonly string[] = [],
  environment: NodeJS.ProcessEnv = {},
  count = 1,
  node = process.execPath,
): Promise<LeakingNode> {
  const script = fileURLToPath(new URL("leaking-node.js", import.meta.url));
  const child = spawn(node, [...argv, script], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let stderr = "";
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  const numbers: Numbers[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    numbers.push(JSON.parse(line) as Numbers);
    if (numbers.length === count) break;
  }
  if (numbers.length < count) throw new Error(`the leaking server did not start: ${stderr}`);
  child.stdout.resume();
  return { child, numbers, stderr: () => stderr };
}

/** The newest LTS of Node, whose binary comes as an npm package, as in .ci/run; undefined where npm reaches none. */
export async function newestNode(): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(
      "npx",
      ["--yes", "-p", "node@26.10.0", "-c", "node -p process.execPath"],
      { timeout: 120_000 },
    );
    return stdout.trim();
  } catch {
    return undefined;
  }
}

/** Asks a leaking server; its answer are its numbers now. */
export async function ask(port: number, path: string): Promise<Numbers> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return (await response.json()) as Numbers;
}

/** Ends all that was started here. */
export async function endAll(): Promise<void> {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}

/** Runs a command of ours to its end. */
export async function run(
  command: string,
  argv: readonly string[],
  options: SpawnOptions = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const script = fileURLToPath(new URL(`../../bin/${command}.js`, import.meta.url));
  const child = spawn(process.execPath, [script, ...argv], {
    ...options,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const output = { stdout: "", stderr: "" };
  child.stdout?.on("data", (bytes: Buffer) => (output.stdout += bytes.toString()));
  child.stderr?.on("data", (bytes: Buffer) => (output.stderr += bytes.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...output };
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Whether anything accepts connections there. */
export async function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/json/version`).then(
    () => true,
    () => false,
  );
}
