import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { Long, type Db, type Document } from "mongodb";
import { importDump } from "../../src/index.js";
import { mergeObjects } from "../../src/query/across-dumps/merge-objects.js";
import { testDatabase, testEnvironment, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

const runProgram = promisify(execFile);

type Group = { class_name: string; site: string; count: number; holders: Document[] };

describe("heapdump-diff", () => {
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-diff-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });

  const importAll = async (files: Readonly<Record<string, string>>): Promise<void> => {
    for (const [name, file] of Object.entries(files)) await importDump({ file, db: test.db, name });
  };
  const diff = (...args: string[]): ReturnType<typeof run> =>
    run("heapdump-diff", ["--uri", test.uri, "--db", test.name, ...args]);
  const diffJson = async (...args: string[]): Promise<Document> => {
    const { code, stdout, stderr } = await diff("--json", ...args);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Document;
  };

  const idsOf = async (dump: string, name: string): Promise<Set<number>> => {
    const found = test.db.collection(dump).find({ class_name: name, type: "OBJECT" });
    return new Set((await found.toArray()).map(({ _id }) => _id as unknown as number));
  };
  const retainersOf = async (dump: string, ...args: string[]): Promise<Document[]> => {
    const { code, stdout, stderr } = await run("heapdump-query", [
      ...["retainers", "--uri", test.uri, "--db", test.name, "--dump", dump, "--json", ...args],
    ]);
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { rows: Document[] }).rows;
  };

  describe("on three dumps of one Ruby 2.0 process, by the gem", () => {
    before(() =>
      importAll(
        Object.fromEntries(
          ["A", "B", "C"].map((letter) => [
            `gem${letter}`,
            repositoryPath(`test/fixtures/gem-ruby200-${letter}.json.zst`),
          ]),
        ),
      ),
    );

    // What the fixtures' README says of the program that leaked.
    for (const [before, after, states, lines] of [
      ["gemA", "gemB", 200, 600],
      ["gemB", "gemC", 300, 900],
    ] as const) {
      it(`finds what grew from ${before} to ${after}`, async () => {
        const found = await diffJson(before, after);
        assert.equal(found.compared_by, "id");
        assert.match(found.evidence as string, /\d+ of \d+ named classes/);
        assert.equal(growthOf(found, "Shop::RequestState"), states);
        assert.equal(growthOf(found, "Shop::Line"), lines);
        assert.equal(growthOf(found, "Shop::Stable"), 0);
        const appeared = (found.objects as Document).appeared as Group[];
        assert.equal(countOf(appeared, "Shop::RequestState"), states);
        assert.equal(countOf(appeared, "Shop::Line"), lines);
        assert.equal(countOf(appeared, "Shop::Stable"), 0);
      });
    }

    it("names in the leak test what is new in B, alive in C, and the array that holds it", async () => {
      const found = await diffJson("gemA", "gemB", "gemC");
      const groups = found.groups as Group[];
      assert.equal(countOf(groups, "Shop::RequestState"), 200);
      assert.equal(countOf(groups, "Shop::Line"), 600);
      assert.equal(countOf(groups, "Shop::Stable"), 0);
      const [holder] = groups.find((one) => one.class_name === "Shop::RequestState")?.holders ?? [];
      assert.equal(holder?.count, 200);
      assert.match(
        holder?.path as string,
        / → Shop::Broker\.@subscribers → Array\[…\] → proc at \S+:19 → env$/,
      );
      assert.match(
        holder?.sample as string,
        /Shop::Broker → @subscribers → Array\[\d+\] → proc at \S+:19 → env → \w+ → Shop::RequestState$/,
      );
    });

    for (const name of ["Shop::RequestState", "Shop::Line"]) {
      it(`says of what leaked what \`heapdump-query retainers\` says of the same objects: ${name}`, async () => {
        const { groups } = await diffJson("gemA", "gemB", "gemC", "--limit", "1000");
        const group = (groups as Group[]).find((one) => one.class_name === name);
        // The same objects, chosen by plain set operations: no address of these classes is used twice.
        const [a, b, c] = await Promise.all(["gemA", "gemB", "gemC"].map((it) => idsOf(it, name)));
        const leaked = [...(b ?? [])].filter((id) => a?.has(id) === false && c?.has(id) === true);
        assert.equal(leaked.length, group?.count);
        const where = JSON.stringify({ _id: { $in: leaked } });
        const asked = await retainersOf("gemC", "--where", where);
        assert.ok(asked.length > 0);
        assert.deepEqual(group?.holders.map(withoutSample), asked.map(withoutSample));
        assert.ok(group?.holders.every((it) => leaked.includes(it.sample_id as number)));
        // All instances of the class are held in the same ways, by the same object.
        const all = await retainersOf("gemC", "--class", name);
        assert.deepEqual(
          group?.holders.map(({ path, dominator }) => [path, dominator as string]),
          all.map(({ path, dominator }) => [path, dominator as string]),
        );
      });
    }

    it("prints all of it for a person", async () => {
      const { code, stdout } = await diff("gemA", "gemB", "gemC");
      assert.equal(code, 0);
      assert.match(stdout, /New in gemB, still there in gemC/);
      assert.match(
        stdout,
        /Shop::Broker\.@subscribers → Array\[…\] → proc at \S+:19 → env +Array 0x/,
      );
      assert.match(stdout, /^ +0x[0-9a-f]+: .*@subscribers → Array\[\d+\] → proc .*Shop::Line$/m);
    });

    it("prints an aggregation with which mongosh finds the same growth", async () => {
      const { code, stdout } = await diff("gemA", "gemB", "--pipeline");
      assert.equal(code, 0);
      const { stdout: found } = await runProgram(
        repositoryPath("node_modules/.bin/mongosh"),
        [test.uri, "--quiet", "--eval", `EJSON.stringify(${stdout.trim()}.toArray())`],
        { env: testEnvironment(), maxBuffer: 100_000_000 },
      );
      const { growth } = await diffJson("gemA", "gemB", "--limit", "100000");
      // The words and percentages are made of these.
      const made = ["change", "percent", "bytes_percent", "retained_bytes_percent"];
      const expected = (growth as Document[]).map((row) =>
        Object.fromEntries(Object.entries(row).filter(([key]) => !made.includes(key))),
      );
      assert.ok(expected.length > 10);
      const sorted = (rows: Document[]): Document[] =>
        rows.sort((one, two) => (`${one.by} ${one.name}` < `${two.by} ${two.name}` ? -1 : 1));
      assert.deepEqual(sorted(JSON.parse(found) as Document[]), sorted(expected));
      for (const args of [["gemA", "gemB", "gemC"], ["--latest"], ["prune"]]) {
        assert.equal((await diff(...args, "--pipeline")).code, 2, args.join(" "));
      }
    });

    it("finds nothing between a dump and itself", async () => {
      const found = await diffJson("gemA", "gemA");
      assert.deepEqual(found.growth, []);
      const objects = found.objects as Document;
      assert.deepEqual([objects.appeared, objects.vanished, objects.reused_ids], [[], [], 0]);
      assert.equal(objects.survived, 53_388);
    });

    it("ends with 3 on growth above --fail-on, with 0 below", async () => {
      assert.equal((await diff("gemA", "gemB", "--fail-on", "count>100,pct>20")).code, 3);
      assert.equal((await diff("gemA", "gemB", "--fail-on", "count>5000")).code, 0);
    });

    it("says what is wrong with a call", async () => {
      for (const [args, code, message] of [
        [["gemA"], 2, /expected two or three dumps/],
        [["gemA", "gemB", "--fail-on", "size>3"], 2, /--fail-on: expected limits/],
        [["gemA", "gemB", "--window", "7d"], 2, /--window goes with --latest/],
        [["--latest", "--window", "soon"], 2, /--window: expected a time like 7d/],
        [["gemA", "missing"], 4, /no dump is named "missing"/],
      ] as const) {
        const outcome = await diff(...args);
        assert.equal(outcome.code, code, outcome.stderr);
        assert.match(outcome.stderr, message);
      }
    });
  });

  describe("on a Ruby that uses addresses again, with allocations traced", () => {
    let truth: Record<string, Record<string, number>>;
    before(async () => {
      const script = repositoryPath("test/support/churning.rb");
      const { stdout } = await runProgram("ruby", [script, folder], { timeout: 60_000 });
      truth = JSON.parse(stdout) as typeof truth;
      await importAll(
        Object.fromEntries(["A", "B", "C"].map((it) => [`rb${it}`, join(folder, `${it}.json`)])),
      );
    });

    it("counts new and gone objects as the process itself does", async () => {
      const found = await diffJson("rbA", "rbB");
      const { appeared, vanished } = found.objects as { appeared: Group[]; vanished: Group[] };
      assert.equal(found.compared_by, "id");
      for (const [kind, numbers] of Object.entries(truth)) {
        assert.equal(countOf(appeared, kind), numbers.new, `new ${kind}`);
        assert.equal(countOf(vanished, kind), numbers.gone, `gone ${kind}`);
        assert.equal(growthOf(found, kind), (numbers.after ?? 0) - (numbers.before ?? 0));
      }
      assert.ok((truth.Churned?.new ?? 0) > 2_900, "the program did churn");
    });

    it("counts what leaked as the process itself does, and says where it was made", async () => {
      const groups = (await diffJson("rbA", "rbB", "rbC", "--limit", "1000")).groups as Group[];
      assert.equal(countOf(groups, "Leaked"), truth.Leaked?.leaked);
      assert.equal(truth.Leaked?.leaked, 500);
      assert.equal(countOf(groups, "Churned"), truth.Churned?.leaked);
      const leaked = groups.filter((group) => group.class_name === "Leaked");
      const script = repositoryPath("test/support/churning.rb");
      const lines = readFileSync(script, "utf8").split("\n");
      const line = lines.findIndex((text) => text.startsWith("def leak(")) + 1;
      assert.deepEqual(
        leaked.map(({ site }) => site),
        [`${script}:${line}`],
      );
    });

    it("says of what leaked what retainers says of the class, from the shapes found at import", async () => {
      const groups = (await diffJson("rbA", "rbB", "rbC", "--limit", "1000")).groups as Group[];
      const leaked = groups.find((group) => group.class_name === "Leaked");
      const asked = await retainersOf("rbC", "--class", "Leaked");
      const ways = (rows: readonly Document[]): unknown[][] =>
        rows.map(({ path, dominator, dominator_retains }) => [path, dominator, dominator_retains]);
      assert.deepEqual(ways(leaked?.holders ?? []), ways(asked));
      assert.equal(asked[0]?.count, 900);
      assert.equal(leaked?.holders[0]?.count, 500);
    });

    it("differs from what addresses alone say, which is wrong", async () => {
      const churned = async (dump: string): Promise<Set<string>> =>
        new Set(
          (await test.db.collection(dump).find({ class_name: "Churned" }).toArray()).map((it) =>
            String(it._id),
          ),
        );
      const [a, b, c] = [await churned("rbA"), await churned("rbB"), await churned("rbC")];
      const newByAddress = [...b].filter((id) => !a.has(id)).length;
      const leakedByAddress = [...b].filter((id) => !a.has(id) && c.has(id)).length;
      const wrong =
        newByAddress !== truth.Churned?.new || leakedByAddress !== truth.Churned?.leaked;
      assert.ok(wrong, "no address was used again: this test shows nothing");
      assert.ok(newByAddress < (truth.Churned?.new ?? 0) / 2, `${newByAddress} by address`);
    });

    it("compares with another run of the program by class and site", async () => {
      const other = mkdtempSync(join(folder, "other-"));
      const script = repositoryPath("test/support/churning.rb");
      await runProgram("ruby", [script, other], { timeout: 60_000 });
      await importAll({ otherB: join(other, "B.json") });
      const found = await diffJson("rbA", "otherB");
      assert.equal(found.compared_by, "class and site");
      assert.match(found.evidence as string, /another process/);
      assert.equal(found.objects, undefined);
      assert.equal(growthOf(found, "Leaked"), 500);
      const { code, stderr } = await diff("rbA", "rbB", "otherB");
      assert.equal(code, 2);
      assert.match(stderr, /rbB and otherB are not taken for one process/);
    });
  });

  describe("on a Node process", () => {
    it("counts by V8's ids as the process itself does", async () => {
      const own = mkdtempSync(join(folder, "node-"));
      const script = repositoryPath("dist/test/support/churning-node.js");
      const { stdout } = await runProgram(process.execPath, [script, own], { timeout: 60_000 });
      const truth = JSON.parse(stdout) as Record<string, { leaked: number; churned: number }>;
      await importAll(
        Object.fromEntries(["A", "B", "C"].map((it) => [`js${it}`, join(own, `${it}.json`)])),
      );
      const two = await diffJson("jsA", "jsB");
      assert.equal(two.compared_by, "id");
      assert.match(two.evidence as string, /one process by both headers: pid \d+/);
      const { appeared, vanished } = two.objects as { appeared: Group[]; vanished: Group[] };
      const leaked = (truth.B?.leaked ?? 0) - (truth.A?.leaked ?? 0);
      assert.equal(leaked, 500);
      assert.equal(countOf(appeared, "LeakedSession"), leaked);
      assert.equal(countOf(appeared, "ChurnedRequest"), truth.B?.churned);
      assert.equal(countOf(vanished, "ChurnedRequest"), truth.A?.churned);
      assert.equal(growthOf(two, "ChurnedRequest"), 0);
      const three = await diffJson("jsA", "jsB", "jsC", "--limit", "1000");
      assert.equal(countOf(three.groups as Group[], "LeakedSession"), leaked);
      assert.equal(countOf(three.groups as Group[], "ChurnedRequest"), 0);
    });
  });

  describe("on a leaked list, whose elements hold each other", () => {
    it("counts what they retain once", async () => {
      const length = 30;
      for (const [name, nodes] of [
        ["listA", 0],
        ["listB", length],
        ["listC", length],
      ] as const) {
        const file = join(folder, `${name}.ndjson`);
        writeFileSync(file, listDump(nodes));
        await importAll({ [name]: file });
      }
      const { groups } = await diffJson("listA", "listB", "listC");
      const [list, ...others] = groups as Group[];
      assert.deepEqual([list?.class_name, list?.count, others], ["Link", length, []]);
      assert.deepEqual(
        list?.holders.map((it) => [it.path, it.count, it.retained_bytes, it.retained_count]),
        // The first one is held by the root, the others by one another.
        [
          ["root:vm → Link", length - 1, 0, 0],
          ["root:vm", 1, length * 40, length],
        ],
      );
    });
  });

  describe("merging collections in the order of ids", () => {
    it("tells who lived from when to when as a naive comparison does, on random dumps", async () => {
      let round = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(randomDump(), { minLength: 2, maxLength: 3 }), async (dumps) => {
          round++;
          const names = dumps.map((_, index) => `random${round}_${index}`);
          for (const [index, objects] of dumps.entries()) {
            const name = names[index] ?? "";
            await test.db.createCollection(name, {
              clusteredIndex: { key: { _id: 1 }, unique: true },
            });
            if (objects.length > 0) await test.db.collection(name).insertMany(objects);
          }
          assert.deepEqual(await livesOf(test.db, names), naiveLivesOf(dumps));
          for (const name of names) await test.db.dropCollection(name);
        }),
        { numRuns: 40 },
      );
    });
  });
});

