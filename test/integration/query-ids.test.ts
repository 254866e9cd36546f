import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Document } from "mongodb";
import { importDump } from "../../src/index.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { run, type Outcome } from "../support/run.js";

/** Neighbours that a double cannot tell apart, the largest id of 63 bits, and two that are stored as text. */
const wide = {
  holder: 2n ** 53n + 1n,
  neighbour: 2n ** 53n + 3n,
  held: 2n ** 62n + 1n,
  largest: 2n ** 63n - 1n,
  text: 2n ** 63n,
  last: 2n ** 64n - 1n,
};
/** Classes' ids are addresses: the import resolves those below 2^53. */
const session = 0x7f00n;
const hex = (id: bigint): string => `0x${id.toString(16)}`;

/** A dump as ObjectSpace.dump_all writes it. Sizes are powers of two: their sums tell what was added. */
const wideLines = [
  { type: "ROOT", root: "vm", references: [wide.holder, session, wide.largest].map(hex) },
  line(session, "CLASS", { name: "Session", memsize: 1 }),
  line(wide.largest, "STRING", { value: "z", memsize: 64 }),
  line(wide.holder, "ARRAY", {
    references: [wide.held, wide.text, wide.neighbour].map(hex),
    memsize: 2,
    length: 3,
  }),
  line(wide.held, "OBJECT", { class: hex(session), memsize: 4 }),
  line(wide.text, "OBJECT", { class: hex(session), references: [hex(wide.last)], memsize: 8 }),
  line(wide.last, "STRING", { value: "x", memsize: 16 }),
  line(wide.neighbour, "STRING", { value: "y", memsize: 32 }),
];

/** What our Node producer writes: kinds of edges, one letter a reference. 0x3 is held weakly and strongly. */
const weakLines = [
  { type: "ROOT", root: "global", references: ["0x1"] },
  line(1n, "object", {
    class_name: "Cache",
    references: ["0x3", "0x5", "0x3"],
    reference_names: ["seen", "target", "kept"],
    reference_kinds: "wwp",
    memsize: 1,
  }),
  line(3n, "object", { class_name: "Kept", memsize: 2 }),
  line(5n, "object", { class_name: "Forgotten", memsize: 4 }),
];

describe("heapdump-query, on ids and edges", () => {
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-ids-"));
    for (const [name, lines] of Object.entries({ wide: wideLines, weak: weakLines })) {
      const file = join(folder, `${name}.json`);
      writeFileSync(file, lines.map((one) => `${JSON.stringify(one)}\n`).join(""), { mode: 0o600 });
      await importDump({ file, db: test.db, name });
    }
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const ask = (dump: string, ...words: string[]): Promise<Outcome> =>
    run("heapdump-query", [...words, "--dump", dump, "--uri", test.uri, "--db", test.name]);
  const rowsOf = async (dump: string, ...words: string[]): Promise<Document[]> => {
    const { code, stdout, stderr } = await ask(dump, ...words, "--json");
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { rows: Document[] }).rows;
  };
  const idsOf = (rows: readonly Document[]): unknown[] => rows.map((row) => row["id"]);

  it("takes ids beyond 2^53 in hexadecimal and decimal, and gives them digit by digit", async () => {
    for (const text of [hex(wide.neighbour), `${wide.held}`, `${wide.largest}`, hex(wide.last)]) {
      const rows = await rowsOf("wide", "path", text);
      assert.equal(rows.at(-1)?.["id"], BigInt(text).toString());
    }
    const { stdout } = await ask("wide", "object", wide.last.toString());
    assert.match(stdout, new RegExp(`_id +${hex(wide.last)}\n`));
  });

  it("follows references from and to such ids", async () => {
    assert.deepEqual(idsOf(await rowsOf("wide", "references", hex(wide.holder))), [
      wide.held.toString(),
      wide.text.toString(),
      wide.neighbour.toString(),
    ]);
    for (const id of [wide.held, wide.text, wide.neighbour]) {
      const holders = idsOf(await rowsOf("wide", "referrers", hex(id)));
      assert.deepEqual(holders, [wide.holder.toString()]);
    }
    const path = idsOf(await rowsOf("wide", "path", hex(wide.last)));
    assert.deepEqual(path, ["root:vm", ...[wide.holder, wide.text, wide.last].map(String)]);
    const held = await rowsOf("wide", "dominators", hex(wide.holder));
    assert.deepEqual(idsOf(held).sort(), [wide.held, wide.text, wide.neighbour].map(String).sort());
  });

  it("groups what such objects hold", async () => {
    const [group] = await rowsOf("wide", "retainers", "--class", "Session");
    assert.equal(group?.["count"], 2);
    assert.equal(group?.["retained_bytes"], 4 + 8 + 16);
    assert.equal(group?.["dominator_id"], wide.holder.toString());
  });

  it("does not take one such id for its neighbour", async () => {
    const { code, stderr } = await ask("wide", "object", hex(2n ** 53n + 2n));
    assert.equal(code, 4);
    assert.match(stderr, new RegExp(`no object 0x20000000000002 .*nearest .*${hex(wide.holder)}`));
    const { stdout } = await ask("wide", "object", hex(wide.neighbour));
    assert.match(stdout, /value +"y"/);
  });

  it("prints pipelines with such ids", async () => {
    const { stdout } = await ask("wide", "referrers", hex(wide.held), "--pipeline");
    assert.match(stdout, new RegExp(`"references": Long\\("${wide.held}"\\)`));
  });

  it("marks weak references, which keep nothing alive", async () => {
    const references = await rowsOf("weak", "references", "0x1");
    assert.deepEqual(
      references.map((row) => [row["edge"], row["kind"]]),
      [
        ["seen", "weak"],
        ["target", "weak"],
        ["kept", "property"],
      ],
    );
    const [weak] = await rowsOf("weak", "referrers", "0x5");
    assert.deepEqual([weak?.["edge"], weak?.["kind"]], ["target", "weak"]);
    const { stdout } = await ask("weak", "referrers", "0x5");
    assert.match(stdout, /target +weak/);
    assert.match(stdout, /weak: such a reference keeps nothing alive/);
  });

  it("names the strong one of two references to an object", async () => {
    const [holder] = await rowsOf("weak", "referrers", "0x3");
    assert.deepEqual([holder?.["edge"], holder?.["kind"]], ["kept", "property"]);
    const path = await rowsOf("weak", "path", "0x3");
    assert.equal(path.at(-2)?.["edge"], "kept");
    const { stdout } = await ask("weak", "path", "0x5");
    assert.match(stdout, /weak/);
  });
});

function line(id: bigint, type: string, more: Record<string, unknown>): Record<string, unknown> {
  return { address: hex(id), type, ...more };
}
