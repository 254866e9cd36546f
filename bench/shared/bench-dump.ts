import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./record-result.js";

/** Dumps, databases and BSON of the benches; dumps stay there for the next run. */
export const benchFolder = process.env["HEAPDUMP_BENCH_FOLDER"] ?? "/var/tmp/heapdump-bench";

export type BenchDump = {
  readonly path: string;
  readonly name: string;
  /** What the dumped process itself counted. */
  readonly facts: {
    readonly ruby: string;
    readonly counts: Readonly<Record<string, number>>;
    readonly subscribers: { readonly size: number; readonly address: string };
    readonly dump_bytes: number;
  };
};

/** The dump of bench/make-dump.rb with so many objects; made when it is not there. */
export function benchDump(objects = 2_200_000): BenchDump {
  mkdirSync(benchFolder, { recursive: true, mode: 0o700 });
  const name = `rails-${objects}`;
  const path = join(benchFolder, `${name}.json`);
  if (!existsSync(path)) {
    const made = `${path}.part`;
    const share = objects / 2_200_000;
    const script = join(repository, "bench", "make-dump.rb");
    const { status, stderr } = spawnSync(
      "ruby",
      [
        ...[script, "--out", made, "--objects", String(objects)],
        ...["--leaked", String(Math.round(20_000 * share))],
        ...["--list", String(Math.round(150_000 * share))],
      ],
      { encoding: "utf8" },
    );
    if (status !== 0) throw new Error(`ruby bench/make-dump.rb failed: ${stderr}`);
    renameSync(`${made}.facts.json`, `${path}.facts.json`);
    renameSync(made, path);
  }
  const facts = JSON.parse(readFileSync(`${path}.facts.json`, "utf8")) as BenchDump["facts"];
  return { path, name, facts };
}