/** Which of several objects stands for its group is nobody's promise. */
function withoutSample(row: Document): Document {
  const { sample, sample_id, ...rest } = row;
  assert.ok(typeof sample === "string" && sample !== "" && sample_id !== undefined);
  return rest;
}

/** A heap of one process in our own format: a root holds a list of so many links, each of which holds the next. */
function listDump(links: number): string {
  const header = {
    ...{ type: "HEADER", format: "heapdump-mongo", format_version: 1, runtime: "ruby", pid: 4711 },
    ...{ host: "one", process_started_at: "2026-01-01T00:00:00.000Z" },
    taken_at: "2026-01-05T00:00:00.000Z",
  };
  const hex = (id: number): string => `0x${(0x7f00_0000_0000 + id * 40).toString(16)}`;
  const records = [
    { address: hex(1), type: "CLASS", class: hex(1), name: "Link", memsize: 600 },
    ...Array.from({ length: links }, (_, index) => ({
      ...{ address: hex(10 + index), type: "OBJECT", class: hex(1), memsize: 40 },
      references: index + 1 < links ? [hex(11 + index)] : [],
    })),
    { type: "ROOT", root: "vm", references: [hex(1), ...(links > 0 ? [hex(10)] : [])] },
  ];
  const trailer = { ...header, counts: { objects: links + 1, roots: 1 } };
  return [header, ...records, trailer].map((it) => `${JSON.stringify(it)}\n`).join("");
}

