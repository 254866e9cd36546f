import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository, seen from dist/bench/shared. */
export const repository = fileURLToPath(new URL("../../../", import.meta.url));

export type Result = {
  readonly question: string;
  readonly [field: string]: unknown;
};

/**
 * Prints a result as a line of JSON and appends it to bench/results/<question>.ndjson, with what is needed to judge it:
 * commit, versions, machine, and how busy the machine was before.
 */
export function recordResult(result: Result): void {
  const rounded = Object.fromEntries(
    Object.entries(result).map(([key, value]) => [
      key,
      typeof value === "number" ? Math.round(value * 1000) / 1000 : value,
    ]),
  );
  const line = `${JSON.stringify({
    ...rounded,
    node: process.version,
    commit: commit(),
    machine: `${cpus().length} x ${cpus()[0]?.model ?? "?"}`,
    load: [loadBefore, Math.round((loadavg()[0] ?? 0) * 100) / 100],
    takenAt: new Date().toISOString(),
  })}\n`;
  process.stdout.write(line);
  const folder = join(repository, "bench", "results");
  mkdirSync(folder, { recursive: true });
  appendFileSync(join(folder, `${result.question}.ndjson`), line);
}

/** Processes that ran or wanted to, in the minute before the bench: above 0.3 the machine was not quiet. */
const loadBefore = Math.round((loadavg()[0] ?? 0) * 100) / 100;

function commit(): string {
  const git = (...words: string[]): string =>
    execFileSync("git", ["-C", repository, ...words], { encoding: "utf8" }).trim();
  const changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "bin") !== "";
  return `${git("rev-parse", "--short", "HEAD")}${changed ? "+changes" : ""}`;
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((one, two) => one - two);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

export const mebibyte = 1_048_576;
