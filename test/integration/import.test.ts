import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { decompress } from "fzstd";
import { Long, type Document } from "mongodb";
import { importDump } from "../../src/index.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

describe("heapdump-import", () => {
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-import-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const gem = (letter: string): string =>
    repositoryPath(`test/fixtures/gem-ruby200-${letter}.json.zst`);
  const dump = (name: string, content: string | Buffer): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const importIt = (args: readonly string[], input?: string | Buffer): ReturnType<typeof run> =>
    run(
      "heapdump-import",
      ["--uri", test.uri, "--db", test.name, ...args],
      input === undefined ? {} : { input },
    );

  it("loads a V8 snapshot: what the process planted, held by what holds it", async () => {
    const path = join(folder, "planted.heapsnapshot");
    const program = `
      class PlantedSession { constructor(n) { this.number = n; this.list = [{ n }]; } }
      globalThis.plantedHolder = { sessions: Array.from({ length: 123 }, (_, n) => new PlantedSession(n)) };
      require("node:v8").writeHeapSnapshot(${JSON.stringify(path)});`;
    execFileSync(process.execPath, ["-e", program]);
    const { code, stderr } = await importIt([path]);
    assert.equal(code, 0, stderr);
    const objects = test.db.collection("planted");
    const sessions = await objects
      .find({ class_name: "PlantedSession", reference_names: "list" })
      .toArray();
    assert.equal(sessions.length, 123);
    const holder = await objects.findOne({ reference_names: "sessions", type: "object" });
    const inHolder = (holder?.["reference_names"] as string[]).indexOf("sessions");
    const list = (holder?.["references"] as number[])[inHolder];
    // All sessions are freed with the array that alone holds them.
    assert.ok(sessions.every((session) => session["dominator"] !== 1));
    const array = await objects.findOne({ _id: list as never });
    const own = sessions.reduce((sum, session) => sum + Number(session["retained_size"]), 0);
    assert.ok(Number(array?.["retained_size"]) >= own, "the array retains its sessions");
    const entry = await test.db.collection("dumps").findOne({ _id: "planted" as never });
    assert.equal(entry?.["format"], "v8-snapshot");
    assert.equal(entry?.["counters"].unreachable, 0);
    // The converted one is measured alike.
    const lines = join(folder, "converted.ndjson");
    const converted = await run("heapdump-dump", ["--convert", path, "--out", lines]);
    assert.equal(converted.code, 0, converted.stderr);
    assert.equal((await importIt([lines])).code, 0);
    const sameArray = await test.db.collection("converted").findOne({ _id: list as never });
    assert.equal(Number(sameArray?.["retained_size"]), Number(array?.["retained_size"]));
    // Cut in the middle: refused whole.
    const cut = dump("cut.heapsnapshot", readFileSync(path).subarray(0, 500_000));
    const refused = await importIt([cut]);
    assert.equal(refused.code, 4);
    assert.match(refused.stderr, /decode\/corrupt.*cut\.heapsnapshot: byte \d+: /);
  });

  it("loads the three gem dumps, and says what README.md of the fixtures says", async () => {
    const { code, stderr } = await importIt([gem("A"), gem("B"), gem("C")]);
    assert.equal(code, 0, stderr);
    for (const [letter, objects, states, lines, retained] of [
      ["A", 53_387, 100, 300, 901],
      ["B", 55_835, 300, 900, 2_701],
      ["C", 59_494, 600, 1_800, 5_401],
    ] as const) {
      const objectsOf = test.db.collection(`gem-ruby200-${letter}`);
      assert.equal(await objectsOf.countDocuments(), objects + 1);
      assert.equal(await objectsOf.countDocuments({ class_name: "Shop::RequestState" }), states);
      assert.equal(await objectsOf.countDocuments({ class_name: "Shop::Line" }), lines);
      assert.equal(await objectsOf.countDocuments({ class_name: "Shop::Stable" }), 3_000);
      const broker = await objectsOf.findOne({
        type: "CLASS",
        name: "Shop::Broker",
        "ivs.@subscribers": { $exists: true },
      });
      const subscribers = await objectsOf.findOne({
        _id: (broker?.["ivs"] as Document)["@subscribers"] as never,
      });
      assert.equal(subscribers?.["retained_count"], retained);
      const entry = await test.db
        .collection<{ _id: string } & Document>("dumps")
        .findOne({ _id: `gem-ruby200-${letter}` });
      const {
        lines: all,
        objects: loaded,
        rejected,
        blank,
        repaired,
      } = (entry as Document)["counters"] as Record<string, number>;
      assert.equal(entry?.["status"], "complete");
      assert.equal(all, (loaded ?? 0) + (rejected ?? 0) + (blank ?? 0));
      assert.equal(repaired, 15);
    }
  });

  it("stores of a real dump_all what an independent count of the same file finds", async () => {
    const path = join(folder, "objspace.json");
    execFileSync("ruby", ["-robjspace", "-e", rubyProgram, path]);
    const records = readFileSync(path, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Document);
    const { code, stdout, stderr } = await importIt([path, "--json", "--quiet"]);
    assert.equal(code, 0, stderr);
    const summary = JSON.parse(stdout) as { counters: Record<string, number> };
    assert.equal(summary.counters["objects"], records.length);
    const objects = test.db.collection("objspace");
    const byType = await objects
      .aggregate<{ _id: string; count: number }>([{ $group: { _id: "$type", count: { $sum: 1 } } }])
      .toArray();
    const expected = new Map<string, number>();
    for (const record of records)
      expected.set(record["type"] as string, (expected.get(record["type"] as string) ?? 0) + 1);
    assert.deepEqual(new Map(byType.map(({ _id, count }) => [_id, count])), expected);
    assert.equal(await objects.countDocuments({ class_name: "Leak" }), 123);
    // References and sizes of every object, from the file itself.
    const addresses = new Set(records.map((record) => record["address"] as string));
    const wanted = new Map(
      records
        .filter((record) => record["address"] !== undefined)
        .map((record) => [Number(record["address"]), record]),
    );
    let compared = 0;
    for await (const found of objects.find({ type: { $ne: "ROOT" } })) {
      const record = wanted.get(found["_id"] as unknown as number) as Document;
      const references = ((record["references"] ?? []) as string[])
        .filter((one) => addresses.has(one))
        .map(Number);
      assert.deepEqual(found["references"], references);
      assert.equal(found["memsize"], record["memsize"]);
      assert.equal(found["value"], record["value"]);
      compared++;
    }
    assert.equal(compared, wanted.size);
  });

  it("reads standard input, gzip whatever its name, and CRLF", async () => {
    const text =
      '[{"id":"_ROOTS_","globals":[8]}\r\n,{"id":8,"bt":"T_ARRAY","class":null,"val":[16]}\r\n,{"id":16,"bt":"T_STRING","class":null,"val":"x"}\r\n]\r\n';
    const piped = await importIt(["-", "-c", "piped"], gzipSync(text));
    assert.equal(piped.code, 0, piped.stderr);
    const misnamed = await importIt([dump("misnamed.json", gzipSync(text))]);
    assert.equal(misnamed.code, 0, misnamed.stderr);
    for (const name of ["piped", "misnamed"]) {
      const found = await test.db.collection(name).find().sort({ depth: 1 }).toArray();
      assert.deepEqual(
        found.map((one) => [one["type"], one["depth"], one["retained_count"]]),
        [
          ["ROOT", 0, 3],
          ["ARRAY", 1, 2],
          ["STRING", 2, 1],
        ],
      );
    }
  });

  it("reads arrays of any layout", async () => {
    const records = [
      { id: "_ROOTS_", globals: [8] },
      { id: 8, bt: "T_ARRAY", val: [16], n: 1 },
      { id: 16, bt: "T_STRING", val: 'a,b]}\n"' },
    ];
    for (const [name, text] of [
      ["pretty", JSON.stringify(records, undefined, 2)],
      ["oneline", JSON.stringify(records)],
    ] as const) {
      const { code, stderr } = await importIt([dump(`${name}.json`, text)]);
      assert.equal(code, 0, stderr);
      const found = await test.db.collection(name).findOne({ _id: 16 as never });
      assert.equal(found?.["val"], 'a,b]}\n"');
      assert.equal(await test.db.collection(name).countDocuments(), 3);
    }
  });

  it("refuses bad elements of a one-line array one by one, and tells a cut array and two glued ones", async () => {
    const text =
      '[{"id":"_ROOTS_","globals":[8]},{"id":8,"bt":"T_ARRAY","val":[16,,]},{"id":16,"bt":"T_STRING"},{"id":16,"bt":"T_STRING"},{"id":24,"bt":5}]';
    const { code, stderr } = await importIt([dump("badarray.json", text)]);
    assert.equal(code, 3, stderr);
    const rejects = await test.db.collection("badarray.rejects").find().sort({ _id: 1 }).toArray();
    assert.deepEqual(
      rejects.map(
        ({ line, byte_offset, code: reason }) => [line, byte_offset, reason] as unknown[],
      ),
      [
        [1, 32, "not-json"],
        [1, 95, "duplicate-id"],
        [1, 121, "schema"],
      ],
    );
    const cut = await importIt([dump("cutarray.json", text.slice(0, 95))]);
    assert.equal(cut.code, 3, cut.stderr);
    assert.match(cut.stderr, /no closing bracket: it was cut/);
    const glued = await importIt([dump("gluedarray.json", text + text)]);
    assert.equal(glued.code, 4, glued.stderr);
    assert.match(glued.stderr, /glued together/);
  });

  it("keeps what is whole of a cut gzip, and says that it was cut", async () => {
    const whole = gzipSync(Buffer.from(decompress(readFileSync(gem("A")))));
    const { code, stderr } = await importIt([
      dump("cut.json.gz", whole.subarray(0, whole.length / 2)),
    ]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /cut or damaged/);
    assert.ok((await test.db.collection("cut").countDocuments()) > 10_000);
  });

  it("refuses bad records one by one, with file, line and reason, and keeps them", async () => {
    const text =
      '{"address":"0x10","type":"ARRAY","references":["0x20"]}\n{"address":"0x20","type":"STRI\n\n{"address":"0x30","type":"ARRAY","memsize":-1}\n{"address":"0x10","type":"HASH"}\n';
    const path = dump("bad.json", text);
    const rejectsFile = join(folder, "bad.rejects");
    const { code, stderr } = await importIt([path, "--rejects-file", rejectsFile]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /bad\.json:2: refused: /);
    const rejects = await test.db.collection("bad.rejects").find().sort({ _id: 1 }).toArray();
    assert.deepEqual(
      rejects.map(({ line, byte_offset, code: reason, path: at }) => [
        line,
        byte_offset,
        reason,
        at,
      ]),
      [
        [2, 56, "not-json", ""],
        [4, 88, "schema", "memsize"],
        [5, 135, "duplicate-id", "address"],
      ],
    );
    assert.equal(readFileSync(rejectsFile, "utf8").trim().split("\n").length, 3);
    assert.equal(statSync(rejectsFile).mode & 0o777, 0o600);
  });

  it("stops a hopeless file at --max-rejects", async () => {
    const path = dump("hopeless.json", `{"address":"0x10","type":"ARRAY"}\n${"{\n".repeat(50)}`);
    const { code, stderr } = await importIt([path, "--max-rejects", "10"]);
    assert.equal(code, 1);
    assert.match(stderr, /decode\/too-many-rejects/);
    assert.equal((await test.db.listCollections({ name: "hopeless" }).toArray()).length, 0);
  });

  for (const [what, content, code, message] of [
    ["an empty file", "", 4, /decode\/empty/],
    ["only blank lines", "\n\n\n", 4, /decode\/empty/],
    ["[", "[", 4, /decode\/empty/],
    ["[]", "[]", 4, /decode\/empty/],
    ["HPROF", "JAVA PROFILE 1.0.2\0\0\0\0", 4, /HPROF/],
    ["HTML", "<!DOCTYPE html><html></html>", 4, /HTML/],
    ["UTF-16", Buffer.from('\ufeff{"address":"0x1"}', "utf16le"), 4, /UTF-16/],
    ["a program", Buffer.from("\x7fELF\x02\x01\x01\0\0\0", "latin1"), 4, /ELF/],
    ["other JSON", '{"name":"x","version":1}', 4, /keys name, version/],
    [
      "two dumps glued together",
      '[{"id":2,"bt":"T_ARRAY"}\n]\n[{"id":4,"bt":"T_ARRAY"}\n]\n',
      3,
      /second dump begins/,
    ],
  ] as const) {
    it(`says of ${what} what it is`, async () => {
      const outcome = await importIt([dump("odd.json", content), "-c", "odd", "--drop"]);
      assert.match(outcome.stderr, message);
      if (code === 4) assert.equal(outcome.code, 4, outcome.stderr);
      else assert.notEqual(outcome.code, 0);
    });
  }

  it("says of a folder and of a missing file what is wrong", async () => {
    assert.match((await importIt([folder])).stderr, /is a folder/);
    const missing = await importIt([join(folder, "none.json")]);
    assert.equal(missing.code, 4);
    assert.match(missing.stderr, /there is no such file/);
  });

  it("stores keys and numbers exactly", async () => {
    const path = dump(
      "exact.json",
      '{"address":"0xfffffffffffffff0","type":"ARRAY"}\n{"address":"0x20000000000001","type":"HASH","value":{"$a":1,"b.c":9007199254740993,"":{"$oid":5}},"references":["0xfffffffffffffff0"]}\n',
    );
    const { code, stderr } = await importIt([path]);
    assert.equal(code, 0, stderr);
    const [found] = await test.db
      .collection("exact")
      .find({ type: "HASH" }, { promoteLongs: false })
      .toArray();
    assert.ok((found?.["_id"] as unknown as Long).equals(Long.fromString("9007199254740993")));
    assert.equal(((found?.["value"] as Document)["b.c"] as Long).toString(), "9007199254740993");
    assert.deepEqual(found?.["references"], ["18446744073709551600"]);
  });

  it("splits an object that is larger than a document may be, and finds its owner by the index", async () => {
    const count = 900_000;
    const references = Array.from(
      { length: count },
      (_, index) => `"0x${(index % 1000) + 16}"`,
    ).join(",");
    const small = Array.from(
      { length: 1000 },
      (_, index) => `{"address":"0x${(index + 16).toString()}","type":"STRING"}`,
    );
    const path = dump(
      "huge.json",
      `{"address":"0xffffff","type":"ARRAY","references":[${references}]}\n${small.join("\n")}\n{"address":"0xfffffe","type":"STRING","value":"${"x".repeat(40_000_000)}"}\n`,
    );
    const { code, stderr } = await importIt([path]);
    assert.equal(code, 0, stderr);
    const objects = test.db.collection("huge");
    const head = await objects.findOne({ _id: 0xffffff as never });
    const parts = await objects.find({ part_of: 0xffffff }).sort({ part: 1 }).toArray();
    const all = [head, ...parts].flatMap((one) => one?.["references"] as number[]);
    assert.equal(all.length, count);
    assert.equal(all[count - 1], Number(`0x${((count - 1) % 1000) + 16}`));
    const text = await objects
      .find({ $or: [{ _id: 0xfffffe as never }, { part_of: 0xfffffe }] })
      .toArray();
    const pieces = text.sort(
      (one, two) =>
        ((one["first"] as number | undefined) ?? 0) - ((two["first"] as number | undefined) ?? 0),
    );
    assert.equal(pieces.map((piece) => piece["value"] as string).join(""), "x".repeat(40_000_000));
  });

  it("keeps the old dump until the new one of its name is whole", async () => {
    const path = dump("again.json", '{"address":"0x10","type":"ARRAY"}\n');
    assert.equal((await importIt([path])).code, 0);
    const same = await importIt([path]);
    assert.equal(same.code, 0);
    assert.match(same.stderr, /loaded already/);
    dump("again.json", '{"address":"0x20","type":"ARRAY"}\n');
    const other = await importIt([path]);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /load\/exists/);
    dump("again.json", "{\n");
    assert.notEqual((await importIt([path, "--drop", "--format", "objspace"])).code, 0);
    assert.equal(await test.db.collection("again").countDocuments({ _id: 0x10 as never }), 1);
    dump("again.json", '{"address":"0x20","type":"ARRAY"}\n');
    assert.equal((await importIt([path, "--drop"])).code, 0);
    assert.deepEqual(
      (await test.db.collection("again").find().toArray()).map(({ _id }) => _id as unknown),
      [0x20],
    );
  });

  it("answers by the index which objects refer to one", async () => {
    const plan = await test.db
      .collection("gem-ruby200-A")
      .find({ references: 46981712212640 as never })
      .explain("queryPlanner");
    assert.match(JSON.stringify(plan["queryPlanner"]), /IXSCAN/);
    assert.doesNotMatch(JSON.stringify(plan["queryPlanner"]), /COLLSCAN/);
  });

  it("answers by the index whatever the ids referred to are", async () => {
    const cases = [
      // Half of the objects refer to none; ids that are texts stand beside numbers.
      ["to-numbers", "0x10", 0x10, [0x20, 0x30]],
      ["to-large", "0x7fffffffffffffff", 0x7fffffffffffffffn, [0x20, 0x30]],
      ["to-texts", "0xffffffffffffffff", "18446744073709551615", [0x20, 0x30]],
    ] as const;
    for (const [name, address, id, referrers] of cases) {
      const lines = [
        `{"type":"ROOT","root":"vm","references":["0x30"]}`,
        `{"address":"${address}","type":"STRING"}`,
        `{"address":"0x20","type":"ARRAY","references":["${address}"]}`,
        `{"address":"0x30","type":"ARRAY","references":["0x20","${address}"]}`,
        `{"address":"0x40","type":"STRING"}`,
      ];
      assert.equal((await importIt([dump(`${name}.json`, `${lines.join("\n")}\n`)])).code, 0);
      const collection = test.db.collection(name);
      const stored = typeof id === "bigint" ? Long.fromBigInt(id) : id;
      for (const filter of [{ references: stored }, { references: { $in: [stored, stored] } }]) {
        const found = await collection.find(filter as never).toArray();
        assert.deepEqual(
          found.map(({ _id }) => _id as unknown),
          referrers,
        );
        const plan = await collection.find(filter as never).explain("queryPlanner");
        assert.match(JSON.stringify(plan["queryPlanner"]["winningPlan"]), /IXSCAN/, name);
      }
      const looked = await collection
        .aggregate([
          { $match: { _id: stored } },
          {
            $lookup: { from: name, localField: "_id", foreignField: "references", as: "referrers" },
          },
        ])
        .toArray();
      const ids = (looked[0]?.["referrers"] as { _id: unknown }[]).map(({ _id }) => _id);
      assert.deepEqual(ids, referrers);
      assert.deepEqual((await collection.findOne({ _id: 0x40 as never }))?.["references"], []);
    }
  });

  it("names the host and a remedy within 5 seconds when there is no server", async () => {
    const started = Date.now();
    const { code, stderr } = await run("heapdump-import", [
      "--uri",
      "mongodb://user:canary-secret@127.0.0.1:9/",
      "--db",
      "x",
      gem("A"),
    ]);
    assert.equal(code, 5);
    assert.ok(Date.now() - started < 6_000);
    assert.match(stderr, /127\.0\.0\.1:9/);
    assert.match(stderr, /fix: /);
    assert.doesNotMatch(stderr, /canary-secret/);
  });

  it("says what is wrong with the command line", async () => {
    for (const args of [
      ["--db"],
      [],
      ["--db", "a/b", "x"],
      ["--db", "x", "--nonsense", "f"],
      ["--db", "x", "-j", "0", "f"],
      ["--db", "x", "--max-rejects", "x", "f"],
    ]) {
      const { code, stderr } = await run("heapdump-import", args);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /usage\/bad-option/);
    }
  });

  it("refuses to shard where there are no shards, and leaves nothing behind", async () => {
    const path = dump("shardless.json", '{"address":"0x10","type":"OBJECT"}\n');
    for (const kind of ["hashed", "ranged"]) {
      const { code, stderr } = await importIt([path, "--shard", kind]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /this is one server; a mongos of a sharded cluster is needed/);
    }
    const { code, stderr } = await importIt([path, "--shard", "evenly"]);
    assert.equal(code, 2);
    assert.match(stderr, /--shard: evenly is neither hashed nor ranged/);
    assert.equal(await test.db.listCollections({ name: /shardless/ }).hasNext(), false);
    const left = test.db.collection("dumps").countDocuments({ _id: /shardless/ as never });
    assert.equal(await left, 0);
  });

  it("redacts what strings say, and keeps that equal ones are equal", async () => {
    const path = dump(
      "secret.json",
      '{"address":"0x10","type":"STRING","value":"hunter2","file":"a.rb","line":1}\n{"address":"0x20","type":"STRING","value":"hunter2"}\n{"address":"0x30","type":"STRING","value":"other"}\n',
    );
    const { code } = await importIt([path, "--redact"]);
    assert.equal(code, 0);
    const [one, two, three] = await test.db.collection("secret").find().sort({ _id: 1 }).toArray();
    assert.match(one?.["value"] as string, /^redacted:7:[0-9a-f]{16}$/);
    assert.equal(one?.["value"], two?.["value"]);
    assert.notEqual(one?.["value"], three?.["value"]);
    assert.equal(one?.["file"], "a.rb");
  });

  it("is a library, too: progress events, an AbortSignal", async () => {
    const phases = new Set<string>();
    const summary = await importDump({
      file: gem("A"),
      db: test.db,
      name: "library",
      onProgress: ({ phase }) => phases.add(phase),
    });
    assert.equal(summary.entry.counters.objects, 53_388);
    assert.deepEqual([...phases], ["scan", "measure", "load", "index", "finish"]);
    const abort = new AbortController();
    abort.abort(new Error("enough"));
    await assert.rejects(
      importDump({ file: gem("B"), db: test.db, name: "aborted", signal: abort.signal }),
      /enough/,
    );
  });
});

const rubyProgram = `
class Leak; def initialize(n); @name = "leak #{n} " * 4; end; end
KEPT = Array.new(123) { |n| Leak.new(n) }
GC.start
ObjectSpace.dump_all(output: File.open(ARGV[0], "w"))
`;