function growthOf({ growth }: Document, name: string): number {
  const found = (growth as Document[]).find((it) => it.by === "class" && it.name === name);
  return (found?.count as number | undefined) ?? 0;
}

function countOf(groups: readonly Group[], name: string): number {
  return groups.reduce((sum, it) => sum + (it.class_name === name ? it.count : 0), 0);
}

/** Ids as they occur: numbers in one BSON type, integers beyond 2^53, text. */
function randomDump(): fc.Arbitrary<Document[]> {
  const object = fc.record({
    id: fc.integer({ min: 0, max: 12 }),
    class_name: fc.constantFrom("A", "B"),
    line: fc.constantFrom(1, 2),
    generation: fc.constantFrom(1, 2),
    memsize: fc.constantFrom(40, 80),
  });
  return fc.uniqueArray(object, { selector: ({ id }) => id }).map((all) =>
    all.map(({ id, ...rest }) => ({
      _id: (id > 9
        ? `root:${id}`
        : id > 6
          ? Long.fromBigInt((1n << 60n) + BigInt(id))
          : Long.fromNumber(id * 0x1_0000_0008)) as never,
      type: "OBJECT",
      file: "a.rb",
      ...rest,
    })),
  );
}

async function livesOf(db: Db, names: readonly string[]): Promise<string[]> {
  const lives: string[] = [];
  await mergeObjects(db, names, { trace: true, idOnly: false }, ({ id, first, last, fields }) => {
    lives.push(`${id} ${first}-${last} ${fields().className}${fields().memsize}`);
  });
  return lives.sort();
}

function naiveLivesOf(dumps: readonly Document[][]): string[] {
  const keyOf = (it: Document): string =>
    [it._id, it.type, it.class_name, it.line, it.generation].join();
  const lives: string[] = [];
  for (const [first, objects] of dumps.entries()) {
    for (const object of objects) {
      const same = (it: Document): boolean => keyOf(it) === keyOf(object);
      if (dumps[first - 1]?.some(same)) continue;
      let last = first;
      while (dumps[last + 1]?.some(same)) last++;
      const end = dumps[last]?.find(same);
      lives.push(`${object._id} ${first}-${last} ${object.class_name}${end?.memsize}`);
    }
  }
  return lives.sort();
}
