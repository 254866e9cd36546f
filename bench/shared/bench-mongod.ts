import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { privateHome } from "../../src/load/server/home.js";
import { obtainMongod } from "../../src/load/server/obtain-mongod.js";
import { tuningWords } from "../../src/load/server/tuning.js";
import { benchFolder } from "./bench-dump.js";
import { cpuSecondsOf, residentPeakOf } from "./run-apart.js";

export type BenchServer = {
  readonly uri: string;
  readonly client: MongoClient;
  readonly version: string;
  peakMebibytes(): number;
  cpuSeconds(): number;
  stop(): Promise<void>;
};

/** A new, empty server for one run, with the arguments of the managed one: no way inherits what another has warmed. */
export async function benchServer(): Promise<BenchServer> {
  const binary = await obtainMongod(await privateHome());
  const data = mkdtempSync(join(benchFolder, "db-"));
  const port = await freePort();
  const log = openSync(join(data, "log"), "a", 0o600);
  const server = spawn(
    binary,
    [
      ...["--dbpath", data, "--port", String(port), "--bind_ip", "127.0.0.1", "--nounixsocket"],
      ...tuningWords(),
    ],
    { stdio: ["ignore", log, log] },
  );
  const ended = new Promise<void>((resolve) => server.once("exit", () => resolve()));
  const uri = `mongodb://127.0.0.1:${port}/?directConnection=true`;
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 30_000 });
  const stop = async (): Promise<void> => {
    await client.close();
    server.kill("SIGTERM");
    await ended;
    rmSync(data, { recursive: true, force: true });
  };
  try {
    const { version } = await client.db("admin").command({ buildInfo: 1 });
    const pid = server.pid ?? 0;
    return {
      uri,
      client,
      version: String(version),
      peakMebibytes: () => residentPeakOf(pid),
      cpuSeconds: () => cpuSecondsOf(pid),
      stop,
    };
  } catch (error) {
    const words = readFileSync(join(data, "log"), "utf8").slice(-1000);
    await stop();
    throw new Error(`mongod does not start: ${words}`, { cause: error });
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
