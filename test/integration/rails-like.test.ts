import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Document } from "mongodb";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

/** What the leaking process wrote of itself beside its dump. */
type Facts = {
  readonly counts: Readonly<Record<string, number>>;
  readonly subscribers: { readonly size: number; readonly address: string };
};

describe("a leak planted in a Rails-like Ruby process", () => {
  let test: TestDatabase;
  let folder: string;
  let facts: Facts;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-rails-"));
    const out = join(folder, "rails.json");
    execFileSync("ruby", [
      repositoryPath("bench/make-dump.rb"),
      "--objects",
      "60000",
      "--leaked",
      "700",
      "--list",
      "5000",
      "--out",
      out,
    ]);
    facts = JSON.parse(readFileSync(`${out}.facts.json`, "utf8")) as Facts;
    const { code, stderr } = await run("heapdump-import", [
      out,
      "--uri",
      test.uri,
      "--db",
      test.name,
    ]);
    assert.equal(code, 0, stderr);
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const rowsOf = async (...args: string[]): Promise<Document[]> => {
    const { code, stdout, stderr } = await run("heapdump-query", [
      ...args,
      "--uri",
      test.uri,
      "--db",
      test.name,
      "--json",
    ]);
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { rows: Document[] }).rows;
  };

  it("counts what the process counted itself", async () => {
    const classes = await rowsOf("classes", "--limit", "100000");
    for (const [name, count] of Object.entries(facts.counts)) {
      assert.equal(classes.find((row) => row["name"] === name)?.["count"], count, name);
    }
  });

  it("names the array that the process says is leaking as what holds all instances", async () => {
    const rows = await rowsOf("retainers", "--class", "Shop::RequestState");
    const [first] = rows;
    assert.equal(
      rows.reduce((sum, row) => sum + Number(row["count"]), 0),
      facts.counts["Shop::RequestState"],
    );
    assert.equal(first?.["count"], facts.subscribers.size);
    assert.equal(first?.["dominator_id"], Number(facts.subscribers.address));
    assert.match(
      String(first?.["path"]),
      /Shop::Broker → Array\[…\] → proc at .*make-dump\.rb:\d+ → env$/,
    );
  });

  it("ranks the leaking closure first and suspects its array", async () => {
    const [closure] = await rowsOf("closures");
    assert.match(String(closure?.["place"]), /make-dump\.rb:\d+$/);
    assert.equal(closure?.["count"], facts.subscribers.size);
    const suspects = await rowsOf("suspects");
    const found = suspects.find((row) => row["id"] === Number(facts.subscribers.address));
    assert.equal(found?.["children"], facts.subscribers.size);
  });
});
