import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { repositoryPath } from "../support/run.js";

const exec = promisify(execFile);

/** What `npm pack` says of the package. */
type Packed = { filename: string; files: { path: string }[] };

describe("the package, as npm installs it", function () {
  this.timeout(180_000);
  let folder: string;
  let packed: Packed;
  before(async function () {
    folder = mkdtempSync(join(tmpdir(), "heapdump-package-"));
    const { stdout } = await exec(
      "npm",
      ["pack", "--json", "--ignore-scripts", "--pack-destination", folder],
      { cwd: repositoryPath("."), maxBuffer: 1 << 24 },
    );
    packed = (JSON.parse(stdout) as Packed[])[0] as Packed;
    writeFileSync(join(folder, "package.json"), '{"type":"module","private":true}');
    await exec("npm", ["install", "--no-audit", "--prefer-offline", `./${packed.filename}`], {
      cwd: folder,
      maxBuffer: 1 << 24,
    });
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("holds what is needed and no tests, benches or dumps", () => {
    const paths = packed.files.map(({ path }) => path);
    for (const needed of ["ruby/heap_dump.rb", "ruby/register_job.py", "dist/src/index.d.ts"]) {
      assert.ok(paths.includes(needed), needed);
    }
    const strange = paths.filter((path) => /(^|\/)(test|bench)\/|\.(zst|heapsnapshot)$/.test(path));
    assert.deepEqual(strange, []);
  });

  it("has all commands, each of which says what it is for", async () => {
    const { bin } = JSON.parse(readFileSync(repositoryPath("package.json"), "utf8")) as {
      bin: Record<string, string>;
    };
    const commands = Object.keys(bin);
    assert.ok(commands.length >= 5);
    for (const command of commands) {
      const { stdout } = await exec(join(folder, "node_modules/.bin", command), ["--help"]);
      assert.match(stdout, new RegExp(`^usage: ${command} `), command);
    }
  });

  it("is a library with types", async () => {
    const program = `
      import { importDump, type ImportOptions, type ImportSummary } from "heapdump-mongo";
      import { countObjects, dump, type Dumped } from "heapdump-mongo/producer";
      export const load = (options: ImportOptions): Promise<ImportSummary> => importDump(options);
      export const write = (): Promise<Dumped> => dump({ file: "app.ndjson", redact: "values" });
      const counts = await countObjects(["Shop"]);
      if (counts.total_slots <= 0) throw new Error("no objects");
      // @ts-expect-error - there is no such option.
      export const wrong = (): Promise<Dumped> => dump({ path: "app.ndjson" });
    `;
    writeFileSync(join(folder, "program.ts"), program);
    await exec(
      process.execPath,
      [
        ...[repositoryPath("node_modules/typescript/bin/tsc"), "--strict", "--module", "nodenext"],
        ...["--target", "es2022", "--skipLibCheck", "--types", "node"],
        ...["--typeRoots", repositoryPath("node_modules/@types"), "program.ts"],
      ],
      { cwd: folder },
    );
    await exec(process.execPath, ["program.js"], { cwd: folder });
  });
});
