import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";

export type Outcome = {
  readonly seconds: number;
  /** Largest resident size of the first process, by the kernel's own high-water mark. Unit: mebibytes. */
  readonly peakMebibytes: number;
  /** Processor time of the first process: what a busy machine does not distort as much. */
  readonly cpuSeconds: number;
  readonly stdout: string;
};

/** How often the high-water mark is read; it never falls, so only growth in the last interval is missed. */
const watchEveryMs = 100;

/** Runs a program to its end; a failure carries what it said last. */
export async function runApart(command: string, words: readonly string[]): Promise<Outcome> {
  const started = performance.now();
  const child = spawn(command, words, { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-4000);
  });
  let peakMebibytes = 0;
  let cpuSeconds = 0;
  const watch = setInterval(() => {
    peakMebibytes = Math.max(peakMebibytes, residentPeakOf(child.pid ?? 0));
    cpuSeconds = Math.max(cpuSeconds, cpuSecondsOf(child.pid ?? 0));
  }, watchEveryMs);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    const seconds = (performance.now() - started) / 1000;
    if (code !== 0) throw new Error(`${command} ${words.join(" ")}: exit ${code}: ${stderr}`);
    return { seconds, peakMebibytes, cpuSeconds, stdout };
  } finally {
    clearInterval(watch);
  }
}

/** VmHWM of a process that runs; 0 when it is gone. Unit: mebibytes. */
export function residentPeakOf(pid: number): number {
  try {
    const match = /VmHWM:\s*(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return Number(match?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** Linux counts processor time in hundredths, whatever the kernel's own tick. @see proc(5), sysconf(_SC_CLK_TCK) */
const ticksPerSecond = 100;

/** Processor time of a process that runs, all threads; 0 when it is gone. */
export function cpuSecondsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Behind the name in parentheses, which may hold blanks: the state is the first, utime the 12th, stime the 13th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  } catch {
    return 0;
  }
}
