import assert from "node:assert/strict";
import fc from "fast-check";
import { isoWeekOf, retentionOf } from "../../../src/watch/retention.js";

const dayMs = 86_400_000;
type Dump = Parameters<typeof retentionOf>[0][number];

describe("isoWeekOf", () => {
  // From the table in ISO 8601 as Wikipedia's "ISO week date" gives it.
  it("knows the years' edges", () => {
    for (const [day, week] of [
      ["2005-01-01", "2004-W53"],
      ["2005-01-02", "2004-W53"],
      ["2005-12-31", "2005-W52"],
      ["2007-01-01", "2007-W01"],
      ["2008-12-29", "2009-W01"],
      ["2010-01-03", "2009-W53"],
      ["2026-11-23", "2026-W48"],
    ] as const) {
      assert.equal(isoWeekOf(new Date(`${day}T12:00:00Z`)), week, day);
    }
  });
});

describe("retentionOf", () => {
  it("keeps the newest", () => keeps(nights(5), { keep: 2, keepWeekly: 0 }, ["n3", "n4"]));
  it("keeps the newest of each week", () =>
    // Night 0 is Monday 2026-01-05: weeks end with nights 6, 13 and 20.
    keeps(nights(21), { keep: 1, keepWeekly: 3 }, ["n6", "n13", "n20"]));
  it("counts the weeks that have dumps", () =>
    keeps(
      nights(21).filter(({ _id }) => _id === "n0" || Number(_id.slice(1)) > 13),
      { keep: 1, keepWeekly: 2 },
      ["n0", "n20"],
    ));
  it("keeps what is pinned, and it takes nobody's place", () =>
    keeps(changed(nights(5), "n4", { pinned: true }), { keep: 1, keepWeekly: 0 }, ["n3", "n4"]));
  it("keeps what is loading", () =>
    keeps(changed(nights(5), "n0", { status: "loading" }), { keep: 1, keepWeekly: 0 }, [
      "n0",
      "n4",
    ]));
  it("does not mention what was pruned", () => {
    const verdicts = retentionOf(changed(nights(3), "n0", { status: "pruned" }), {
      keep: 1,
      keepWeekly: 0,
    });
    assert.deepEqual(
      verdicts.map(({ dump }) => dump),
      ["n1", "n2"],
    );
  });
  it("counts each series by itself", () => {
    const other = nights(2).map((dump) => ({ ...dump, _id: `o${dump._id}`, series: "web@two" }));
    keeps([...nights(3), ...other], { keep: 1, keepWeekly: 0 }, ["n2", "on1"]);
  });

  it("never drops the newest, the pinned, the loading; and pruning again drops nothing more", () =>
    fc.assert(
      fc.property(
        randomDumps(),
        fc.integer({ min: 1, max: 9 }),
        fc.nat(9),
        (dumps, keep, weekly) => {
          const policy = { keep, keepWeekly: weekly };
          const dropped = new Set(
            retentionOf(dumps, policy).flatMap(({ dump, drop }) => (drop ? [dump] : [])),
          );
          for (const { _id, status, pinned } of dumps) {
            if (status !== "complete" || pinned === true) assert.ok(!dropped.has(_id));
          }
          const plain = dumps
            .filter(({ status, pinned }) => status === "complete" && pinned !== true)
            .sort((one, two) => two.taken_at.getTime() - one.taken_at.getTime());
          for (const series of new Set(plain.map((dump) => dump.series))) {
            const own = plain.filter((dump) => dump.series === series);
            for (const { _id } of own.slice(0, keep)) assert.ok(!dropped.has(_id));
            const stay = own.filter(({ _id }) => !dropped.has(_id)).length;
            assert.ok(stay <= keep + weekly && stay >= Math.min(own.length, keep));
          }
          const left = dumps.map((dump) =>
            dropped.has(dump._id) ? { ...dump, status: "pruned" as const } : dump,
          );
          assert.ok(retentionOf(left, policy).every(({ drop }) => !drop));
        },
      ),
      { numRuns: 500 },
    ));
});

function keeps(
  dumps: readonly Dump[],
  policy: { keep: number; keepWeekly: number },
  expected: readonly string[],
): void {
  const kept = retentionOf(dumps, policy).flatMap(({ dump, drop }) => (drop ? [] : [dump]));
  assert.deepEqual(kept, expected);
}

/** A dump a night, from Monday 2026-01-05. */
function nights(count: number): Dump[] {
  return Array.from({ length: count }, (_, night) => ({
    _id: `n${night}`,
    series: "shop@one",
    taken_at: new Date(Date.UTC(2026, 0, 5, 3) + night * dayMs),
    status: "complete" as const,
  }));
}

function changed(dumps: readonly Dump[], name: string, change: Partial<Dump>): Dump[] {
  return dumps.map((dump) => (dump._id === name ? { ...dump, ...change } : dump));
}

function randomDumps(): fc.Arbitrary<Dump[]> {
  const dump = fc.record({
    hour: fc.integer({ min: 0, max: 5_000 }),
    series: fc.constantFrom("shop@one", "web@two"),
    status: fc.constantFrom("complete" as const, "complete" as const, "loading" as const),
    pinned: fc.boolean(),
  });
  return fc.uniqueArray(dump, { maxLength: 60, selector: ({ hour }) => hour }).map((all) =>
    all.map(({ hour, series, status, pinned }, index) => ({
      _id: `d${index}`,
      series,
      status,
      pinned,
      taken_at: new Date(Date.UTC(2026, 0, 5) + hour * 3_600_000),
    })),
  );
}
