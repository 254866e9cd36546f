import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { writeHeapSnapshot } from "node:v8";
import { BSON, type Document } from "mongodb";
import { importDump, queries } from "../../src/index.js";
import type { Query } from "../../src/query/define-query.js";
import { testDatabase, testEnvironment, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

type Printed = { readonly rows: Document[]; readonly notes: string[] };

/** What each query is asked here. */
type Choice = { readonly id: string; readonly objects: string[]; readonly names: string[] };

const execute = promisify(execFile);
const limit = 9;

describe("what heapdump-query prints", function () {
  this.timeout(240_000);
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-outputs-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });

  async function asked(dump: string, words: readonly string[]): Promise<string> {
    const where = ["--dump", dump, "--uri", test.uri, "--db", test.name];
    const { code, stdout, stderr } = await run("heapdump-query", [...words, ...where]);
    assert.equal(code, 0, `${words.join(" ")}: ${stderr}`);
    return stdout;
  }

  function wordsOf({ name, takes }: Query, { id, objects, names }: Choice): string[] {
    const given = { nothing: [], id: [id], "id-or-nothing": [], names, objects }[takes];
    return [name, ...given, "--limit", String(limit)];
  }

  async function comparesAll(dump: string, choice: Choice): Promise<void> {
    const pasted: string[] = [];
    const answers = new Map<string, Document[]>();
    for (const query of queries) {
      const words = wordsOf(query, choice);
      const json = JSON.parse(await asked(dump, [...words, "--json"])) as Printed;
      // The gem's own shape of that answer has the same numbers.
      const rows = query.name === "count-objects" ? rowsOfCounts(json) : json.rows;
      answers.set(query.name, rows);
      const csv = await csvCells(await asked(dump, [...words, "--csv"]));
      assert.deepEqual(
        csv,
        [
          query.columns.map(({ key }) => key),
          ...rows.map((row) => query.columns.map(({ key, unit }) => csvCell(row[key], unit))),
        ],
        query.name,
      );
      pasted.push(told(query.name, await asked(dump, [...words, "--pipeline"])));
    }
    const file = join(folder, `${dump}.js`);
    writeFileSync(file, pasted.join("\n"), { mode: 0o600 });
    const { stdout } = await execute(
      repositoryPath("node_modules/.bin/mongosh"),
      [test.uri, "--quiet", "--file", file],
      { env: testEnvironment(), maxBuffer: 1 << 28 },
    );
    const lines = stdout.trim().split("\n");
    assert.equal(lines.length, queries.length);
    for (const line of lines) {
      const { name, rows } = BSON.EJSON.parse(line, { relaxed: false }) as {
        name: string;
        rows: Document[];
      };
      const query = queries.find((one) => one.name === name) ?? assert.fail(name);
      const keys = query.columns.map(({ key }) => key);
      assert.deepEqual(cells(rows, keys), cells(answers.get(name) ?? [], keys), name);
    }
  }

  it("is the same by --json, by --csv, and by --pipeline in mongosh: a dump of the gem", async () => {
    const file = repositoryPath("test/fixtures/gem-ruby200-C.json.zst");
    await importDump({ file, db: test.db, name: "gem" });
    const empty = await emptyAnswers("gem");
    assert.deepEqual(empty, ["sites", "generations"]);
    await comparesAll("gem", {
      id: "0x2abac84472a0",
      objects: ["--class", "Shop::RequestState"],
      names: ["Shop"],
    });
  });

  it("is the same by all three: a snapshot of Node", async () => {
    const file = writeHeapSnapshot(join(folder, "node.heapsnapshot"));
    await importDump({ file, db: test.db, name: "node" });
    const map = await test.db.collection("node").findOne({ type: "object", class_name: "Map" });
    await comparesAll("node", {
      id: String(map?._id),
      objects: ["--where", '{"type":"closure"}'],
      names: ["Map"],
    });
  });

  /** Queries that need no argument and have no row. */
  async function emptyAnswers(dump: string): Promise<string[]> {
    const empty: string[] = [];
    for (const { name, takes } of queries) {
      if (takes !== "nothing") continue;
      const { rows } = JSON.parse(await asked(dump, [name, "--json"])) as Printed;
      if (rows.length === 0) empty.push(name);
    }
    return empty;
  }
});

/** A script that prints the rows of what was printed to be pasted. */
function told(name: string, text: string): string {
  const print = (rows: string): string =>
    `print(EJSON.stringify({ name: "${name}", rows: ${rows} }, { relaxed: false }));`;
  return text.startsWith("db.")
    ? print(`${text.trim()}.toArray()`)
    : text.replace(/^heap\..*$/m, (call) => print(`[...${call}]`));
}

function rowsOfCounts(json: unknown): Document[] {
  const { basic_types, user_types, ...slots } = json as Record<string, Record<string, number>>;
  return Object.entries({ slots, basic_types, user_types }).flatMap(([kind, counts]) =>
    Object.entries(counts ?? {}).map(([name, count]) => ({ kind, name, count })),
  );
}

/** Python's reader of CSV is none of ours. */
async function csvCells(text: string): Promise<string[][]> {
  const program = "import csv,json,sys; print(json.dumps(list(csv.reader(sys.stdin))))";
  const done = execute("python3", ["-c", program], { maxBuffer: 1 << 26 });
  done.child.stdin?.end(text);
  return JSON.parse((await done).stdout) as string[][];
}

function csvCell(value: unknown, unit: string): string {
  if (value === undefined || value === null) return "";
  if (unit === "id" && typeof value === "number") return `0x${value.toString(16)}`;
  if (typeof value === "number") return String(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

/** Values as JSON has them; which of many alike objects stands as an example is not promised. */
function cells(rows: readonly Document[], keys: readonly string[]): unknown[] {
  return rows.map((row) =>
    keys.filter((key) => !key.startsWith("sample")).map((key) => plain(row[key])),
  );
}

function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value !== "object" || value === null) return value;
  const { _bsontype: type } = value as { _bsontype?: string };
  if (type === "Int32" || type === "Double") return Number(value);
  if (type === "Long") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
}
