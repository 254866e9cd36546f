import assert from "node:assert/strict";
import fc from "fast-check";
import { growthBetween } from "../../../../src/query/across-dumps/growth.js";

type Counts = Parameters<typeof growthBetween>[0][number];

describe("growthBetween", () => {
  it("tells what grew, shrank, appeared and vanished", () => {
    const growth = growthBetween(
      [counts("Cart", 10, 100), counts("Old", 3, 30), counts("Line", 8, 80), counts("Same", 5, 50)],
      [counts("Cart", 15, 180), counts("New", 4, 40), counts("Line", 6, 60), counts("Same", 5, 50)],
    );
    assert.deepEqual(
      growth.map((it) => [
        ...[it.name, it.change, it.count, it.bytes, it.retained_bytes],
        ...[it.percent, it.bytes_percent, it.retained_bytes_percent],
      ]),
      [
        ["Cart", "grew", 5, 80, 80, 50, 80, 80],
        ["New", "appeared", 4, 40, 40, null, null, null],
        ["Line", "shrank", -2, -20, -20, -25, -25, -25],
        ["Old", "vanished", -3, -30, -30, -100, -100, -100],
      ],
    );
  });

  it("takes a name in two groups for two things", () => {
    const growth = growthBetween(
      [{ ...counts("String", 1, 1), by: "type" }],
      [counts("String", 1, 1)],
    );
    assert.deepEqual(
      growth.map(({ by, change }) => [by, change]),
      [
        ["class", "appeared"],
        ["type", "vanished"],
      ],
    );
  });

  it("gives the largest of each group where there is a limit", () => {
    const after = [counts("A", 1, 10), counts("B", 1, 30), counts("C", 1, 20)];
    assert.deepEqual(
      growthBetween([], after, 2).map(({ name }) => name),
      ["B", "C"],
    );
  });

  it("finds nothing between a dump and itself", () =>
    fc.assert(
      fc.property(randomCounts(), (all) => {
        assert.deepEqual(growthBetween(all, [...all].reverse()), []);
      }),
    ));

  it("adds up: before plus growth is after, and backwards it is the opposite", () =>
    fc.assert(
      fc.property(randomCounts(), randomCounts(), (before, after) => {
        const sum = (all: readonly { count: number }[]): number =>
          all.reduce((total, { count }) => total + count, 0);
        const forth = growthBetween(before, after);
        assert.equal(sum(before) + sum(forth), sum(after));
        const back = new Map(growthBetween(after, before).map((it) => [`${it.by}${it.name}`, it]));
        assert.equal(back.size, forth.length);
        for (const { by, name, bytes } of forth) {
          assert.equal(back.get(`${by}${name}`)?.bytes, bytes === 0 ? 0 : -bytes);
        }
      }),
    ));
});

function counts(name: string, count: number, bytes: number): Counts {
  return { by: "class", name, count, bytes, retained_bytes: bytes };
}

function randomCounts(): fc.Arbitrary<Counts[]> {
  const one = fc.record({
    by: fc.constantFrom("class" as const, "type" as const),
    name: fc.constantFrom("A", "B", "C", "D", "E"),
    count: fc.integer({ min: 1, max: 50 }),
    bytes: fc.nat(500),
    retained_bytes: fc.nat(5_000),
  });
  return fc.uniqueArray(one, { selector: ({ by, name }) => `${by}/${name}` });
}
