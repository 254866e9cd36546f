import type { Trend } from "../../schemas/diff-document.js";

/** A class's count in one dump of the series. */
export type Observation = {
  readonly takenAt: Date;
  readonly count: number;
  readonly bytes: number;
};

const millisecondsADay = 86_400_000;

/**
 * Student's t for a 95 % interval, by degrees of freedom from 1; 30 and more: 2.04 to 1.96, we take 2.04.
 *
 * @see https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm (column 0.975)
 */
const studentsT = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145,
  2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048,
  2.045, 2.042,
] as const;

/**
 * The straight line through a class's counts, by least squares, and how sure its slope is.
 *
 * A class that is absent from a dump has the count 0 there: the caller must say so.
 *
 * @param observations - in any order; two at least, not all at one moment, or the result is undefined
 */
export function trendOf(name: string, observations: readonly Observation[]): Trend | undefined {
  const sorted = [...observations].sort(
    (one, two) => one.takenAt.getTime() - two.takenAt.getTime(),
  );
  const first = sorted[0];
  const last = sorted[sorted.length - 1];
  if (first === undefined || last === undefined) return undefined;
  const days = sorted.map(
    ({ takenAt }) => (takenAt.getTime() - first.takenAt.getTime()) / millisecondsADay,
  );
  if ((days[days.length - 1] ?? 0) === 0) return undefined;
  const line = leastSquares(
    days,
    sorted.map(({ count }) => count),
  );
  const { slope, slopeError } = line;
  const freedom = sorted.length - 2;
  const t = studentsT[Math.min(freedom, studentsT.length) - 1];
  const margin = t === undefined ? undefined : t * slopeError;
  return {
    name,
    dumps: sorted.length,
    first: first.count,
    last: last.count,
    per_day: slope,
    per_day_low: margin === undefined ? null : slope - margin,
    per_day_high: margin === undefined ? null : slope + margin,
    r_squared: line.rSquared,
    bytes_per_day: leastSquares(
      days,
      sorted.map(({ bytes }) => bytes),
    ).slope,
    certain: margin !== undefined && slope - margin > 0,
  };
}

type Line = { readonly slope: number; readonly slopeError: number; readonly rSquared: number };

/** @see https://en.wikipedia.org/wiki/Simple_linear_regression (numerically: sums of deviations from the mean) */
function leastSquares(xs: readonly number[], ys: readonly number[]): Line {
  const xMean = meanOf(xs);
  const yMean = meanOf(ys);
  let sxx = 0;
  let sxy = 0;
  let syy = 0;
  for (const [index, x] of xs.entries()) {
    const dx = x - xMean;
    const dy = (ys[index] ?? 0) - yMean;
    sxx += dx * dx;
    sxy += dx * dy;
    syy += dy * dy;
  }
  const slope = sxy / sxx;
  const residual = Math.max(0, syy - slope * sxy);
  return {
    slope,
    slopeError: xs.length > 2 ? Math.sqrt(residual / (xs.length - 2) / sxx) : Infinity,
    // A constant is explained by its line in full.
    rSquared: syy === 0 ? 1 : 1 - residual / syy,
  };
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
