import { readdir, readlink } from "node:fs/promises";
import { readProc } from "./process-info.js";

/** A TCP socket that listens, in the network namespace of some process. */
export type ListeningPort = { readonly port: number; readonly inode: string };

/** All that listens in the process's network namespace. @see man 5 proc, /proc/net/tcp */
export async function listeningPorts(pid: number): Promise<ListeningPort[]> {
  const tables = await Promise.all(
    ["net/tcp", "net/tcp6"].map((name) => readProc(pid, name).catch(() => "")),
  );
  const ports: ListeningPort[] = [];
  for (const line of tables.join("\n").split("\n")) {
    const fields = line.trim().split(/\s+/);
    const [, local, , state] = fields;
    const inode = fields[9];
    // State 0A: LISTEN.
    if (state !== "0A" || local === undefined || inode === undefined) continue;
    ports.push({ port: parseInt(local.slice(local.lastIndexOf(":") + 1), 16), inode });
  }
  return ports;
}

/** Ports on which the process itself listens. */
export async function portsOf(pid: number): Promise<Set<number>> {
  const own = await socketsOf(pid);
  const all = await listeningPorts(pid);
  return new Set(all.filter(({ inode }) => own.has(inode)).map(({ port }) => port));
}

/** Which process listens on `port`, as text for a person: another user's cannot be told. Undefined: nobody. */
export async function holderOf(port: number, pid: number): Promise<string | undefined> {
  const inodes = (await listeningPorts(pid)).filter((socket) => socket.port === port);
  if (inodes.length === 0) return undefined;
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const own = await socketsOf(Number(entry)).catch(() => new Set<string>());
    if (!inodes.some(({ inode }) => own.has(inode))) continue;
    const command = await readProc(Number(entry), "comm").catch(() => "");
    return `process ${entry} (${command.trim()})`;
  }
  return "another user's process";
}

/** Inodes of the process's sockets. */
async function socketsOf(pid: number): Promise<Set<string>> {
  const sockets = new Set<string>();
  for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
    // A descriptor may be closed while we read.
    const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => "");
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) sockets.add(inode);
  }
  return sockets;
}
