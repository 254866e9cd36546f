import assert from "node:assert/strict";
import fc from "fast-check";
import { createTextTally } from "../../../src/graph/text-tally.js";

describe("createTextTally", () => {
  it("knows no text where none was met", () =>
    assert.equal(createTextTally(() => 0).repeated(), undefined));

  it("counts what a Map counts, however many texts there are", () =>
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(40), fc.nat(500)), { maxLength: 200 }),
        fc.constantFrom(1, 10_007),
        (strings, spread) => {
          const tally = createTextTally((node) => strings[node]?.[1] ?? NaN);
          const expected = new Map<number, { count: number; bytes: number; sample: number }>();
          // Texts that are there once make the table grow.
          for (let text = 0; text < spread; text++) tally.add(hashOf(1000 + text), 1000 + text, 8);
          for (const [node, [text, size]] of strings.entries()) {
            tally.add(hashOf(text), node, size);
            const known = expected.get(text) ?? { count: 0, bytes: 0, sample: node };
            expected.set(text, {
              ...{ count: known.count + 1, bytes: known.bytes + size, sample: known.sample },
            });
          }
          const rows = tally.repeated() ?? [];
          assert.deepEqual(
            rows.map(({ count, bytes, sample }) => ({ count, bytes, sample })).sort(bySample),
            [...expected.values()].filter(({ count }) => count > 1).sort(bySample),
          );
          for (const { count, bytes, wasted } of rows) {
            assert.equal(wasted, Math.floor(bytes - bytes / count));
          }
          assert.deepEqual(
            rows.map(({ wasted }) => wasted),
            rows.map(({ wasted }) => wasted).sort((one, two) => two - one),
          );
        },
      ),
      { numRuns: 200 },
    ));
});

/** Any number of 53 bits, the same for the same text. */
function hashOf(text: number): number {
  return (Math.imul(text + 1, 0x9e3779b1) >>> 0) * 0x20_0000 + text;
}

function bySample(one: { sample: number }, two: { sample: number }): number {
  return one.sample - two.sample;
}
