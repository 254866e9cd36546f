import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { run } from "../support/run.js";
import { makeDump } from "../support/small-dump.js";

describe("an import whose own disk is full", function () {
  this.timeout(120_000);
  let test: TestDatabase;
  let folder: string;
  let disk: string;
  let isMounted = false;
  before(async function () {
    folder = mkdtempSync(join(tmpdir(), "heapdump-full-"));
    disk = mkdtempSync(join(folder, "disk-"));
    test = await testDatabase();
    try {
      const options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk];
      execFileSync("mount", options, { stdio: "ignore" });
      isMounted = true;
    } catch {
      this.skip(); // No tmpfs here: not tried, and told so.
    }
  });
  after(async () => {
    if (isMounted) execFileSync("umount", ["-l", disk]);
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const resize = (size: string): void => {
    execFileSync("mount", ["-o", `remount,size=${size}`, disk]);
  };

  it("says that the spool of standard input is full, keeps the old dump, and works when there is room", async () => {
    const file = join(folder, "piped.json");
    const { objects } = makeDump(file, 20_000);
    const input = readFileSync(file);
    const args = ["--uri", test.uri, "--db", test.name, "-c", "piped", "-"];
    writeFileSync(join(folder, "old.json"), '{"address":"0x10","type":"OBJECT"}\n');
    const old = ["--uri", test.uri, "--db", test.name, "-c", "piped", join(folder, "old.json")];
    assert.equal((await run("heapdump-import", old)).code, 0);
    const spool = { environment: { TMPDIR: disk }, input };
    const full = await run("heapdump-import", [...args, "--drop"], spool);
    assert.equal(full.code, 1, full.stderr);
    assert.match(full.stderr, /decode\/spool.*full/);
    assert.match(full.stderr, /^fix: Make room in the spool folder/m);
    assert.deepEqual(readdirSync(disk), []);
    assert.equal(await test.db.collection("piped").countDocuments(), 1);
    resize("64m");
    const again = await run("heapdump-import", [...args, "--drop"], spool);
    assert.equal(again.code, 3, again.stderr);
    assert.equal(await test.db.collection("piped").countDocuments(), objects);
    assert.deepEqual(readdirSync(disk), []);
  });

  it("says that the rejects' file does not fit, and the same command goes on when there is room", async () => {
    resize("64k");
    const file = join(folder, "rejected.json");
    const lines = Array.from({ length: 3_000 }, (_, node) =>
      node % 2 === 0
        ? `{"address":"0x${(node + 16).toString(16)}","type":"OBJECT"}`
        : `{"broken ${node}`,
    );
    writeFileSync(file, lines.join("\n"));
    const rejects = join(disk, "rejects");
    const args = ["--uri", test.uri, "--db", test.name, file, "--rejects-file", rejects];
    const full = await run("heapdump-import", args);
    assert.equal(full.code, 1, full.stderr);
    assert.match(full.stderr, /--rejects-file: .*the disk is full/);
    assert.equal(await test.db.listCollections({ name: "rejected" }).hasNext(), false);
    resize("64m");
    const again = await run("heapdump-import", args);
    assert.equal(again.code, 3, again.stderr);
    assert.equal(await test.db.collection("rejected").countDocuments(), 1_500);
    assert.equal(await test.db.collection("rejected.rejects").countDocuments(), 1_500);
    assert.equal(readFileSync(rejects, "utf8").trim().split("\n").length, 1_500);
  });
});
