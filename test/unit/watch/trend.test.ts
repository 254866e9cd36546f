import assert from "node:assert/strict";
import fc from "fast-check";
import { trendOf, type Observation } from "../../../src/watch/trend.js";

const dayMs = 86_400_000;

describe("trendOf", () => {
  // x 0..4, y 2 4 5 4 5: slope 0.6, squared residuals 2.4, error of the slope sqrt(2.4 / 3 / 10).
  it("agrees with a line drawn by hand", () => {
    const trend = trendOf("Cart", nightly([2, 4, 5, 4, 5]));
    assert.ok(trend);
    near(trend.per_day, 0.6);
    near(trend.per_day_low ?? NaN, 0.6 - 3.182 * Math.sqrt(0.08));
    near(trend.per_day_high ?? NaN, 0.6 + 3.182 * Math.sqrt(0.08));
    near(trend.r_squared, 0.6);
    assert.equal(trend.certain, false);
  });

  it("is sure of a straight line", () => {
    const trend = trendOf("Cart", nightly([100, 200, 300, 400]));
    assert.ok(trend);
    near(trend.per_day, 100);
    near(trend.per_day_low ?? NaN, 100);
    assert.equal(trend.r_squared, 1);
    assert.equal(trend.certain, true);
  });

  it("is not sure of two dumps", () => {
    const trend = trendOf("Cart", nightly([100, 200]));
    assert.deepEqual([trend?.per_day, trend?.per_day_low, trend?.certain], [100, null, false]);
  });

  it("is not sure that a constant grows", () =>
    assert.equal(trendOf("Cart", nightly([7, 7, 7, 7]))?.certain, false));

  it("draws nothing through one moment", () => {
    assert.equal(trendOf("Cart", []), undefined);
    assert.equal(trendOf("Cart", nightly([5])), undefined);
    const [one] = nightly([5]);
    assert.ok(one);
    assert.equal(trendOf("Cart", [one, one]), undefined);
  });

  it("finds any line again, whatever the order and distance of the nights", () =>
    fc.assert(
      fc.property(
        fc.integer({ min: -1000, max: 1000 }),
        fc.uniqueArray(fc.integer({ min: 0, max: 400 }), { minLength: 3, maxLength: 40 }),
        (slope, days) => {
          const trend = trendOf(
            "Cart",
            days.map((day) => observation(day, 1_000_000 + slope * day)),
          );
          assert.ok(trend);
          assert.ok(Math.abs(trend.per_day - slope) < 1e-6, `${trend.per_day}`);
          if (slope > 0) assert.equal(trend.certain, true);
          if (slope < 0) assert.equal(trend.certain, false);
        },
      ),
    ));
});

function nightly(counts: readonly number[]): Observation[] {
  return counts.map((count, day) => observation(day, count));
}

function observation(day: number, count: number): Observation {
  return { takenAt: new Date(Date.UTC(2026, 0, 1) + day * dayMs), count, bytes: count * 40 };
}

function near(found: number, expected: number): void {
  assert.ok(Math.abs(found - expected) < 1e-9, `expected ${expected}, found ${found}`);
}
