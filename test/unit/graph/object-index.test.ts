import assert from "node:assert/strict";
import fc from "fast-check";
import { createObjectIndex } from "../../../src/graph/object-index.js";

type Id = number | string | bigint;

/** Ids as heaps have them: addresses of one size side by side, numbers in a row, or far apart; some twice. */
const ids: fc.Arbitrary<Id[]> = fc
  .array(
    fc.record({
      start: fc.oneof(fc.nat(1 << 20), fc.maxSafeInteger().map(Math.abs)),
      step: fc.constantFrom(1, 2, 8, 16, 24, 40, 48, 160, 1 << 16, 1 << 24),
      count: fc.integer({ min: 1, max: 3_000 }),
      others: fc.array(
        fc.oneof(
          fc.constantFrom("_ROOTS_", "root:vm"),
          fc.bigInt({ min: 1n << 53n, max: 1n << 63n }),
        ),
        { maxLength: 3 },
      ),
    }),
    { maxLength: 6 },
  )
  .map((runs) =>
    runs.flatMap(({ start, step, count, others }) => [
      ...Array.from({ length: count }, (_, index) => start + index * step).filter(
        Number.isSafeInteger,
      ),
      ...others,
    ]),
  );

describe("createObjectIndex", () => {
  it("knows what a Map knows, whatever the ids are and wherever they lie", () =>
    fc.assert(
      fc.property(ids, fc.array(fc.integer({ min: -70_000, max: 70_000 })), (added, offsets) => {
        const index = createObjectIndex();
        const expected = new Map<Id, number>();
        for (const id of added) {
          const isNew = !expected.has(id);
          assert.equal(index.add(id), isNew ? expected.size : -1);
          if (isNew) expected.set(id, expected.size);
        }
        assert.equal(index.count, expected.size);
        for (const [id, node] of expected) assert.equal(index.nodeOf(id), node);
        const integers = index.integers();
        for (const [id, node] of expected) {
          assert.ok(typeof id === "number" ? integers[node] === id : index.other.get(node) === id);
        }
        // Neighbours of ids, and what is none.
        for (const offset of [0, 1, -1, 32, ...offsets]) {
          for (const id of added.slice(0, 50)) {
            const near = typeof id === "number" ? id + offset : `${id}${offset}`;
            assert.equal(index.nodeOf(near), expected.get(near) ?? -1);
          }
        }
      }),
      { numRuns: 150 },
    ));

  it("takes no more memory for ids far apart than for ids side by side", () => {
    const index = createObjectIndex();
    const before = process.memoryUsage().arrayBuffers;
    for (let node = 0; node < 300_000; node++) assert.equal(index.add(node * 0x10_0001), node);
    const far = process.memoryUsage().arrayBuffers - before;
    // Of it, 67 MB are room for ids that is not touched.
    assert.ok(far < 90_000_000, String(far));
    for (let node = 0; node < 300_000; node += 7) {
      assert.equal(index.nodeOf(node * 0x10_0001), node);
    }
  });
});
