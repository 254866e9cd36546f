import assert from "node:assert/strict";
import fc from "fast-check";
import { createBitset } from "../../../src/decode/bitset.js";
import { createIdRuns, type LineRun } from "../../../src/decode/id-runs.js";

/** A page of Ruby's heap, and about what its text takes. */
const pageIds = 1 << 16;
const pageBytes = 100_000;
const pageObjects = 100;

describe("createIdRuns", () => {
  it("lets ids ascend over pages in any order, where one that ascends leaves some out, too", () => {
    for (const order of [
      [3, 2, 1],
      [1, 3, 2],
      [2, 1, 3],
      [5, 1, 4, 2, 3],
    ]) {
      assert.deepEqual(
        loadedPages(order),
        order.toSorted((a, b) => a - b),
        `${order}`,
      );
    }
  });

  it("lets ids ascend over whole pages in any order, however they are cut", () =>
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(500), { minLength: 2, maxLength: 40 }),
        fc.integer({ min: 1, max: 300 }),
        (order, blockObjects) => {
          const ascending = order.toSorted((one, two) => one - two);
          const loaded = loadedPages(order, blockObjects);
          assert.deepEqual(loaded ?? order, ascending);
          assert.deepEqual(runsOf(order, blockObjects), runsOf(order, order.length * pageObjects));
        },
      ),
    ));

  it("leaves pages that stand side by side in one run", () => {
    const runs = runsOf([4, 5, 6, 1, 2]);
    assert.deepEqual(
      runs?.map(({ byteFrom, byteTo }) => [byteFrom / pageBytes, byteTo / pageBytes]),
      [
        [3, 5],
        [0, 3],
      ],
    );
  });

  it("keeps the file's order where ids ascend, over gaps, too", () => {
    assert.equal(runsOf([1, 2, 3]), undefined);
    assert.equal(runsOf([1, 5, 9]), undefined);
  });

  it("takes ids that are far from each other for one run", () => {
    const ids = [...Array.from({ length: 2_000 }, (_, index) => (index + 5) * 1_000_000), 1, 2, 3];
    const lineBytes = 100;
    const runs = createIdRuns();
    addBlock(runs, ids, lineBytes, 0);
    const found = runs.inOrder(ids.length * lineBytes, linesWith(ids.length));
    // 16 KiB at least: 164 lines.
    const lengths = found?.map(({ byteFrom, byteTo }) => (byteTo - byteFrom) / lineBytes) ?? [];
    assert.equal(lengths.length, 14);
    assert.deepEqual([...new Set(lengths)], [3, 164, 32]);
  });
});

type Runs = ReturnType<typeof createIdRuns>;

function runsOf(order: readonly number[], blockObjects = 130): readonly LineRun[] | undefined {
  const ids = order.flatMap((page) =>
    Array.from({ length: pageObjects }, (_, slot) => page * pageIds + slot * 40),
  );
  const lineBytes = pageBytes / pageObjects;
  const runs = createIdRuns();
  for (let from = 0; from < ids.length; from += blockObjects) {
    addBlock(runs, ids.slice(from, from + blockObjects), lineBytes, from);
  }
  return runs.inOrder(ids.length * lineBytes, linesWith(ids.length));
}

/** The pages in the order of loading. */
function loadedPages(order: readonly number[], blockObjects?: number): number[] | undefined {
  return runsOf(order, blockObjects)?.flatMap(({ byteFrom, byteTo, line, node }) => {
    assert.equal(node, line);
    assert.equal(line, (byteFrom / pageBytes) * pageObjects);
    return order.slice(byteFrom / pageBytes, byteTo / pageBytes);
  });
}

/** Lines of one length, each an object's. */
function addBlock(runs: Runs, ids: readonly number[], lineBytes: number, lineFirst: number): void {
  runs.add({
    ids: Float64Array.from(ids),
    objectLines: Int32Array.from(ids, (_, line) => line),
    lineOffsets: Uint32Array.from(ids, (_, line) => line * lineBytes),
    byteOffsetFirst: lineFirst * lineBytes,
    lineFirst,
  });
}

function linesWith(count: number): ReturnType<typeof createBitset> {
  const lines = createBitset();
  for (let line = 0; line < count; line++) lines.add(line);
  return lines;
}
