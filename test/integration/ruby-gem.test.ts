import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const exec = promisify(execFile);
const root = fileURLToPath(new URL("../../../", import.meta.url));

describe("the gem", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it("builds, installs elsewhere and is required from there, in the package's version", async () => {
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
      version: string;
    };
    const source = join(folder, "ruby");
    await cp(join(root, "ruby"), source, { recursive: true });
    const { stderr } = await exec("gem", ["build", "heap_dump.gemspec"], { cwd: source });
    // The project has no public address yet. Nothing else keeps `gem build --strict` from passing.
    const warnings = stderr.match(/^WARNING: .*$/gm)?.filter((line) => !/ See http/.test(line));
    assert.deepEqual(warnings, ["WARNING:  no homepage specified"]);
    const home = join(folder, "home");
    const options = { cwd: folder, env: { ...env, GEM_HOME: home, GEM_PATH: home } };
    const gem = join(source, `heap_dump-mongo-${version}.gem`);
    await exec("gem", ["install", "--local", "--no-document", gem], options);
    const { stdout } = await exec(
      "ruby",
      [
        "-e",
        `require "heap_dump"; puts HeapDump::VERSION, $LOADED_FEATURES.grep(/heap_dump/), File.size(HeapDump.dump("d.json"))`,
      ],
      options,
    );
    const [loaded, path, bytes] = stdout.split("\n");
    assert.equal(loaded, version);
    assert.equal(path, `${home}/gems/heap_dump-mongo-${version}/heap_dump.rb`);
    assert.ok(Number(bytes) > 100_000);
    const listed = await exec("gem", ["contents", "heap_dump-mongo"], options);
    const files = listed.stdout
      .trim()
      .split("\n")
      .map((file) => file.split(`-${version}/`)[1]);
    assert.deepEqual(files.sort(), ["README.md", "heap_dump.rb"]);
  }).timeout(60_000);
});
