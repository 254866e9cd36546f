import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { importDump } from "../../src/index.js";
import type { Query, QueryArguments } from "../../src/query/define-query.js";
import { queries } from "../../src/query/queries.js";
import { ask, dumpNamed, parseId } from "../../src/query/query.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { repositoryPath } from "../support/run.js";

/** The gem tells neither. */
const without: readonly string[] = ["sites", "generations"];
const isNumber = (value: unknown): value is number | bigint =>
  typeof value === "number" || typeof value === "bigint";

describe("every query", () => {
  let test: TestDatabase;
  let folder: string;
  let broker: number;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-options-"));
    const gem = repositoryPath("test/fixtures/gem-ruby200-A.json.zst");
    await importDump({ file: gem, db: test.db, name: "gem" });
    // An object that nothing holds and that holds nothing: most questions have no answer.
    const file = join(folder, "alone.json");
    writeFileSync(file, '{"address":"0x7f0000000028", "type":"OBJECT", "memsize":40}\n');
    await importDump({ file, db: test.db, name: "alone" });
    const found = await test.db.collection("gem").findOne({ type: "CLASS", name: "Shop::Broker" });
    broker = Number(found?._id);
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const givenFor = ({ takes }: Query, id: number): Partial<QueryArguments> => ({
    ...(takes === "id" ? { id } : {}),
    ...(takes === "objects" ? { where: { type: "OBJECT" }, whereText: "type OBJECT" } : {}),
  });

  for (const query of queries) {
    it(`${query.name} sorts by each of its columns, both ways`, async () => {
      for (const { key } of query.columns) {
        for (const sign of ["", "-"]) {
          const options = { dump: "gem", limit: 12, sort: `${sign}${key}` };
          const { rows } = await ask(test.db, query, givenFor(query, broker), options);
          assert.ok(rows.length <= 12, key);
          assert.equal(rows.length === 0, without.includes(query.name), key);
          for (const [index, row] of rows.entries()) {
            const [one, two] = [rows[index - 1]?.[key], row[key]];
            if (!isNumber(one) || !isNumber(two)) continue;
            assert.ok(sign === "-" ? one >= two : one <= two, `${key}: ${one}, ${two}`);
          }
        }
      }
    });

    it(`${query.name} says why where there is no row`, async () => {
      const where = { class_name: "Nothing" };
      const given = { ...givenFor(query, 0x7f0000000028), where, whereText: "class Nothing" };
      const { rows, notes } = await ask(test.db, query, given, { dump: "alone", limit: 5 });
      assert.ok(rows.length > 0 || notes.length > 0);
    });
  }

  it("takes an id in hexadecimal and in decimal", () => {
    assert.equal(parseId(`0x${broker.toString(16)}`), broker);
    assert.equal(parseId(String(broker)), broker);
  });

  it("is told the nearest dump where there is none of that name", async () => {
    await assert.rejects(dumpNamed(test.db, "gme"), /no dump "gme" is loaded; there is gem$/);
    await assert.rejects(
      dumpNamed(test.db, "alonee"),
      /no dump "alonee" is loaded; there is alone$/,
    );
  });
});
