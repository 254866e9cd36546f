import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { run } from "../support/run.js";

type Counters = Record<"lines" | "objects" | "rejected" | "repaired" | "blank", number>;

/** What must come of an input: the dump's ledger and rejects, or a refusal of the whole. */
type Case = {
  readonly what: string;
  readonly content: string | Buffer;
  readonly name?: string;
  readonly code: number;
  readonly says?: RegExp;
  readonly ledger?: Partial<Counters>;
  /** `line:code`, in order. */
  readonly rejects?: readonly string[];
  /** Looks at what was stored. */
  readonly stored?: (documents: Map<string, Record<string, unknown>>) => void;
};

const object = (id: number | string, more = ""): string =>
  `{"address":"${typeof id === "string" ? id : `0x${id.toString(16)}`}","type":"OBJECT"${more}}`;
const gem = (id: string, more = ""): string => `{"id":${id},"bt":"T_OBJECT","class":null${more}}`;
const two = `${object(16)}\n${object(32)}\n`;
const gz = gzipSync(two);
const many = Array.from({ length: 9_000 }, (_, id) => object(id + 16)).join("\n");
const broken = (bytes: Buffer, at: number, value: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[copy.length + at] = value;
  return copy;
};

const cases: readonly Case[] = [
  { what: "an empty file", content: "", code: 4, says: /decode\/empty.*is empty/ },
  { what: "an opening bracket", content: "[", code: 4, says: /decode\/empty/ },
  { what: "an empty array", content: "[]", code: 4, says: /decode\/empty/ },
  { what: "only newlines", content: "\n\r\n\n", code: 4, says: /decode\/empty.*blank/ },
  {
    what: "a dump that is cut within a line",
    content: `${two}${object(48).slice(0, -9)}`,
    code: 3,
    ledger: { lines: 3, objects: 2, rejected: 1 },
    rejects: ["3:not-json"],
  },
  {
    what: "the gem's dump without its closing bracket",
    content: `[${gem("2")}\n,${gem("4")}\n`,
    code: 3,
    says: /no closing bracket: it was cut/,
    ledger: { lines: 2, objects: 2, rejected: 0 },
  },
  {
    what: "CRLF line ends",
    content: two.replaceAll("\n", "\r\n"),
    code: 0,
    ledger: { lines: 2, objects: 2 },
  },
  { what: "a byte order mark", content: `\ufeff${two}`, code: 0, ledger: { lines: 2, objects: 2 } },
  {
    what: "UTF-16 with a mark",
    content: Buffer.from(`\ufeff${two}`, "utf16le"),
    code: 4,
    says: /UTF-16/,
  },
  { what: "UTF-16 without one", content: Buffer.from(two, "utf16le"), code: 4, says: /UTF-16/ },
  {
    what: "UTF-16, the other way round, without one",
    content: Buffer.from(two, "utf16le").swap16(),
    code: 4,
    says: /UTF-16/,
  },
  {
    what: "NUL bytes between and within lines",
    content: `${object(16)}\n\0\0\0\n${object(32, ',"v":"a\0b"')}\n${object(48, ',"v":"a\\u0000b"')}\n`,
    code: 3,
    ledger: { lines: 4, objects: 2, rejected: 2 },
    rejects: ["2:not-json", "3:not-json"],
    stored: (documents) => assert.equal(documents.get("48")?.["v"], "a\0b"),
  },
  {
    what: "broken UTF-8 in a string",
    content: Buffer.from(object(16, ',"value":"a\xffb"'), "latin1"),
    code: 0,
    ledger: { objects: 1, repaired: 1 },
    stored: (documents) => {
      const found = documents.get("16");
      assert.equal(found?.["value"], "a\ufffdb");
      const { buffer } = found["value_bytes"] as { buffer: Uint8Array };
      assert.deepEqual(Buffer.from(buffer), Buffer.from("a\xffb", "latin1"));
    },
  },
  {
    what: "lone surrogates",
    content: object(16, ',"value":"x\\ud800y\\udc00z"'),
    code: 0,
    ledger: { objects: 1, repaired: 1 },
    stored: (documents) => assert.equal(documents.get("16")?.["value"], "x\ufffdy\ufffdz"),
  },
  {
    what: "a line of 40 MB",
    content: `${object(16, `,"value":"${"x".repeat(40 << 20)}"`)}\n${object(32)}\n`,
    code: 0,
    ledger: { lines: 2, objects: 2, rejected: 0 },
  },
  {
    what: "an object with 3,000,000 references",
    content: `${object(16, `,"references":[${'"0x20",'.repeat(2_999_999)}"0x20"]`)}\n${object(32)}\n`,
    code: 0,
    ledger: { lines: 2, objects: 2 },
    stored: (documents) => assert.equal(documents.get("32")?.["referrer_count"], 3_000_000),
  },
  {
    what: "10,000 levels",
    content: `${object(16, `,"value":${"[".repeat(10_000)}${"]".repeat(10_000)}`)}\n${object(32)}\n`,
    code: 3,
    ledger: { objects: 1, rejected: 1 },
    rejects: ["1:too-deep"],
  },
  {
    what: "ids given twice",
    content: `${object(16)}\n${object(32)}\n${object(16, ',"value":"another"')}\n`,
    code: 3,
    ledger: { objects: 2, rejected: 1 },
    rejects: ["3:duplicate-id"],
  },
  {
    what: "ids above 2^53 and 2^63",
    content: `[${gem("9007199254740993")}\n,${gem("9223372036854775807", ',"ivs":{"@a":9007199254740993}')}\n,${gem("18446744073709551615", ',"ivs":{"@b":9223372036854775807}')}\n]\n`,
    code: 0,
    ledger: { objects: 3 },
    stored: (documents) => {
      assert.deepEqual([...documents.keys()].sort(), [
        "18446744073709551615",
        "9007199254740993",
        "9223372036854775807",
      ]);
      assert.equal(
        String(documents.get("9223372036854775807")?.["references"]),
        "9007199254740993",
      );
      assert.equal(
        String(documents.get("18446744073709551615")?.["references"]),
        "9223372036854775807",
      );
    },
  },
  {
    what: "ids that are negative, broken or of another type",
    content: `[${gem("-5")}\n,${gem("1.5")}\n,${gem("true")}\n,${gem("null")}\n,${gem("[7]")}\n,${gem("1e3")}\n,${gem("8")}\n]\n`,
    code: 3,
    ledger: { objects: 2, rejected: 5 },
    rejects: [1, 2, 3, 4, 5].map((line) => `${line}:schema`),
    // JSON knows no difference between 1e3 and 1000.
    stored: (documents) => assert.deepEqual([...documents.keys()].sort(), ["1000", "8"]),
  },
  {
    what: "addresses that are none",
    content: ["", "0x", "0xg", "16", "0x10000000000000000", "-0x10", "0X10"]
      .map((id) => object(id))
      .concat(object(16))
      .join("\n"),
    code: 3,
    ledger: { objects: 1, rejected: 7 },
  },
  {
    what: "keys with $, dots, empty ones, __proto__, the same one twice",
    content: `${object(16, ',"$a":1,"b.c":2,"":3,"__proto__":{"x":1},"constructor":4,"k":{"$set":1,"d.e":2}')}\n${object(32, ',"references":["0x10"],"references":["0x30"],"v":1,"v":2')}\n${object(48)}\n`,
    code: 0,
    ledger: { objects: 3 },
    stored: (documents) => {
      const found = documents.get("16") as Record<string, unknown>;
      assert.deepEqual([found["$a"], found["b.c"], found[""], found["constructor"]], [1, 2, 3, 4]);
      assert.deepEqual(found["k"], { $set: 1, "d.e": 2 });
      assert.deepEqual(Object.getOwnPropertyDescriptor(found, "__proto__")?.value, { x: 1 });
      // No reference got lost, whichever of the two is the field's.
      const twice = documents.get("32") as Record<string, unknown>;
      assert.ok(JSON.stringify(twice["references"]).includes("48"));
      assert.equal(twice["v"], 2);
      const kept = twice["duplicate_keys"] as { path: string; value: unknown }[];
      assert.deepEqual(kept.map(({ path }) => path).sort(), ["references", "v"]);
    },
  },
  {
    what: "look-alikes of Extended JSON",
    content: object(16, ',"value":{"$oid":5},"other":{"$numberLong":"7","$date":"x"}'),
    code: 0,
    stored: (documents) => {
      assert.deepEqual(documents.get("16")?.["value"], { $oid: 5 });
      assert.deepEqual(documents.get("16")?.["other"], { $numberLong: "7", $date: "x" });
    },
  },
  {
    what: "NaN, Infinity, hexadecimal and leading zeros",
    content: ["NaN", "Infinity", "-Infinity", "0x10", "01", "+1", ".5", "1.", "undefined", "'x'"]
      .map((value, index) => object(16 + index, `,"v":${value}`))
      .concat(object(64))
      .join("\n"),
    code: 3,
    ledger: { objects: 1, rejected: 10 },
    rejects: Array.from({ length: 10 }, (_, index) => `${index + 1}:not-json`),
  },
  {
    what: "a trailing comma in a record",
    content: `${object(16).replace("}", ",}")}\n${object(32, ',"v":[1,]')}\n${object(48)}\n`,
    code: 3,
    ledger: { objects: 1, rejected: 2 },
    rejects: ["1:not-json", "2:not-json"],
  },
  {
    what: "commas without an element in an array",
    content: `[ ${object(16)},,${object(32)},\n]`,
    code: 3,
    ledger: { objects: 2, rejected: 2 },
    rejects: ["1:not-json", "2:not-json"],
  },
  {
    what: "an array on one line, with a line end",
    content: `[${gem("2")}, ${gem("4")}]\n`,
    code: 0,
    ledger: { objects: 2, rejected: 0 },
  },
  {
    what: "values that are no objects",
    content: `${object(16)}\n5\n"text"\n[1]\nnull\ntrue\n${object(32)}\n`,
    code: 3,
    ledger: { lines: 7, objects: 2, rejected: 5 },
  },
  { what: "gz", name: "good.json.gz", content: gz, code: 0, ledger: { objects: 2 } },
  {
    what: "gz that is cut",
    name: "cut.json.gz",
    content: gzipSync(many).subarray(0, -30),
    code: 3,
    says: /cut|damaged|unexpected end/i,
  },
  {
    what: "gz with a wrong checksum",
    name: "crc.json.gz",
    content: broken(gzipSync(many), -6, 0x55),
    code: 3,
    says: /checksum|damaged|incorrect/i,
  },
  {
    what: "gz of two members",
    name: "members.json.gz",
    content: Buffer.concat([gz, gzipSync(`${object(48)}\n`)]),
    code: 0,
    ledger: { objects: 3 },
  },
  {
    what: "gz that is not called so",
    name: "misnamed.json",
    content: gz,
    code: 0,
    ledger: { objects: 2 },
  },
  {
    what: "a plain file called .gz",
    name: "plain.json.gz",
    content: two,
    code: 0,
    ledger: { objects: 2 },
  },
  {
    what: "gz within gz",
    name: "twice.json.gz",
    content: gzipSync(gz),
    code: 4,
    says: /gzip/,
  },
  { what: "HPROF", content: "JAVA PROFILE 1.0.2\0\0\0\0", code: 4, says: /HPROF/ },
  { what: "HTML", content: "<!DOCTYPE html><html></html>", code: 4, says: /HTML/ },
  {
    what: "a program",
    content: Buffer.from("\x7fELF\x02\x01\x01\0\0\0", "latin1"),
    code: 4,
    says: /ELF/,
  },
  {
    what: "dump_all twice",
    content: `{"type":"ROOT","root":"vm"}\n${two}{"type":"ROOT","root":"vm"}\n${object(64)}\n`,
    code: 4,
    says: /:4: a second dump begins here/,
  },
  {
    what: "the gem's dump and another behind it",
    content: `[${gem("2")}\n,${gem("4")}\n]\n${two}`,
    code: 4,
    says: /:4: a second dump begins here/,
  },
];

