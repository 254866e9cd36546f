import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { link, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isProcessAlive } from "../process-alive.js";
import { HeapdumpError } from "../../errors.js";
import { privateHome, socketOf, uriOf, type Home } from "./home.js";
import { obtainMongod, type ObtainOptions } from "./obtain-mongod.js";
import { tuningWords } from "./tuning.js";

/** A server that recovers a large journal takes its time. Unit: milliseconds. */
const startWaitMs = 60_000;
const stopWaitMs = 30_000;
/** A starter that takes longer than this has died. Unit: milliseconds. */
const lockAgeMaxMs = 180_000;

export type ManagedServer = {
  readonly uri: string;
  readonly pid: number;
  readonly log: string;
  readonly data: string;
};

/**
 * Starts the user's own mongod, or joins the running one. It listens on a Unix socket in a private folder and on no
 * network address, and is left running.
 *
 * @throws {HeapdumpError} `load/no-mongod`; `load/server-failed` with the log's last words
 */
export async function startServer(options: ObtainOptions = {}): Promise<ManagedServer> {
  const home = await privateHome(options.environment);
  const running = await runningServer(home);
  if (running !== undefined) return running;
  const binary = await obtainMongod(home, options);
  await takeLock(home, options.signal);
  try {
    return (await comingServer(home, options.signal)) ?? (await launch(binary, home, options));
  } finally {
    await rm(home.lockFile, { force: true });
  }
}

/** The running managed server, if there is one. */
export async function serverStatus(
  environment: NodeJS.ProcessEnv = process.env,
): Promise<ManagedServer | undefined> {
  return runningServer(await privateHome(environment));
}

/** Stops the managed server in order. False: there was none. */
export async function stopServer(environment: NodeJS.ProcessEnv = process.env): Promise<boolean> {
  const home = await privateHome(environment);
  const pid = await livePid(home);
  if (pid === undefined) return false;
  process.kill(pid, "SIGTERM");
  for (let waited = 0; waited < stopWaitMs; waited += 50) {
    if (!isProcessAlive(pid)) {
      await rm(home.pidFile, { force: true });
      return true;
    }
    await sleep(50);
  }
  throw new HeapdumpError(
    "load/server-failed",
    `mongod ${pid} does not stop; its log: ${home.log}`,
  );
}

async function runningServer(home: Home): Promise<ManagedServer | undefined> {
  const pid = await livePid(home);
  if (pid === undefined || !(await answers(socketOf(home)))) return undefined;
  return { uri: uriOf(home), pid, log: home.log, data: home.data };
}

/** The server of a starter that was killed, which may still be starting, or one that is stopping. */
async function comingServer(
  home: Home,
  signal: AbortSignal | undefined,
): Promise<ManagedServer | undefined> {
  for (let waited = 0; waited < startWaitMs; waited += 50) {
    const running = await runningServer(home);
    if (running !== undefined || (await livePid(home)) === undefined) return running;
    signal?.throwIfAborted();
    await sleep(50);
  }
  throw new HeapdumpError("load/server-failed", `mongod runs but does not answer: ${home.log}`);
}

/**
 * The pid of the mongod on our data: by the file that its starter wrote, or by mongod's own, where the starter was killed
 * before it wrote one.
 */
async function livePid(home: Home): Promise<number | undefined> {
  for (const file of [home.pidFile, join(home.data, "mongod.lock")]) {
    const pid = Number.parseInt(await readFile(file, "utf8").catch(() => ""), 10);
    if (Number.isInteger(pid) && pid > 0 && isProcessAlive(pid) && (await isOurs(pid, home)))
      return pid;
  }
  return undefined;
}

/** Pids are used again: it must be a program that was given our data folder. */
async function isOurs(pid: number, home: Home): Promise<boolean> {
  try {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8");
    return command.split("\0").includes(home.data);
  } catch {
    return process.platform !== "linux";
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connectSocket(socket);
    const done = (outcome: boolean): void => {
      connection.destroy();
      resolve(outcome);
    };
    connection.once("connect", () => done(true));
    connection.once("error", () => done(false));
    connection.setTimeout(2_000, () => done(false));
  });
}

