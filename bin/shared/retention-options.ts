import type { RetentionPolicy } from "../../src/watch/retention.js";
import { wholeNumber } from "./options.js";

/** Two weeks of nights, and eight weeks. */
export const retentionDefault: RetentionPolicy = { keep: 14, keepWeekly: 8 };

/**
 * What `--keep` and `--keep-weekly` ask for, the one not given as by default; undefined where neither was.
 *
 * @throws {HeapdumpError} `usage/bad-option`
 */
export function retentionPolicyOf(values: {
  readonly keep?: string | undefined;
  readonly "keep-weekly"?: string | undefined;
}): RetentionPolicy | undefined {
  const keep = wholeNumber("keep", values.keep, { min: 1, max: 100_000 });
  const keepWeekly = wholeNumber("keep-weekly", values["keep-weekly"], { min: 0, max: 5_000 });
  if (keep === undefined && keepWeekly === undefined) return undefined;
  return {
    keep: keep ?? retentionDefault.keep,
    keepWeekly: keepWeekly ?? retentionDefault.keepWeekly,
  };
}
