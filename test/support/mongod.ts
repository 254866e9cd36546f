import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import envPaths from "env-paths";
import { MongoClient, type Db } from "mongodb";
import { privateHome } from "../../src/load/server/home.js";
import {
  startServer,
  stopServer,
  type ManagedServer,
} from "../../src/load/server/managed-server.js";
import { obtainMongod } from "../../src/load/server/obtain-mongod.js";

/**
 * The environment of every command that a test starts: a home of this test run's own, so that no test touches the
 * user's server, with the user's cache of mongod binaries, so that it is obtained once.
 */
export function testEnvironment(): NodeJS.ProcessEnv {
  home ??= mkdtempSync(join(tmpdir(), "heapdump-test-"));
  return {
    ...process.env,
    HEAPDUMP_HOME: home,
    HEAPDUMP_CACHE: process.env["HEAPDUMP_CACHE"] ?? binaryCache(),
    MONGODB_URI: "",
  };
}

let home: string | undefined;
let server: Promise<ManagedServer> | undefined;
let databaseCount = 0;
const ownMongods = new Set<ChildProcess>();

function binaryCache(): string {
  return join(envPaths("heapdump-mongo", { suffix: "" }).cache, "binaries");
}

/** The managed server of this test run, started on first use. */
export function testServer(): Promise<ManagedServer> {
  server ??= startServer({ environment: testEnvironment() });
  return server;
}

export type TestDatabase = {
  readonly uri: string;
  readonly client: MongoClient;
  readonly db: Db;
  readonly name: string;
  drop(): Promise<void>;
};

/** A database of its own on the test run's server. Call `drop` in `after`. */
export async function testDatabase(): Promise<TestDatabase> {
  const { uri } = await testServer();
  const client = await new MongoClient(uri).connect();
  const name = `test_${process.pid}_${++databaseCount}`;
  return {
    uri,
    client,
    db: client.db(name),
    name,
    drop: async () => {
      await client.db(name).dropDatabase();
      await client.close();
    },
  };
}

/** Stops the server of this test run and removes its home. */
export async function stopTestServer(): Promise<void> {
  if (server !== undefined) {
    await server.catch(() => undefined);
    await stopServer(testEnvironment());
  }
  // A test that failed may have left some.
  for (const child of ownMongods) child.kill("SIGKILL");
  if (home !== undefined) rmSync(home, { recursive: true, force: true });
  server = home = undefined;
}

export type OwnMongod = {
  readonly uri: string;
  readonly port: number;
  readonly pid: () => number;
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same data. */
  restart(): Promise<void>;
  /** Kills it and removes its data. */
  stop(): Promise<void>;
};

/** A mongod of a test's own, on a port of the loopback address: to be killed. */
export async function startMongod(
  options: { args?: readonly string[]; dbpath?: string } = {},
): Promise<OwnMongod> {
  const environment = testEnvironment();
  const binary = await obtainMongod(await privateHome(environment), { environment });
  const dbpath = options.dbpath ?? mkdtempSync(join(tmpdir(), "heapdump-mongod-"));
  const port = await freePort();
  const uri = `mongodb://127.0.0.1:${port}/?directConnection=true`;
  let child: ChildProcess;

  async function start(): Promise<void> {
    child = spawn(
      binary,
      [
        ...["--dbpath", dbpath, "--port", String(port), "--bind_ip", "127.0.0.1"],
        ...["--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"],
        ...(options.args ?? []),
      ],
      { stdio: "ignore" },
    );
    ownMongods.add(child);
    child.once("exit", () => ownMongods.delete(child));
    for (let waited = 0; waited < 30_000; waited += 100) {
      if (child.exitCode !== null) throw new Error(`mongod ended with ${child.exitCode}`);
      try {
        const client = await new MongoClient(uri, { serverSelectionTimeoutMS: 500 }).connect();
        await client.close();
        return;
      } catch {
        await sleep(100);
      }
    }
    throw new Error("mongod does not answer");
  }

  async function kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  await start();
  return {
    uri,
    port,
    pid: () => child.pid ?? 0,
    kill,
    restart: start,
    stop: async () => {
      await kill();
      rmSync(dbpath, { recursive: true, force: true });
    },
  };
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}
