import assert from "node:assert/strict";
import fc from "fast-check";
import stringWidth from "string-width";
import type { Column, Table } from "../../../schemas/table.js";
import { tablesText } from "../../../src/report/text-table.js";

const columns: readonly Column[] = [
  { key: "id", title: "id", unit: "id" },
  { key: "count", title: "retained objects", unit: "count" },
  { key: "path", title: "path from the root", unit: "text" },
];
const long = "Shop::Broker → @subscribers → Array[37] → proc at make/30_gem_small.rb:19 → env";
const row = { id: 0x2abac84472a0, count: 5_401, path: long };

describe("tablesText", () => {
  it("is as wide as it needs to be where no terminal bounds it", () => {
    const lines = linesOf([row], undefined);
    assert.equal(lines[0], "  id              retained objects  path from the root");
    assert.equal(lines[1], `  0x2abac84472a0             5,401  ${long}`);
  });

  it("shortens texts in the middle, and never a number or an id", () => {
    const lines = linesOf([row], 70);
    assert.deepEqual(lines.slice(0, 2), [
      "                  retained",
      "  id               objects  path from the root",
    ]);
    assert.equal(
      lines[2],
      "  0x2abac84472a0     5,401  Shop::Broker → @subsc…em_small.rb:19 → env",
    );
  });

  it("prints a row as a block where little of its texts would be left", () => {
    assert.deepEqual(linesOf([row, { ...row, path: "Shop" }], 45), [
      "  id                  0x2abac84472a0",
      "  retained objects    5,401",
      `  path from the root  ${long}`,
      "",
      "  id                  0x2abac84472a0",
      "  retained objects    5,401",
      "  path from the root  Shop",
    ]);
  });

  it("leaves out columns that are empty in all rows, and keeps zeros", () => {
    const rows = [
      { id: "root:vm", count: 0, path: "" },
      { id: 16, count: 0 },
    ];
    assert.deepEqual(linesOf(rows, 80), [
      "  id       retained objects",
      "  root:vm                 0",
      "  0x10                    0",
    ]);
  });

  it("prints ids beyond 2^53 exactly", () => {
    const rows = [{ id: 2n ** 63n - 1n, count: 2n ** 60n, path: "" }];
    assert.equal(linesOf(rows, 80)[1], "  0x7fffffffffffffff  1,152,921,504,606,846,976");
  });

  it("lets no text of a dump move the cursor", () => {
    const [, line] = linesOf([{ id: 1, path: "a\u001b[2Jb\nc" }], 80);
    assert.match(line ?? "", /a\\u001b\[2Jb\\u000ac$/);
  });

  it("fits the terminal, whatever the texts are, wide characters too", () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            id: fc.nat(),
            count: fc.nat(),
            path: fc.oneof(
              fc.string({ unit: "grapheme", maxLength: 200 }),
              fc.string({ unit: fc.constantFrom("漢", "字", "👩‍👩‍👧", "a"), maxLength: 100 }),
            ),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        fc.integer({ min: 60, max: 200 }),
        (rows, width) => {
          for (const line of linesOf(rows, width)) {
            assert.ok(stringWidth(line) <= width, `${stringWidth(line)} > ${width}: ${line}`);
          }
        },
      ),
    ));
});

/** The printed lines below the title. */
function linesOf(rows: Table["rows"], widthMax: number | undefined): string[] {
  const text = tablesText([{ title: "title", columns, rows, notes: [] }], { widthMax });
  return text.trimEnd().split("\n").slice(1);
}
