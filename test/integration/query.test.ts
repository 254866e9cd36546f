import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import type { Document } from "mongodb";
import { importDump } from "../../src/index.js";
import { indexedRetainedCountMin as indexed } from "../../src/load/indexes.js";
import { indexedRetainedCountMin as queried } from "../../src/query/one-dump/dominators.js";
import type { StoredId } from "../../src/query/define-query.js";
import { queries } from "../../src/query/queries.js";
import { ask } from "../../src/query/query.js";
import { testDatabase, testEnvironment, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run, type Outcome } from "../support/run.js";

/** What the leaking process had leaked, see test/fixtures/README.md. */
const leaks = [
  ["A", 100, 901],
  ["B", 300, 2_701],
  ["C", 600, 5_401],
] as const;

describe("heapdump-query", () => {
  let test: TestDatabase;
  before(async () => {
    test = await testDatabase();
    for (const [letter] of leaks) {
      await importDump({
        file: repositoryPath(`test/fixtures/gem-ruby200-${letter}.json.zst`),
        db: test.db,
        name: letter,
      });
    }
  });
  after(() => test.drop());
  const query = (...args: string[]): Promise<Outcome> =>
    run("heapdump-query", [...args, "--uri", test.uri, "--db", test.name]);
  const rowsOf = async (...args: string[]): Promise<Document[]> => {
    const { code, stdout, stderr } = await query(...args, "--json");
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { rows: Document[] }).rows;
  };
  const subscribersOf = async (letter: string): Promise<number> => {
    const broker = await test.db
      .collection(letter)
      .findOne({ type: "CLASS", name: "Shop::Broker", "ivs.@subscribers": { $exists: true } });
    return (broker?.["ivs"] as Document)["@subscribers"] as number;
  };

  for (const [letter, count, retained] of leaks) {
    it(`names the closure that holds all ${count} leaked objects of dump ${letter}`, async () => {
      const rows = await rowsOf("retainers", "--class", "Shop::RequestState", "--dump", letter);
      assert.equal(rows.length, 1);
      const [row] = rows;
      assert.equal(row?.["count"], count);
      assert.match(
        String(row?.["path"]),
        /Shop::Broker\.@subscribers → Array\[…\] → proc at make\/30_gem_small\.rb:19 → env$/,
      );
      assert.equal(row?.["dominator_id"], await subscribersOf(letter));
      assert.equal(row?.["dominator_retains"], retained);
      assert.match(
        String(row?.["sample"]),
        /Shop::Broker → @subscribers → Array\[\d+\] → proc at make\/30_gem_small\.rb:19 → env → (\w+ → )?Shop::RequestState/,
      );
    });
  }

  it("ranks the leaking closure first", async () => {
    const [first] = await rowsOf("closures", "--dump", "C");
    assert.equal(first?.["place"], "make/30_gem_small.rb:19");
    assert.equal(first?.["count"], 600);
    assert.equal(first?.["retained_count"], 5_400);
  });

  it("suspects the array of subscribers", async () => {
    const rows = await rowsOf("suspects", "--dump", "C");
    const subscribers = await subscribersOf("C");
    const found = rows.find((row) => row["id"] === subscribers);
    assert.equal(found?.["children"], 600);
    assert.equal(found?.["retained_count"], 5_401);
  });

  it("prints the path to an object, and others", async () => {
    const state = await test.db.collection("A").findOne({ class_name: "Shop::Line" });
    const rows = await rowsOf("path", `0x${Number(state?.["_id"]).toString(16)}`, "--dump", "A");
    assert.equal(rows[0]?.["id"], "_ROOTS_");
    assert.equal(rows.at(-1)?.["id"], state?.["_id"]);
    assert.equal(rows.length, Number(state?.["depth"]) + 1);
    // An object with several holders that roots reach: as many paths as asked for, all different.
    const shared = await test.db.collection("A").findOne({
      referrer_count: 2,
      dominator: { $exists: true },
      $expr: { $ne: ["$parent", "$dominator"] },
    });
    const all = await rowsOf("path", String(shared?.["_id"]), "--all", "2", "--dump", "A");
    const paths = [1, 2].map((path) =>
      all
        .filter((row) => row["path"] === path)
        .map((row) => row["id"] as number)
        .join(),
    );
    assert.notEqual(paths[0], paths[1]);
    const many = await test.db.collection("C").findOne({}, { sort: { referrer_count: -1 } });
    const told = await query("path", String(many?.["_id"]), "--all", "2", "--dump", "C");
    const count = Number(many?.["referrer_count"]).toLocaleString("en");
    assert.ok(Number(many?.["referrer_count"]) > 1000);
    assert.ok(told.stdout.includes(`Only 1,000 of the ${count} references to it were looked`));
    const leaked = await test.db.collection("A").findOne({ class_name: "Shop::RequestState" });
    const few = await query("path", String(leaked?.["_id"]), "--all", "50", "--dump", "A");
    assert.match(few.stdout, /That is the only path|There are \d+ paths only/);
    assert.ok(paths.every((path) => path.endsWith(String(shared?.["_id"]))));
  });

  it("lists referrers, references and the dominator tree of an object", async () => {
    const id = String(await subscribersOf("B"));
    const [holder] = await rowsOf("referrers", id, "--dump", "B");
    assert.equal(holder?.["label"], "Shop::Broker");
    assert.equal(holder?.["edge"], "@subscribers");
    const held = await rowsOf("references", id, "--dump", "B", "--limit", "1000");
    assert.equal(held.length, 300);
    assert.match(String(held[0]?.["label"]), /^proc at/);
    const children = await rowsOf("dominators", id, "--dump", "B", "--limit", "500");
    assert.equal(children.length, 300);
    assert.ok(children.every((row) => row["retained_count"] === 9));
    const fields = await rowsOf("object", id, "--dump", "B");
    assert.ok(fields.some((row) => row["name"] === "retained_count" && row["value"] === "2701"));
  });

  it("counts as the gem counts", async () => {
    const { stdout } = await query("count-objects", "Shop", "--dump", "C", "--json");
    const counts = JSON.parse(stdout) as Record<string, Record<string, number>>;
    assert.equal(counts["total_slots"] as unknown, 59_494);
    assert.equal(counts["user_types"]?.["Shop::RequestState"], 600);
    assert.equal(counts["user_types"]?.["Shop::Line"], 1_800);
    const strings = await test.db.collection("C").countDocuments({ type: "STRING" });
    assert.equal(counts["basic_types"]?.["T_STRING"], strings);
  });

  it("answers every question, as a table, JSON and CSV", async () => {
    const id = String(await subscribersOf("A"));
    for (const { name, takes } of queries) {
      const words = takes === "id" ? [id] : takes === "objects" ? ["--class", "Shop::Line"] : [];
      for (const form of [[], ["--json"], ["--csv"]]) {
        const { code, stderr, stdout } = await query(
          name,
          ...words,
          ...form,
          "--dump",
          "A",
          "--limit",
          "5",
        );
        assert.equal(code, 0, `${name}: ${stderr}`);
        assert.notEqual(stdout, "");
      }
    }
  });

  it("reads no whole collection for a question on one object", async () => {
    const id = await subscribersOf("C");
    const given = {
      id,
      names: [],
      where: { class_name: "Shop::RequestState" },
      whereText: "",
      all: 1,
    };
    const dump = await test.db.collection("dumps").findOne({ _id: "C" as never });
    for (const one of queries.filter(
      (any) => any.takes === "id" || any.takes === "objects" || any.name === "dominators",
    )) {
      const { collection, stages } = one.pipeline(given, dump as never, 20);
      const plan = await test.db
        .collection(collection)
        .aggregate([...stages])
        .explain("queryPlanner");
      assert.doesNotMatch(JSON.stringify(plan), /"COLLSCAN"/, one.name);
    }
  });

  it("examines few objects for any question on one object, in all it asks the server", async () => {
    const state = await test.db.collection("C").findOne({ class_name: "Shop::RequestState" });
    const popular = await test.db.collection("C").findOne({}, { sort: { referrer_count: -1 } });
    const objects = await test.db.collection("C").countDocuments();
    const ids = [await subscribersOf("C"), state?._id, popular?._id, "_ROOTS_"] as StoredId[];
    for (const one of queries.filter(({ takes }) => takes.startsWith("id"))) {
      for (const id of ids) {
        await test.db.command({ profile: 2 });
        const given = { id, names: [], where: {}, whereText: "", all: 5 };
        await ask(test.db, one, given, { dump: "C", limit: 20 });
        await test.db.command({ profile: 0 });
        const operations = await test.db
          .collection("system.profile")
          .find({ ns: new RegExp(`^${test.name}\\.(C|\\$cmd\\.aggregate)`) })
          .toArray();
        await test.db.dropCollection("system.profile");
        assert.ok(operations.length > 0, one.name);
        for (const { planSummary, docsExamined } of operations) {
          const what = `${one.name} of ${String(id)}: ${String(planSummary)}`;
          assert.doesNotMatch(String(planSummary), /COLLSCAN/, what);
          assert.ok(Number(docsExamined ?? 0) < objects / 20, `${what} ${String(docsExamined)}`);
        }
      }
    }
  });

  it("has views for the bare shell, and hex ids work there", async () => {
    const id = `0x${(await subscribersOf("A")).toString(16)}`;
    const script = `const d = db.getSiblingDB(${JSON.stringify(test.name)});
      const c = d.getCollection("A.classes").findOne({_id: "Shop::RequestState"});
      const plan = d.A.find({references: ${id}}).explain();
      EJSON.stringify({count: c.count, referrers: d.A.countDocuments({references: ${id}}), plan: JSON.stringify(plan.queryPlanner.winningPlan).includes("IXSCAN")})`;
    const text = execFileSync(
      repositoryPath("node_modules/.bin/mongosh"),
      [test.uri, "--quiet", "--eval", script],
      { encoding: "utf8", env: testEnvironment() },
    );
    assert.deepEqual(JSON.parse(text), { count: 100, referrers: 1, plan: true });
  });

  for (const [words, code, message] of [
    [["path", "0x1"], 4, /no object 0x1 in C; nearest to it: 0x[0-9a-f]+ \(\S+\)/],
    [["path", "root:vm"], 4, /no object root:vm in C; nearest to it: _ROOTS_/],
    [["path", "xyz"], 2, /is no id/],
    [["path"], 2, /needs the id/],
    [["retainer"], 2, /did you mean retainers/],
    [["summary", "--dump", "D"], 4, /there is|no dump/],
    [["classes", "--sort", "nonsense"], 2, /has no column/],
    [["retainers", "--where", '{"$where":"1"}'], 2, /--where/],
  ] as const) {
    it(`says what is wrong with ${words.join(" ")}`, async () => {
      const outcome = await query(
        ...words,
        ...(words.includes("--dump" as never) ? [] : ["--dump", "C"]),
      );
      assert.equal(outcome.code, code, outcome.stderr);
      assert.match(outcome.stderr, message);
    });
  }

  it("sorts before it cuts", async () => {
    const all = await rowsOf("classes", "--dump", "C", "--limit", "100000");
    const most = Math.max(...all.map((row) => Number(row["count"])));
    const [first, ...rest] = await rowsOf(
      "classes",
      "--dump",
      "C",
      "--sort",
      "-count",
      "--limit",
      "1",
    );
    assert.equal(first?.["count"], most);
    assert.equal(rest.length, 0);
  });

  it("runs no code of a condition, and takes harmless values", async () => {
    const escaped = await query("retainers", "--where", '{"\\u0024where":"1"}', "--dump", "C");
    assert.equal(escaped.code, 2, escaped.stderr);
    assert.equal((await query("retainers", "--where", '{"name":"$where"}', "--dump", "C")).code, 0);
  });

  it("suspects by the index alone", async () => {
    const dump = await test.db.collection("dumps").findOne({ _id: "C" as never });
    const suspects = queries.find((one) => one.name === "suspects");
    const given = { names: [], where: {}, whereText: "", all: 1 };
    const { collection, stages } = suspects?.pipeline(given, dump as never, 20) ?? {
      collection: "",
      stages: [],
    };
    const plan = await test.db
      .collection(collection)
      .aggregate([...stages])
      .explain("queryPlanner");
    assert.doesNotMatch(JSON.stringify(plan), /"COLLSCAN"/);
  });

  it("names the nearest class where there is none of that name", async () => {
    const { code, stdout } = await query(
      "retainers",
      "--class",
      "Shop::RequestStat",
      "--dump",
      "C",
    );
    assert.equal(code, 0);
    assert.match(stdout, /Did you mean Shop::RequestState/);
  });

  it("says which databases hold dumps where the one asked for holds none", async () => {
    const name = `${test.name}_x`;
    const asked = (...args: string[]): Promise<Outcome> =>
      run("heapdump-query", [...args, "--uri", test.uri, "--db", name]);
    const { code, stderr } = await asked("summary");
    assert.equal(code, 4, stderr);
    const told = new RegExp(`there are dumps in the databases? .*${test.name} \\([ABC, ]{7}\\)`);
    assert.match(stderr, new RegExp(`no dump is loaded in the database ${name}; `));
    assert.match(stderr, told);
    const { stdout } = await asked("--dumps");
    assert.match(stdout, /None is loaded/);
    assert.match(stdout, new RegExp(told.source.replace("there", "There")));
  });

  it("says of a dump that was pruned, or is not whole, that it is", async () => {
    const registry = test.db.collection<Document & { _id: string }>("dumps");
    const entry = await registry.findOne({ _id: "A" });
    assert.ok(entry !== null);
    await registry.insertMany([
      { ...entry, _id: "old", status: "pruned" },
      { ...entry, _id: "new.loading", status: "loading" },
    ]);
    for (const [name, message] of [
      ["old", /old was pruned/],
      ["new", /new is not whole/],
    ] as const) {
      const { code, stderr } = await query("summary", "--dump", name);
      assert.equal(code, 4, stderr);
      assert.match(stderr, message);
    }
    await registry.deleteMany({ _id: { $in: ["old", "new.loading"] } });
  });

  it("says why no collection is nearly empty", async () => {
    const { stdout } = await query("collections", "--dump", "A", "--limit", "3");
    assert.match(stdout, /tell no sizes of arrays and hashes/);
  });

  it("uses the threshold that the index has", () => assert.equal(queried, indexed));
});
