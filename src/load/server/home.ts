import { createHash } from "node:crypto";
import { chmod, mkdir } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import envPaths from "env-paths";

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

/** The folders, by HEAPDUMP_HOME or the XDG rules; made on first use, for the user alone. */
export async function privateHome(environment: NodeJS.ProcessEnv = process.env): Promise<Home> {
  const paths = envPaths("heapdump-mongo", { suffix: "" });
  const own = environment["HEAPDUMP_HOME"];
  const base = own ?? paths.data;
  const binaries = environment["HEAPDUMP_CACHE"] ?? join(own ?? paths.cache, "binaries");
  const data = join(base, "data");
  const near = join(base, "run");
  const sockets =
    Buffer.byteLength(join(near, socketName)) <= socketPathBytesMax ? near : shortFolder(base);
  for (const folder of [base, data, sockets, binaries]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  }
  for (const folder of [base, data, sockets]) await chmod(folder, 0o700);
  return {
    data,
    sockets,
    log: join(base, "mongod.log"),
    pidFile: join(base, "mongod.pid"),
    lockFile: join(base, "start.lock"),
    binaries,
  };
}

/** A short folder of the user's own, the same for the same home. */
function shortFolder(base: string): string {
  const hash = createHash("sha256").update(base).digest("hex").slice(0, 12);
  return join(process.env["XDG_RUNTIME_DIR"] ?? tmpdir(), `heapdump-${userInfo().uid}-${hash}`);
}

/** The server's socket. */
export function socketOf(home: Home): string {
  return join(home.sockets, socketName);
}

/** The connection string that reaches it, for mongosh as for us. */
export function uriOf(home: Home): string {
  return `mongodb://${encodeURIComponent(socketOf(home))}`;
}
