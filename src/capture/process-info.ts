import { open, readdir, readFile, readlink, stat } from "node:fs/promises";
import { basename } from "node:path";
import { HeapdumpError } from "../errors.js";

/** What we can dump from outside. */
export type Runtime = "node" | "ruby";

/** What /proc says about a process, before anything is done to it. */
export type ProcessInfo = {
  readonly pid: number;
  /** Its own name for itself: differs from `pid` in a container. */
  readonly pidInside: number;
  readonly parentPid: number;
  readonly uid: number;
  /** Path of the program; ` (deleted)` at the end where it was replaced on disk since. */
  readonly executable: string;
  readonly argv: readonly string[];
  /** Signals with a handler: bit n - 1 is signal n. */
  readonly signalsCaught: bigint;
  /** In a network or pid namespace other than ours: a container. */
  readonly elsewhere: {
    readonly network: boolean;
    readonly pids: boolean;
    readonly files: boolean;
  };
};

/**
 * Reads /proc/PID.
 *
 * @throws {HeapdumpError} `capture/no-process` when there is none or it is a zombie, `capture/no-permission` when it
 * is another user's, `capture/not-supported` where there is no /proc (macOS, Windows)
 */
export async function processInfo(pid: number): Promise<ProcessInfo> {
  if (process.platform !== "linux") {
    throw new HeapdumpError(
      "capture/not-supported",
      `processes can be looked up on Linux only, this is ${process.platform}; open the inspector yourself and use --url`,
    );
  }
  const status = await readProc(pid, "status");
  const field = (name: string): string =>
    new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1]?.trim() ?? "";
  if (field("State").startsWith("Z")) {
    throw new HeapdumpError("capture/no-process", `process ${pid} is a zombie: it has ended`);
  }
  const uid = Number(field("Uid").split(/\s+/)[0]);
  const ownUid = process.getuid?.() ?? uid;
  if (ownUid !== 0 && uid !== ownUid) {
    throw new HeapdumpError(
      "capture/no-permission",
      `process ${pid} belongs to user ${uid}, this is user ${ownUid}`,
    );
  }
  if (field("Tgid") !== String(pid)) {
    throw new HeapdumpError(
      "capture/no-process",
      `${pid} is a thread of process ${field("Tgid")}, not a process`,
    );
  }
  return {
    pid,
    pidInside: Number(field("NSpid").split(/\s+/).at(-1) || pid),
    parentPid: Number(field("PPid")),
    uid,
    executable: await readLink(pid, "exe"),
    argv: (await readProc(pid, "cmdline")).split("\0").slice(0, -1),
    signalsCaught: BigInt(`0x${field("SigCgt") || "0"}`),
    elsewhere: {
      network: (await readLink(pid, "ns/net")) !== (await readLink("self", "ns/net")),
      pids: (await readLink(pid, "ns/pid")) !== (await readLink("self", "ns/pid")),
      files: (await readLink(pid, "ns/mnt")) !== (await readLink("self", "ns/mnt")),
    },
  };
}

/**
 * Which runtime a process is, by its program and the libraries it has mapped; undefined: none that we know.
 *
 * A renamed Node (a single executable, Electron's node mode) is found by a text that every Node binary holds: reading
 * 100 MB for it happens only where the name says nothing.
 */
export async function runtimeOf(info: ProcessInfo): Promise<Runtime | undefined> {
  const name = basename(info.executable.replace(/ \(deleted\)$/, ""));
  if (/^(node|nodejs)([-.\d].*)?$/.test(name)) return "node";
  if (/^(ruby|jruby|truffleruby)([-.\d].*)?$/.test(name)) return "ruby";
  const maps = await readProc(info.pid, "maps");
  if (/\/libruby[-.\d\w]*\.so/.test(maps)) return "ruby";
  if (/\/libnode\.so/.test(maps)) return "node";
  return (await holdsText(`/proc/${info.pid}/exe`, "NODE_REPL_EXTERNAL_MODULE"))
    ? "node"
    : undefined;
}

/**
 * The Ruby and Node processes whose parent is `parentPid`, ascending: the workers of a preforking server or a cluster.
 */
export async function childrenOf(parentPid: number): Promise<number[]> {
  await processInfo(parentPid);
  const workers: number[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    // A process may end while we read.
    const status = await readFile(`/proc/${entry}/status`, "utf8").catch(() => "");
    if (/^PPid:\s*(\d+)$/m.exec(status)?.[1] === String(parentPid) && !/^State:\s*Z/m.test(status))
      workers.push(Number(entry));
  }
  const runtimes = await Promise.all(
    // One may end meanwhile, or be no server at all: a shell, a log rotator.
    workers.map((pid) =>
      processInfo(pid)
        .then(runtimeOf)
        .catch(() => undefined),
    ),
  );
  return workers.filter((_, index) => runtimes[index] !== undefined).sort((a, b) => a - b);
}

/** Text of /proc/PID/<name>, its absence and refusal as our errors. */
export async function readProc(pid: number | "self", name: string): Promise<string> {
  return readFile(`/proc/${pid}/${name}`, "latin1").catch((error: unknown) =>
    refuse(pid, error, name),
  );
}

async function readLink(pid: number | "self", name: string): Promise<string> {
  return readlink(`/proc/${pid}/${name}`).catch((error: unknown) => refuse(pid, error, name));
}

function refuse(pid: number | "self", error: unknown, name: string): never {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "EACCES" || code === "EPERM") {
    throw new HeapdumpError("capture/no-permission", `/proc/${pid}/${name} may not be read`, {
      cause: error,
    });
  }
  throw new HeapdumpError("capture/no-process", `there is no process ${pid}`, { cause: error });
}

async function holdsText(path: string, text: string): Promise<boolean> {
  if (!(await stat(path).catch(() => undefined))?.isFile()) return false;
  const file = await open(path, "r");
  try {
    const needle = Buffer.from(text);
    const window = Buffer.alloc(4 << 20);
    let kept = 0;
    for (;;) {
      const { bytesRead } = await file.read(window, kept, window.length - kept, null);
      if (bytesRead === 0) return false;
      if (window.subarray(0, kept + bytesRead).includes(needle)) return true;
      // The text may lie across two reads.
      const end = kept + bytesRead;
      kept = Math.min(needle.length, end);
      window.copy(window, 0, end - kept, end);
    }
  } finally {
    await file.close();
  }
}
