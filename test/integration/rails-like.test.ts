import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Document } from "mongodb";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import type { HeapDocument } from "../../src/query/define-query.js";
import { retainers } from "../../src/query/one-dump/retainers.js";
import { strings } from "../../src/query/one-dump/values.js";
import { dumpNamed } from "../../src/query/query.js";
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

  it("says of every class by shapes what climbing from every object says", async () => {
    const dump = await dumpNamed(test.db, "latest");
    assert.ok((dump.shapes ?? 0) > 100);
    const { shapes: _, ...withoutShapes } = dump;
    const choices: Document[] = (await rowsOf("classes", "--limit", "100000"))
      .filter((row) => row["name"] !== "ListNode" && Number(row["count"]) > 1)
      .slice(0, 15)
      .map((row) => ({ class_name: row["name"] as string }));
    const choicesOfTypes = [{ type: "IMEMO" }, { type: "DATA" }, { type: "ICLASS" }];
    for (const where of [...choices, ...choicesOfTypes]) {
      const [told, climbed] = await Promise.all(
        [dump, withoutShapes].map((one) => groupsOf(one, where)),
      );
      assert.deepEqual(told, climbed, JSON.stringify(where));
      // Any other condition climbs as far as shapes do not tell the rest; here of all objects, and of some.
      assert.deepEqual(await groupsOf(dump, { $and: [where] }), climbed, JSON.stringify(where));
      const some = { ...where, _id: { $mod: [3, 0] } };
      const [partly, wholly] = await Promise.all(
        [dump, withoutShapes].map((one) => groupsOf(one, some)),
      );
      assert.deepEqual(partly, wholly, JSON.stringify(some));
    }
  });

  it("tells a list in two steps, however long it is", async () => {
    const rows = await rowsOf("retainers", "--class", "ListNode");
    const count = facts.counts["ListNode"] ?? 0;
    assert.deepEqual(
      rows.map((row) => [row["count"], /( → ListNode)*$/.exec(String(row["path"]))?.[0]]),
      [
        [count - 1, " → ListNode"],
        [1, ""],
      ],
    );
    // All others hang on the first one.
    assert.equal(rows[0]?.["dominator_id"], rows[1]?.["sample_id"]);
    assert.equal(rows[0]?.["dominator_retains"], count);
  });

  it("tells a path through a long list by its ends", async () => {
    const end = await test.db
      .collection("rails")
      .findOne({ class_name: "ListNode" }, { sort: { depth: -1 } });
    const rows = await rowsOf("path", `0x${Number(end?._id).toString(16)}`);
    const count = facts.counts["ListNode"] ?? 0;
    assert.match(String(rows[0]?.["label"]), / → ListNode$/);
    assert.match(String(rows[0]?.["edge"]), /^\([\d,]+ steps/);
    assert.equal(rows.at(-1)?.["step"], end?.["depth"]);
    assert.ok(Number(end?.["depth"]) >= count);
    const told = rows.slice(1);
    assert.ok(told.length >= 10 && told.every((row) => row["label"] === "ListNode"));
    for (const [index, row] of told.entries()) {
      const above = await test.db.collection("rails").findOne({ _id: row["id"] as never });
      assert.equal(above?.["depth"], row["step"]);
      const next = told[index + 1];
      if (next === undefined) continue;
      const below = await test.db.collection("rails").findOne({ _id: next["id"] as never });
      assert.equal(below?.["parent"], row["id"]);
    }
  });

  /** Every group, in one order, without what may be any of its objects. */
  async function groupsOf(dump: DumpEntry, where: Document): Promise<unknown> {
    const given = { names: [], where, whereText: "", all: 1 };
    const { collection, stages } = retainers.pipeline(given, dump, 10_000);
    const found = await test.db
      .collection(collection)
      .aggregate([...stages])
      .toArray();
    const objects = test.db.collection<HeapDocument>(dump.collection);
    const context = { db: test.db, dump, objects, limit: 10_000 };
    const answer = await retainers.answer?.(found, given, context);
    const rows = (answer?.rows ?? []).map(({ sample: _s, sample_id: _i, ...row }) => row);
    const text = (row: (typeof rows)[number]): string => String(row["path"]);
    return {
      rows: rows.sort((one, two) => (text(one) < text(two) ? -1 : 1)),
      notes: answer?.notes,
    };
  }

  it("says of repeated texts what grouping all strings says", async () => {
    const dump = await dumpNamed(test.db, "latest");
    const { strings: _, ...uncounted } = dump;
    const [counted, grouped] = await Promise.all(
      [dump, uncounted].map((one) => repeatedTextsOf(one)),
    );
    assert.ok((grouped?.length ?? 0) > 100);
    assert.deepEqual(counted, grouped);
  });

  /** All of them: those that waste equally are in no order. */
  async function repeatedTextsOf(dump: DumpEntry): Promise<string[]> {
    const given = { names: [], where: {}, whereText: "", all: 1 };
    const { collection, stages } = strings.pipeline(given, dump, 100_000);
    const found = await test.db
      .collection(collection)
      .aggregate([...stages], { allowDiskUse: true })
      .toArray();
    return found
      .filter(({ wasted }) => Number(wasted) > 0)
      .map(({ value, count, length, wasted }) => JSON.stringify([value, count, length, wasted]))
      .sort();
  }

  it("ranks the leaking closure first and suspects its array", async () => {
    const [closure] = await rowsOf("closures");
    assert.match(String(closure?.["place"]), /make-dump\.rb:\d+$/);
    assert.equal(closure?.["count"], facts.subscribers.size);
    const suspects = await rowsOf("suspects");
    const found = suspects.find((row) => row["id"] === Number(facts.subscribers.address));
    assert.equal(found?.["children"], facts.subscribers.size);
  });
});
