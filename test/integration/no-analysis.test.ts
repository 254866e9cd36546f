import assert from "node:assert/strict";
import type { Document } from "mongodb";
import { importDump, queries } from "../../src/index.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run, type Outcome } from "../support/run.js";

const file = repositoryPath("test/fixtures/gem-ruby200-A.json.zst");
/** What only the analysis knows. */
const analysed = ["depth", "parent", "dominator", "retained_size", "retained_count"];

describe("heapdump-import --no-analysis", () => {
  let test: TestDatabase;
  let outcome: Outcome;
  before(async () => {
    test = await testDatabase();
    await importDump({ file, db: test.db, name: "whole" });
    outcome = await importIt("-c", "bare", "--no-analysis");
  });
  after(() => test.drop());
  const importIt = (...args: string[]): Promise<Outcome> =>
    run("heapdump-import", ["--uri", test.uri, "--db", test.name, file, ...args]);
  const query = (...args: string[]): Promise<Outcome> =>
    run("heapdump-query", [...args, "--uri", test.uri, "--db", test.name]);
  const rowsOf = async (...args: string[]): Promise<Document[]> => {
    const { code, stdout, stderr } = await query(...args, "--json");
    assert.equal(code, 0, stderr);
    const { rows } = JSON.parse(stdout) as { rows: Document[] };
    return rows.map(({ retained_size: _size, retained_count: _count, ...row }) => row);
  };

  it("stores the same documents without what the analysis adds, and two indexes", async () => {
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.match(outcome.stderr, /^ {2}STRING [\d,]+, /m);
    assert.match(outcome.stderr, /15 repaired; not analysed$/m);
    const bare = test.db.collection("bare").find({}, { sort: { _id: 1 } });
    const projection = Object.fromEntries(analysed.map((field) => [field, 0]));
    let count = 0;
    for await (const object of test.db
      .collection("whole")
      .find({}, { sort: { _id: 1 }, projection })) {
      assert.deepEqual(await bare.next(), object);
      count++;
    }
    assert.equal(await bare.next(), null);
    assert.equal(count, 53_388);
    const indexes = await test.db.collection("bare").indexes();
    assert.deepEqual(
      indexes
        .map(({ key }) => Object.keys(key as object).join())
        .filter((key) => key !== "_id")
        .sort(),
      ["references", "type"],
    );
    const dumps = test.db.collection<{ _id: string } & Document>("dumps");
    const entry = await dumps.findOne({ _id: "bare" });
    assert.equal(entry?.["analysed"], false);
    assert.equal("unreachable" in (entry?.["counters"] as object), false);
    assert.equal(await test.db.collection("summaries").countDocuments({ dump: "bare" }), 0);
  });

  it("answers what needs no analysis as it answers of the whole dump", async () => {
    const object = await test.db.collection("bare").findOne({ referrer_count: { $gt: 2 } });
    const id = String(object?._id);
    for (const name of ["referrers", "references"]) {
      const rows = await rowsOf(name, id, "--dump", "bare");
      assert.deepEqual(rows, await rowsOf(name, id, "--dump", "whole"));
    }
    const facts = await rowsOf("object", id, "--dump", "bare");
    assert.ok(facts.length > 0);
    const summary = await rowsOf("summary", "--dump", "bare");
    assert.equal(summary.find(({ fact }) => fact === "unreachable")?.["value"], "not analysed");
  });

  it("says of all else what to do", async () => {
    const needing = queries.filter((one) => one.worksUnanalysed !== true);
    assert.ok(needing.length > 10);
    for (const { name, takes } of needing) {
      const what =
        takes === "id" ? ["46981712212640"] : takes === "objects" ? ["--class", "X"] : [];
      const { code, stderr } = await query(name, ...what, "--dump", "bare");
      assert.equal(code, 1, name);
      assert.match(stderr, /bare was imported without analysis: .*but not /);
      assert.match(stderr, /--drop and without --no-analysis/);
    }
    const { code, stderr } = await query("suspects", "--dump", "bare", "--pipeline");
    assert.equal(code, 1, stderr);
    const diff = await run("heapdump-diff", [
      ...["whole", "bare", "--uri", test.uri, "--db", test.name],
    ]);
    assert.equal(diff.code, 1, diff.stderr);
    assert.match(diff.stderr, /bare was imported without analysis: it cannot be compared/);
  });

  it("is not taken for the analysed one, which can replace it", async () => {
    assert.equal((await importIt("-c", "bare", "--no-analysis")).code, 0);
    const again = await importIt("-c", "bare");
    assert.equal(again.code, 1);
    assert.match(again.stderr, /bare is loaded already, without analysis/);
    assert.equal((await importIt("-c", "bare", "--drop")).code, 0);
    const rows = await rowsOf("suspects", "--dump", "bare");
    assert.deepEqual(rows, await rowsOf("suspects", "--dump", "whole"));
    const indexes = await test.db.collection("bare").indexes();
    assert.ok(indexes.some(({ key }) => "class_name" in (key as object)));
    const asWhole = await importIt("-c", "whole", "--no-analysis");
    assert.equal(asWhole.code, 0, asWhole.stderr);
  });
});
