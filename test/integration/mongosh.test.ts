import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Document } from "mongodb";
import { oneLiners } from "../../scripts/one-liners.js";
import { writeMongoshScript } from "../../scripts/build-mongosh.js";
import { ask, choiceOf, importDump, parseId, queries, type Table } from "../../src/index.js";
import { shellNameOf } from "../../src/query/query.js";
import { testDatabase, testEnvironment, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

type Shown = { readonly name: string; readonly rows: Document[]; readonly notes: string[] };

describe("in the real mongosh", function () {
  this.timeout(180_000);
  let test: TestDatabase;
  let folder: string;
  let script: string;
  /** `@subscribers` of dump C, which holds the leak. */
  const subscribers = "0x2abac84472a0";

  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-mongosh-"));
    script = repositoryPath("dist/mongosh/heap.js");
    await writeMongoshScript();
    const file = repositoryPath("test/fixtures/gem-ruby200-C.json.zst");
    await importDump({ file, db: test.db, name: "app" });
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });

  /** What mongosh prints of a script that is loaded behind ours. */
  async function printed(text: string): Promise<string> {
    const file = join(folder, "asked.js");
    writeFileSync(file, text, { mode: 0o600 });
    const { stdout } = await promisify(execFile)(
      repositoryPath("node_modules/.bin/mongosh"),
      [withDatabase(test.uri, test.name), "--quiet", "--file", script, "--file", file],
      { env: testEnvironment(), maxBuffer: 1 << 26 },
    );
    return stdout;
  }

  it("answers every query as the library and heapdump-query do", async () => {
    const calls = queries.map(({ name, takes }) => {
      const words =
        takes === "id" ? `${subscribers}, ` : takes === "objects" ? '"Shop::Line", ' : "";
      const names = takes === "names" ? '"Shop", ' : "";
      return `told(${JSON.stringify(name)}, heap.${shellNameOf(name)}(${words}${names}{ limit: 7 }));`;
    });
    const text = await printed(`
      const told = (name, rows) => print(JSON.stringify({ name, rows, notes: rows.notes }));
      heap.use("app");
      ${calls.join("\n").replace('heap.retainers("Shop::Line", { limit: 7 })', 'heap.retainers({ class: "Shop::Line", limit: 7 })')}`);
    const answers = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Shown);
    assert.deepEqual(
      answers.map(({ name }) => name),
      queries.map(({ name }) => name),
    );
    for (const [index, query] of queries.entries()) {
      const { where, text: whereText } = choiceOf({ class: "Shop::Line" });
      const table = await ask(
        test.db,
        query,
        {
          ...(query.takes === "id" ? { id: parseId(subscribers) } : {}),
          ...(query.takes === "names" ? { names: ["Shop"] } : {}),
          ...(query.takes === "objects" ? { where, whereText } : {}),
        },
        { limit: 7 },
      );
      assert.ok(table.rows.length > 0 || table.notes.length > 0, query.name);
      assert.deepEqual(comparable(answers[index]), comparable(table), query.name);
    }
    const { stdout } = await run("heapdump-query", [
      ...["classes", "--limit", "7", "--json", "--uri", test.uri, "--db", test.name],
    ]);
    const classes = answers.find(({ name }) => name === "classes");
    assert.deepEqual((JSON.parse(stdout) as Shown).rows, classes?.rows);
  });

  it("prints tables, help, and sentences where something is wrong", async () => {
    const text = await printed(`
      heap.help();
      const said = (ask) => { try { return ask().length; } catch (error) { return error.message; } };
      print(said(() => heap.path(0x1)));
      print(said(() => heap.path(0xffff800012345679)));
      print(said(() => heap.use("ap")));
      print(heap.retainers("Shop::RequestStat").notes);
      print(heap.path(${subscribers}));`);
    assert.match(text, /heap\.retainers\(/);
    assert.match(text, /\[query\/not-found\] no object 0x1 in app/);
    assert.match(text, /rounded by JavaScript/);
    assert.match(text, /no dump "ap" is loaded; there is app/);
    assert.match(text, /Did you mean Shop::RequestState/);
    assert.match(text, /Shop::Broker +@subscribers/);
  });

  it("gives the whole answer of what --pipeline prints", async () => {
    const { stdout } = await run("heapdump-query", [
      ...["retainers", "--class", "Shop::RequestState", "--pipeline"],
      ...["--uri", test.uri, "--db", test.name],
    ]);
    const text = await printed(
      stdout.replace(/^heap\..*$/m, (call) => `print(JSON.stringify(${call}))`),
    );
    const [group] = JSON.parse(text) as Document[];
    assert.equal(group?.["count"], 600);
    assert.equal(group?.["dominator_retains"], 5_401);
    assert.match(String(group?.["path"]), /@subscribers → Array\[…\] → proc at make\/30_gem_small/);
  });

  it("takes every one-liner of docs/queries.md", async () => {
    const lines = oneLiners.map(
      ({ line }) =>
        `{ const found = ${line}; print(typeof found === "number" ? found : found.toArray().length); }`,
    );
    const counts = (await printed(lines.join("\n"))).trim().split("\n").map(Number);
    assert.equal(counts.length, oneLiners.length);
    for (const [index, { line }] of oneLiners.entries()) {
      const isEmptyHere = line.includes("rejects");
      assert.ok(isEmptyHere || (counts[index] ?? 0) > 0, `${line}: ${counts[index]}`);
    }
  });
});

/** Which of many alike objects stands as an example is not promised. */
function comparable(answer: Shown | Table | undefined): unknown {
  const plain = JSON.parse(
    JSON.stringify({ rows: answer?.rows, notes: answer?.notes }, (_, value: unknown) =>
      typeof value === "bigint" ? value.toString() : value,
    ),
  ) as Shown;
  for (const row of plain.rows) {
    delete row["sample"];
    delete row["sample_id"];
  }
  return plain;
}

function withDatabase(uri: string, name: string): string {
  return uri.replace(/^(mongodb:\/\/[^/]+)\/?([^?]*)/, `$1/${name}`);
}
