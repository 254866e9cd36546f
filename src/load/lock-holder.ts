import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { isProcessAlive } from "./process-alive.js";

/** The process that holds a lock, as the lock tells it to others. */
export type LockHolder = {
  readonly host: string;
  readonly pid: number;
  /** Pids mean something in their namespace only: two containers may share a host name. Absent where an earlier version wrote it. */
  readonly pid_namespace?: string | undefined;
};

/** This process, for a lock that it takes. */
export function lockHolder(): Required<LockHolder> {
  return { host: hostname(), pid: process.pid, pid_namespace: pidNamespace() };
}

/** Whether a holder can be seen from here, and has ended. False: it lives, or only its last sign can tell. */
export function isHolderDead({ host, pid, pid_namespace }: LockHolder): boolean {
  const here = lockHolder();
  const isHere =
    host === here.host && pid_namespace === here.pid_namespace && pid_namespace !== unknown;
  return isHere && !isProcessAlive(pid);
}

const unknown = "";

/** The boot is part of it: the first namespace of every Linux has the same number. */
function pidNamespace(): string {
  if (process.platform !== "linux") return process.platform;
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return unknown;
  }
}
