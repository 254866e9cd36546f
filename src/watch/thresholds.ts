import { HeapdumpError } from "../errors.js";
import type { Alarm, Growth } from "../../schemas/diff-document.js";

const quantities = ["count", "bytes", "retained", "pct"] as const;
type Quantity = (typeof quantities)[number];

/** One limit of `--fail-on`. */
export type Threshold = {
  readonly quantity: Quantity;
  /** Growth above this is an alarm; equal is not. Unit: objects, bytes or percent. */
  readonly above: number;
  /** As the user wrote it. */
  readonly text: string;
};

/** Decimal units as disks and networks count, binary ones with the i. */
const bytesIn: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

/**
 * Parses `--fail-on`, as `count>100,bytes>10MB,pct>20`.
 *
 * @throws {HeapdumpError} `usage/bad-option` on anything else
 */
export function parseThresholds(text: string): Threshold[] {
  const thresholds = text.split(",").map((part) => parseThreshold(part.trim()));
  for (const [index, { quantity }] of thresholds.entries()) {
    if (thresholds.findIndex((other) => other.quantity === quantity) !== index) {
      throw badOption(`${quantity} is there twice`);
    }
  }
  return thresholds;
}

function parseThreshold(part: string): Threshold {
  const [, name, digits, unit = ""] =
    /^([a-z]+)\s*>\s*(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z%]*)$/.exec(part) ?? [];
  const quantity = quantities.find((known) => known === name);
  if (quantity === undefined || digits === undefined) {
    throw badOption(
      `expected limits like count>100,bytes>10MB,retained>1GiB,pct>20, found "${part.slice(0, 60)}"`,
    );
  }
  const factor = factorOf(quantity, unit);
  if (factor === undefined) {
    throw badOption(`"${unit.slice(0, 20)}" is no unit of ${quantity}, in "${part.slice(0, 60)}"`);
  }
  return { quantity, above: Number(digits) * factor, text: part };
}

function factorOf(quantity: Quantity, unit: string): number | undefined {
  if (quantity === "bytes" || quantity === "retained") return bytesIn[unit === "" ? "B" : unit];
  if (unit === "" || (quantity === "pct" && unit === "%")) return 1;
  return undefined;
}

function badOption(message: string): HeapdumpError {
  return new HeapdumpError("usage/bad-option", `--fail-on: ${message}`);
}

/**
 * The types, classes and sites that grew above a limit.
 *
 * Each limit alone raises an alarm, but `pct` only together with another one, where there are others: a class that grew
 * from 1 object to 3 grew by 200 %, and nobody wants to be woken for it. The percentage is that of what passed the other
 * limit: one string that doubles to 20 MB grew by 100 % of its bytes, and by no object. Generations are no thing that
 * leaks: every collection opens a new one.
 */
export function alarmsOf(changes: readonly Growth[], thresholds: readonly Threshold[]): Alarm[] {
  const absolute = thresholds.filter(({ quantity }) => quantity !== "pct");
  const relative = thresholds.find(({ quantity }) => quantity === "pct");
  const alarms: Alarm[] = [];
  for (const change of changes) {
    if (change.by === "generation") continue;
    const passed = absolute.filter(
      ({ quantity, above }) =>
        differenceIn(change, quantity) > above && isAboveShare(change, quantity, relative),
    );
    const above = passed.map(({ text }) => text);
    if (relative !== undefined) {
      const isAlone = absolute.length === 0;
      const passedAlone =
        isAlone &&
        (isAboveShare(change, "count", relative) || isAboveShare(change, "bytes", relative));
      if (passed.length > 0 || passedAlone) above.push(relative.text);
    }
    if (above.length > 0) alarms.push({ ...change, above });
  }
  return alarms;
}

function differenceIn(change: Growth, quantity: Quantity): number {
  if (quantity === "bytes") return change.bytes;
  return quantity === "retained" ? change.retained_bytes : change.count;
}

/** What was not there before grew beyond every percentage. */
function isAboveShare(
  change: Growth,
  quantity: Quantity,
  relative: Threshold | undefined,
): boolean {
  if (relative === undefined) return true;
  const share =
    quantity === "bytes"
      ? change.bytes_percent
      : quantity === "retained"
        ? change.retained_bytes_percent
        : change.percent;
  return share === null ? differenceIn(change, quantity) > 0 : share > relative.above;
}
