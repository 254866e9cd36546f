import { createHash } from "node:crypto";
import { chmod, lstat, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { HeapdumpError } from "../../errors.js";

/** Where a managed server and its binary live. All of it is private to the user. */
export type Home = {
  readonly data: string;
  readonly sockets: string;
  readonly log: string;
  readonly pidFile: string;
  readonly lockFile: string;
  readonly binaries: string;
};

/** A socket's path may have 107 bytes on Linux. @see unix(7) */
const socketPathBytesMax = 107;
const socketName = "mongodb-27017.sock";

/**
 * The folders, by HEAPDUMP_HOME or the XDG rules; made on first use, for the user alone.
 *
 * @throws {HeapdumpError} `load/no-home` when one cannot be made or is another user's
 */
export async function privateHome(environment: NodeJS.ProcessEnv = process.env): Promise<Home> {
  const own = folderIn(environment, "HEAPDUMP_HOME");
  const base = own ?? (await userFolders()).data;
  const binaries =
    folderIn(environment, "HEAPDUMP_CACHE") ?? join(own ?? (await userFolders()).cache, "binaries");
  const data = join(base, "data");
  const near = join(base, "run");
  const isNear = Buffer.byteLength(join(near, socketName)) <= socketPathBytesMax;
  const sockets = isNear ? near : shortFolder(base, environment);
  for (const folder of [base, binaries, data, sockets]) await makeFolder(folder);
  // The base may be a folder that the user made for more than us.
  for (const folder of [data, sockets]) await makePrivate(folder);
  return {
    data,
    sockets,
    log: join(base, "mongod.log"),
    pidFile: join(base, "mongod.pid"),
    lockFile: join(base, "start.lock"),
    binaries,
  };
}

/** The folder of all that is kept for the user, made on first use. */
export async function privateBase(environment: NodeJS.ProcessEnv = process.env): Promise<string> {
  const base = folderIn(environment, "HEAPDUMP_HOME") ?? (await userFolders()).data;
  await makeFolder(base);
  return base;
}

/** The user's own folders. The package asks for the home when it is loaded, and a user of a container may have none. */
async function userFolders(): Promise<{ readonly data: string; readonly cache: string }> {
  try {
    const { default: envPaths } = await import("env-paths");
    const paths = envPaths("heapdump-mongo", { suffix: "" });
    if (isAbsolute(paths.data) && isAbsolute(paths.cache)) return paths;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SYSTEM_ERROR") throw error;
  }
  throw new HeapdumpError("load/no-home", "this user has no home folder: HOME is not set");
}

/** A relative folder would be another one in the next working directory. */
function folderIn(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  const folder = environment[name];
  return folder === undefined || folder === "" ? undefined : resolve(folder);
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new HeapdumpError("load/no-home", `${folder} cannot be made (${code})`, { cause: error });
  }
}

/** In a temporary folder that all share, another user may have been there before us. */
async function makePrivate(folder: string): Promise<void> {
  const status = await lstat(folder);
  if (!status.isDirectory() || (process.getuid !== undefined && status.uid !== process.getuid())) {
    throw new HeapdumpError("load/no-home", `${folder} is no folder of this user's`);
  }
  await chmod(folder, 0o700);
}

/** A short folder of the user's own, the same for the same home. */
function shortFolder(base: string, environment: NodeJS.ProcessEnv): string {
  const hash = createHash("sha256").update(base).digest("hex").slice(0, 12);
  const name = `heapdump-${process.getuid?.() ?? 0}-${hash}`;
  return join(folderIn(environment, "XDG_RUNTIME_DIR") ?? tmpdir(), name);
}

/** The server's socket. */
export function socketOf(home: Home): string {
  return join(home.sockets, socketName);
}

/** The connection string that reaches it, for mongosh as for us. */
export function uriOf(home: Home): string {
  return `mongodb://${encodeURIComponent(socketOf(home))}`;
}
