import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ask, endAll, freePort, leakingNode, run } from "../support/node-process.js";
import { repositoryPath } from "../support/run.js";

describe("a dump of a Node onto a disk that is full", function () {
  this.timeout(60_000);
  let folder: string;
  let disk: string;
  let isMounted = false;
  before(function () {
    folder = mkdtempSync(join(tmpdir(), "heapdump-full-"));
    disk = mkdtempSync(join(folder, "disk-"));
    try {
      const options = ["-t", "tmpfs", "-o", "size=3m", "tmpfs", disk];
      execFileSync("mount", options, { stdio: "ignore" });
      isMounted = true;
    } catch {
      this.skip(); // No tmpfs here: not tried, and told so.
    }
  });
  after(async () => {
    await endAll();
    if (isMounted) execFileSync("umount", ["-l", disk]);
    rmSync(folder, { recursive: true, force: true });
  });

  it("is refused before it begins, from within, and the application goes on", async () => {
    const module = join(folder, "within.mjs");
    writeFileSync(
      module,
      `import { dump } from ${JSON.stringify(repositoryPath("dist/src/capture/producer.js"))};
      const said = await dump({ dir: ${JSON.stringify(disk)} }).catch(({ code, message }) => [code, message]);
      console.log(JSON.stringify(said));`,
    );
    const { stdout } = await promisify(execFile)(process.execPath, [module]);
    const [code, message] = JSON.parse(stdout) as [string, string];
    assert.equal(code, "capture/no-space");
    assert.match(message, /has 3 MiB free, the dump may need \d+ MiB/);
    assert.deepEqual(readdirSync(disk), []);
  });

  it("is refused from outside, and the process serves on", async () => {
    const { numbers } = await leakingNode([`--inspect-port=${await freePort()}`]);
    const { code, stderr } = await run("heapdump-dump", [
      ...["--pid", String(numbers[0]?.pid), "--out", join(disk, "app.ndjson")],
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /capture\/no-space.*3 MiB free/);
    assert.match(stderr, /^fix: /m);
    assert.deepEqual(readdirSync(disk), []);
    assert.equal((await ask(numbers[0]?.port as number, "/numbers")).sessions, 300);
  });

  it("is told in the middle of a conversion, which leaves nothing; elsewhere it is whole", async () => {
    const snapshot = join(folder, "app.heapsnapshot");
    const program = `globalThis.kept = Array.from({ length: 20_000 }, (_, n) => ({ n, text: "text " + n }));
      require("node:v8").writeHeapSnapshot(${JSON.stringify(snapshot)});`;
    execFileSync(process.execPath, ["-e", program]);
    const full = await run("heapdump-dump", [
      ...["--convert", snapshot, "--out", join(disk, "app.ndjson")],
    ]);
    assert.equal(full.code, 1, full.stderr);
    assert.match(full.stderr, /capture\/no-space.*the disk is full/);
    assert.deepEqual(readdirSync(disk), []);
    const out = join(folder, "app.ndjson");
    const { code, stderr } = await run("heapdump-dump", ["--convert", snapshot, "--out", out]);
    assert.equal(code, 0, stderr);
    assert.ok(statSync(out).size > 6 << 20, `${statSync(out).size}`);
    const lines = readFileSync(out, "utf8").trimEnd().split("\n");
    const { counts } = JSON.parse(lines.at(-1) ?? "") as {
      counts: { objects: number; roots: number };
    };
    const { snapshot: said } = JSON.parse(readFileSync(snapshot, "utf8")) as {
      snapshot: { node_count: number };
    };
    assert.equal(counts.objects + counts.roots, said.node_count);
    // The header, and the header again with the counts.
    assert.equal(lines.length, said.node_count + 2);
  });
});