describe("an input that is not what it should be", function () {
  this.timeout(120_000);
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-bad-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });

  for (const { what, content, name, code, says, ledger, rejects, stored } of cases) {
    it(`${code === 4 ? "is refused" : code === 3 ? "costs only what is bad" : "is taken as it is"}: ${what}`, async () => {
      const path = join(folder, name ?? "input.json");
      writeFileSync(path, content);
      const outcome = await run("heapdump-import", [
        ...["--uri", test.uri, "--db", test.name, "-c", "input", "--drop", "--json", path],
      ]);
      assert.equal(outcome.code, code, outcome.stderr);
      if (says !== undefined) assert.match(outcome.stderr, says);
      assert.doesNotMatch(outcome.stderr, /internal\/|\n {4}at /);
      if (code === 4) {
        assert.match(outcome.stderr, /^fix: \S/m);
        return;
      }
      const { counters } = JSON.parse(outcome.stdout) as { counters: Counters };
      for (const [field, count] of Object.entries(ledger ?? {})) {
        assert.equal(counters[field as keyof Counters], count, `${field}: ${outcome.stdout}`);
      }
      assert.equal(counters.lines, counters.objects + counters.rejected + counters.blank);
      const kept = await test.db.collection("input.rejects").find().sort({ _id: 1 }).toArray();
      assert.equal(kept.length, counters.rejected);
      if (rejects !== undefined) {
        const told = kept.map((each) => `${String(each["line"])}:${String(each["code"])}`);
        assert.deepEqual(told, rejects);
      }
      const documents = await test.db
        .collection("input")
        .find({ part_of: { $exists: false } }, { promoteLongs: true, useBigInt64: false })
        .toArray();
      assert.equal(documents.length, counters.objects);
      stored?.(new Map(documents.map((each) => [String(each["_id"]), each])));
    });
  }
});
