import { spawn } from "node:child_process";
import { open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect as connectSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { HeapdumpError } from "../../errors.js";
import { privateHome, socketOf, uriOf, type Home } from "./home.js";
import { obtainMongod, type ObtainOptions } from "./obtain-mongod.js";

/** Cache of the managed server: the machine is the user's, and the importer needs memory too. Unit: gigabytes. */
const cacheGigabytes = 1;
/** A server that recovers a large journal takes its time. Unit: milliseconds. */
const startWaitMs = 60_000;
const stopWaitMs = 30_000;
/** A starter that takes longer than this has died. Unit: milliseconds. */
const lockAgeMaxMs = 120_000;

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
    return (await runningServer(home)) ?? (await launch(binary, home));
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
    if (!isAlive(pid)) {
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

/** The pid in the pid file, if that process is a mongod: pids are used again. */
async function livePid(home: Home): Promise<number | undefined> {
  let text: string;
  try {
    text = await readFile(home.pidFile, "utf8");
  } catch {
    return undefined;
  }
  const pid = Number.parseInt(text, 10);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined;
  try {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8");
    return command.includes(home.data) ? pid : undefined;
  } catch {
    return process.platform === "linux" ? undefined : pid;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
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
    if (signal?.aborted === true) throw signal.reason;
    try {
      const handle = await open(home.lockFile, "wx", 0o600);
      await handle.writeFile(String(process.pid));
      await handle.close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = Number.parseInt(await readFile(home.lockFile, "utf8").catch(() => ""), 10);
    const age = await stat(home.lockFile).then(
      (status) => Date.now() - status.mtimeMs,
      () => 0,
    );
    const dead = Number.isInteger(holder) && holder > 0 && !isAlive(holder);
    if (dead || age > lockAgeMaxMs) await rm(home.lockFile, { force: true });
    else await sleep(100);
  }
}

async function launch(binary: string, home: Home): Promise<ManagedServer> {
  const socket = socketOf(home);
  const log = await open(home.log, "a", 0o600);
  const server = spawn(
    binary,
    [
      ...["--dbpath", home.data],
      // The socket alone: no TCP address, not even loopback, which other users could reach.
      ...["--bind_ip", socket, "--unixSocketPrefix", home.sockets, "--filePermissions", "0600"],
      ...["--wiredTigerCacheSizeGB", String(cacheGigabytes)],
      ...["--setParameter", "diagnosticDataCollectionEnabled=false"],
    ],
    { detached: true, stdio: ["ignore", log.fd, log.fd] },
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
