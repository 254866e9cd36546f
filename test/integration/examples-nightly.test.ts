import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { load as loadYaml } from "js-yaml";
import type { Document } from "mongodb";
import { testDatabase, testEnvironment, type TestDatabase } from "../support/mongod.js";
import { repositoryPath } from "../support/run.js";

/** Each example runs as its host would run it, with our commands on PATH; the host itself is not here. */
describe("examples/nightly", () => {
  let test: TestDatabase;
  let folder: string;
  let dumps: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-nightly-"));
    dumps = join(folder, "dumps");
    mkdirSync(dumps);
    mkdirSync(join(folder, "bin"));
    for (const command of ["heapdump-import", "heapdump-diff"]) {
      const target = repositoryPath(`dist/bin/${command}.js`);
      const shim = join(folder, "bin", command);
      writeFileSync(shim, `#!/bin/sh\nexec "${process.execPath}" "${target}" "$@"\n`);
      chmodSync(shim, 0o755);
    }
    copyFileSync(example("heapdump-nightly"), join(folder, "bin", "heapdump-nightly"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });

  const sh = (
    command: string,
    more: NodeJS.ProcessEnv = {},
  ): { status: number | null; output: string } => {
    const { status, stdout, stderr } = spawnSync("/bin/sh", ["-c", command], {
      cwd: folder,
      encoding: "utf8",
      env: {
        ...testEnvironment(),
        MONGODB_URI: test.uri,
        HEAPDUMP_DB: test.name,
        ...more,
        PATH: `${join(folder, "bin")}:${process.env["PATH"] ?? ""}`,
      },
    });
    return { status, output: stdout + stderr };
  };
  const dumpNight = (name: string, number: number, sessions: number): void => {
    const file = join(dumps, `${name}_4711_2026010${number + 5}T0300.ndjson`);
    writeFileSync(file, dumpOf(number, sessions));
  };

  it("crontab: its line imports, compares and prunes, and is loud in the night of the leak only", () => {
    const lines = readFileSync(example("crontab"), "utf8").split("\n");
    const variables = Object.fromEntries(
      lines.filter((it) => /^HEAPDUMP_\w+=/.test(it)).map((it) => it.split("=", 2)),
    ) as Record<string, string>;
    assert.deepEqual(Object.keys(variables), ["HEAPDUMP_DB", "HEAPDUMP_FOLDER", "HEAPDUMP_LOG"]);
    const entries = lines.filter((it) => /^[\d*]/.test(it));
    assert.equal(entries.length, 1);
    const [, schedule, command] = /^((?:\S+ ){5})(.*)$/.exec(entries[0] ?? "") ?? [];
    assert.match(schedule ?? "", /^(?:(?:\*|\d+) ){5}$/);
    // cron takes a bare % for the end of the line.
    assert.doesNotMatch(command ?? "", /(?<!\\)%/);
    // Debian's crontab checks with -n, cronie's with -T; one that knows neither would install the file.
    const { stderr: manual } = spawnSync("crontab", ["-h"], { encoding: "utf8" });
    const dryRun = /-n\s+\(dry run/.test(manual ?? "")
      ? "-n"
      : /^\s*-T\b/m.test(manual ?? "") && "-T";
    if (dryRun !== false) asksIfThere("crontab", dryRun, example("crontab"));
    const log = join(folder, "log");
    const environment = { HEAPDUMP_FOLDER: dumps, HEAPDUMP_LOG: log };
    const outputs: string[] = [];
    for (const [number, sessions] of [2_000, 2_050, 4_500].entries()) {
      dumpNight("app", number, sessions);
      outputs.push(sh(command ?? "", environment).output);
    }
    assert.deepEqual(outputs.slice(0, 2), ["", ""], readFileSync(log, "utf8"));
    assert.match(outputs[2] ?? "", /Above the threshold[^]*Session/);
    assert.match(outputs[2] ?? "", /0 of 3 dumps lost their objects/);
  });

  it("systemd: systemd itself finds no fault, and the service's command runs", () => {
    const units = join(folder, "units");
    mkdirSync(units);
    const installed = join(folder, "bin", "heapdump-nightly");
    for (const name of ["heapdump-nightly.service", "heapdump-nightly.timer"]) {
      const text = readFileSync(example(`systemd/${name}`), "utf8");
      const here = text.replaceAll("/usr/local/bin/heapdump-nightly", installed);
      assert.match(text, /^\[Unit\]\nDescription=/m);
      writeFileSync(join(units, name), here);
    }
    const has = spawnSync("systemd-analyze", ["--version"]).status === 0;
    // Where there is no systemd there is nobody to ask; the command is run all the same.
    if (has) {
      const files = ["heapdump-nightly.service", "heapdump-nightly.timer"].map((it) =>
        join(units, it),
      );
      execFileSync("systemd-analyze", ["verify", ...files], { encoding: "utf8" });
      const timer = readFileSync(example("systemd/heapdump-nightly.timer"), "utf8");
      const calendar = /^OnCalendar=(.*)$/m.exec(timer)?.[1] ?? "";
      execFileSync("systemd-analyze", ["calendar", calendar]);
    }
    const service = readFileSync(join(units, "heapdump-nightly.service"), "utf8");
    const command = /^ExecStart=(.*)$/m.exec(service)?.[1]?.replace("/var/lib/heapdumps", dumps);
    dumpNight("unit", 0, 2_000);
    const { status, output } = sh(command ?? "false");
    assert.equal(status, 0, output);
    assert.match(output, /unit_4711_20260105T0300 is the first dump/);
  });

  it("Kubernetes: the manifest is whole, and the container's command runs", () => {
    const job = loadYaml(readFileSync(example("kubernetes/cronjob.yaml"), "utf8")) as Document;
    assert.deepEqual([job.apiVersion, job.kind], ["batch/v1", "CronJob"]);
    asksIfThere("kubernetes-validate", "--strict", example("kubernetes/cronjob.yaml"));
    asksIfThere("kubeconform", "-strict", example("kubernetes/cronjob.yaml"));
    const spec = job.spec as Document;
    assert.equal(spec.concurrencyPolicy, "Forbid");
    const pod = spec.jobTemplate.spec.template.spec as Document;
    // The API takes podFailurePolicy with this restartPolicy only.
    assert.equal(pod.restartPolicy, "Never");
    const [container] = pod.containers as Document[];
    const policy = spec.jobTemplate.spec.podFailurePolicy as Document;
    assert.equal(policy.rules[0].onExitCodes.containerName, container?.name);
    const volumes = (pod.volumes as Document[]).map(({ name }) => name as string);
    for (const { name } of container?.volumeMounts as Document[]) {
      assert.ok(volumes.includes(name as string), name as string);
    }
    const environment = Object.fromEntries(
      (container?.env as Document[])
        .filter(({ value }) => value !== undefined)
        .map(({ name, value }) => [name, value] as [string, string]),
    );
    const command = (container?.command as string[])
      .map((it) => it.replace("/scripts/", `${folder}/bin/`).replace("/dumps", dumps))
      .join(" ");
    for (const [night, sessions, expected] of [
      [0, 2_000, 0],
      [1, 8_000, 3],
    ] as const) {
      dumpNight("pod", night, sessions);
      const { status, output } = sh(command, { ...environment, HEAPDUMP_DB: test.name });
      assert.equal(status, expected, output);
    }
  });

  it("GitHub Actions: the workflow is whole, and its last step fails on growth", () => {
    const workflow = loadYaml(
      readFileSync(example("github-actions/heap-growth.yml"), "utf8"),
    ) as Document;
    asksIfThere("actionlint", example("github-actions/heap-growth.yml"));
    const job = workflow.jobs["heap-growth"] as Document;
    assert.match(job.services.mongo.image as string, /^mongo:/);
    const step = (job.steps as Document[]).at(-1);
    const command = (step?.run as string).replaceAll("--db ci", `--db ${test.name}`);
    // GitHub runs it with `bash -e`; sh stops there in the same way.
    for (const [after, expected] of [
      [2_000, 0],
      [3_000, 3],
    ] as const) {
      writeFileSync(join(dumps, "before.ndjson"), dumpOf(0, 2_000));
      writeFileSync(join(dumps, "after.ndjson"), dumpOf(1, after));
      const { status, output } = sh(`set -e\n${command.replace("--quiet", "--quiet --drop")}`);
      assert.equal(status, expected, output);
    }
  });
});

/** Where a host's own checker is installed, it must find no fault; where it is not, there is nobody to ask. */
function asksIfThere(checker: string, ...args: readonly string[]): void {
  const { status, error, stdout, stderr } = spawnSync(checker, args, { encoding: "utf8" });
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ENOENT") return;
  assert.equal(status, 0, `${checker}: ${stdout}${stderr}`);
}

function example(name: string): string {
  return repositoryPath(`examples/nightly/${name}`);
}

/** A small heap in our own format, taken in that night: a root holds the sessions. */
function dumpOf(night: number, sessions: number): string {
  const header = {
    ...{ type: "HEADER", format: "heapdump-mongo", format_version: 1, runtime: "ruby" },
    ...{ pid: 4711, host: "one", process_started_at: "2026-01-01T00:00:00.000Z" },
    taken_at: new Date(Date.UTC(2026, 0, 5 + night, 3)).toISOString(),
  };
  const hex = (id: number): string => `0x${(0x7f00_0000_0000 + id * 40).toString(16)}`;
  const all = Array.from({ length: sessions }, (_, index) => ({
    ...{ address: hex(index + 10), type: "OBJECT", class: hex(1), memsize: 40 },
  }));
  const records = [
    { address: hex(1), type: "CLASS", class: hex(1), name: "Session", memsize: 600 },
    ...all,
    { type: "ROOT", root: "vm", references: [hex(1), ...all.map(({ address }) => address)] },
  ];
  const trailer = { ...header, counts: { objects: sessions + 1, roots: 1 } };
  return [header, ...records, trailer].map((it) => `${JSON.stringify(it)}\n`).join("");
}