/** One starter at a time; a second one waits, and finds the server running. */
async function takeLock(home: Home, signal: AbortSignal | undefined): Promise<void> {
  for (;;) {
    signal?.throwIfAborted();
    if (await putLock(home)) return;
    if (await isAbandoned(home.lockFile)) await removeAbandoned(home);
    else await sleep(100);
  }
}

/** Makes the lock file with its content in one step: no one ever sees it empty. */
async function putLock(home: Home): Promise<boolean> {
  const part = `${home.lockFile}.${randomUUID()}`;
  await writeFile(part, String(process.pid), { flag: "wx", mode: 0o600 });
  try {
    await link(part, home.lockFile);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(part, { force: true });
  }
}

async function isAbandoned(file: string): Promise<boolean> {
  const holder = Number.parseInt(await readFile(file, "utf8").catch(() => ""), 10);
  const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Date.now() }));
  const isDead = Number.isInteger(holder) && holder > 0 && !isProcessAlive(holder);
  return isDead || Date.now() - mtimeMs > lockAgeMaxMs;
}

/** Moves it aside and looks again: between two looks another starter may have put its own in this place. */
async function removeAbandoned(home: Home): Promise<void> {
  const aside = `${home.lockFile}.${randomUUID()}`;
  try {
    await rename(home.lockFile, aside);
  } catch {
    return; // Another starter was quicker.
  }
  if (!(await isAbandoned(aside))) await link(aside, home.lockFile).catch(() => undefined);
  await rm(aside, { force: true });
}

/** All that mongod needs of our environment: URIs with passwords and keys stay here. */
const environmentNames = ["PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ"];

async function launch(
  binary: string,
  home: Home,
  { environment = process.env, signal }: ObtainOptions,
): Promise<ManagedServer> {
  const socket = socketOf(home);
  const log = await open(home.log, "a", 0o600);
  const server = spawn(
    binary,
    [
      ...["--dbpath", home.data],
      // The socket alone: no TCP address, not even loopback, which other users could reach.
      ...["--bind_ip", socket, "--unixSocketPrefix", home.sockets, "--filePermissions", "0600"],
      ...tuningWords(),
    ],
    {
      detached: true,
      // A core dump stays with its data, and no other folder is kept busy.
      cwd: home.data,
      env: Object.fromEntries(environmentNames.map((name) => [name, environment[name]])),
      stdio: ["ignore", log.fd, log.fd],
    },
  );
  await log.close();
  let ended: string | undefined;
  server.once("error", (error) => (ended = error.message));
  server.once("exit", (code, signalName) => (ended = `it ended with ${code ?? signalName}`));
  server.unref();
  if (server.pid !== undefined) await writeFile(home.pidFile, String(server.pid), { mode: 0o600 });
  for (let waited = 0; waited < startWaitMs && ended === undefined; waited += 50) {
    if (await answers(socket)) {
      return { uri: uriOf(home), pid: server.pid ?? 0, log: home.log, data: home.data };
    }
    signal?.throwIfAborted();
    await sleep(50);
  }
  await rm(home.pidFile, { force: true });
  throw new HeapdumpError(
    "load/server-failed",
    `mongod does not start: ${ended ?? `no answer in ${startWaitMs / 1000} s`}; ${await lastWords(home.log)}`,
  );
}

/** What the log says last that is an error: its lines are JSON. */
async function lastWords(log: string): Promise<string> {
  const lines = (await readFile(log, "utf8").catch(() => "")).trim().split("\n");
  const errors = lines.slice(-200).filter((line) => /"s":"[EF]"/.test(line));
  const last = errors.at(-1) ?? lines.at(-1) ?? "";
  const said = /"(?:error|reason|msg)":"([^"]{1,300})/.exec(last)?.[1] ?? last.slice(0, 300);
  return `its log (${log}) says: ${said}`;
}
