import assert from "node:assert/strict";
import type { Growth } from "../../../schemas/diff-document.js";
import { HeapdumpError } from "../../../src/errors.js";
import { alarmsOf, parseThresholds } from "../../../src/watch/thresholds.js";

describe("parseThresholds", () => {
  it("reads the three of the manual", () =>
    parses("count>100,bytes>10MB,pct>20", { count: 100, bytes: 10_000_000, pct: 20 }));
  it("reads binary units", () => parses("bytes>1.5KiB", { bytes: 1536 }));
  it("reads gigabytes retained", () => parses("retained>2GB", { retained: 2e9 }));
  it("reads a percent sign and blanks", () => parses(" pct > 12.5% ", { pct: 12.5 }));
  it("refuses nothing", () => refuses("", /expected limits like/));
  it("refuses an unknown quantity", () => refuses("size>3", /expected limits like.*"size>3"/));
  it("refuses less-than", () => refuses("count<3", /expected limits like/));
  it("refuses a negative limit", () => refuses("count>-3", /expected limits like/));
  it("refuses a unit on a count", () => refuses("count>3MB", /"MB" is no unit of count/));
  it("refuses an unknown unit", () => refuses("bytes>3mb", /"mb" is no unit of bytes/));
  it("refuses a quantity twice", () => refuses("count>1,count>2", /count is there twice/));
  it("refuses a comma at the end", () => refuses("count>1,", /expected limits like/));
});

describe("alarmsOf", () => {
  it("raises none at the limit", () => raises("count>100", grown(100, 200), false));
  it("raises one above it", () => raises("count>100", grown(100, 201), true));
  it("raises none for a loss", () => raises("count>0", grown(100, 50), false));
  it("takes any of the absolute limits", () => raises("count>1000,bytes>500", grown(10, 20), true));
  it("wants the percentage too", () => raises("count>100,pct>20", grown(1000, 1150), false));
  it("wants more than the percentage", () => raises("count>100,pct>20", grown(1, 3), false));
  it("raises one when both are passed", () => raises("count>100,pct>20", grown(500, 650), true));
  it("takes the percentage alone", () => raises("pct>20", grown(1, 3), true));
  it("takes what is new for any percentage", () => raises("pct>900", grown(0, 3), true));
  it("takes the percentage of the bytes for bytes", () =>
    raises("count>5,bytes>10MB,pct>20", swollen(15_000_000, 30_000_000), true));
  it("wants more than that percentage, too", () =>
    raises("bytes>10MB,pct>20", swollen(150_000_000, 165_000_000), false));
  it("takes a percentage of the bytes alone", () => raises("pct>20", swollen(100, 200), true));
  it("takes the percentage of what is retained for that", () =>
    raises("retained>1MB,pct>20", { ...grown(100, 101), ...retained(1e6, 3e6) }, true));
  it("does not lend the growth of one quantity to another", () =>
    raises("count>100,pct>20", { ...grown(1000, 1150), ...retained(1, 1e9) }, false));
  it("leaves generations out", () =>
    raises("count>1", { ...grown(0, 50), by: "generation" }, false));
});

function parses(text: string, expected: Record<string, number>): void {
  const found = parseThresholds(text).map(({ quantity, above }) => [quantity, above]);
  assert.deepEqual(Object.fromEntries(found), expected);
}

function refuses(text: string, message: RegExp): void {
  assert.throws(
    () => parseThresholds(text),
    (error) =>
      error instanceof HeapdumpError &&
      error.code === "usage/bad-option" &&
      message.test(error.message),
  );
}

function raises(failOn: string, growth: Growth, expected: boolean): void {
  assert.equal(alarmsOf([growth], parseThresholds(failOn)).length, expected ? 1 : 0);
}

/** A class whose objects have 100 bytes each. */
function grown(before: number, after: number): Growth {
  return {
    by: "class",
    name: "Cart",
    change: "grew",
    count_before: before,
    count_after: after,
    count: after - before,
    bytes_before: before * 100,
    bytes_after: after * 100,
    bytes: (after - before) * 100,
    retained_bytes_before: 0,
    retained_bytes_after: 0,
    retained_bytes: 0,
    percent: before === 0 ? null : (100 * (after - before)) / before,
    bytes_percent: before === 0 ? null : (100 * (after - before)) / before,
    retained_bytes_percent: null,
  };
}

/** As many objects as before, of other bytes. */
function swollen(before: number, after: number): Growth {
  const percent = (100 * (after - before)) / before;
  const bytes = { bytes_before: before, bytes_after: after, bytes: after - before };
  return { ...grown(7, 7), ...bytes, bytes_percent: percent };
}

function retained(before: number, after: number): Partial<Growth> {
  return {
    retained_bytes_before: before,
    retained_bytes_after: after,
    retained_bytes: after - before,
    retained_bytes_percent: (100 * (after - before)) / before,
  };
}
