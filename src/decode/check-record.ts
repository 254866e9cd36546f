import type { z } from "zod";
import { BrokenText, JsonDouble, JsonObject, type JsonValue } from "./parse-json.js";
import { RecordFault } from "./heap-record.js";

/**
 * Checks a record against its schema: only the fields that the schema declares, as `JSON.parse` would give them.
 *
 * The others are data: the schema lets them pass, so that they need not be turned into plain objects for it.
 */
export function checkRecord<T extends z.ZodType>(
  schema: T,
  declared: readonly string[],
  record: JsonObject,
): z.infer<T> | RecordFault {
  const plain: Record<string, unknown> = {};
  for (const key of declared) {
    const value = record.last(key);
    if (value !== undefined) plain[key] = plainOf(value);
  }
  const outcome = schema.safeParse(plain);
  if (outcome.success) return outcome.data;
  const issue = outcome.error.issues[0];
  const path = (issue?.path ?? []).map(String).join(".");
  return new RecordFault("schema", path, messageOf(issue, plain));
}

function messageOf(issue: z.core.$ZodIssue | undefined, plain: Record<string, unknown>): string {
  if (issue === undefined) return "does not fit the schema";
  // What was received is told below, with no more of its content than needed.
  const text = issue.message.replace(/^Invalid input: /, "").replace(/, received .*$/s, "");
  if (text.includes("found")) return text;
  let value: unknown = plain;
  for (const step of issue.path) value = (value as Record<PropertyKey, unknown> | null)?.[step];
  return `${text}, found ${shown(value)}`;
}

/** What kind of value stands there: its content may be secret, so only numbers and addresses are quoted. */
function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value === "string") {
    return /^[0-9a-zA-Z_]{0,20}$/.test(value)
      ? `"${value}"`
      : `a text of ${value.length} characters`;
  }
  if (typeof value === "boolean") return String(value);
  return Array.isArray(value) ? "a list" : "an object";
}

/** A value as `JSON.parse` gives it, but for integers beyond 2^53, which are bigints. */
export function plainOf(value: JsonValue): unknown {
  if (value instanceof JsonDouble) return value.value;
  if (value instanceof BrokenText) return value.text;
  if (value instanceof JsonObject) {
    const plain: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const entry of value.entries) plain[entry.key] = plainOf(entry.value);
    return plain;
  }
  if (Array.isArray(value)) return value.map((element: JsonValue) => plainOf(element));
  return value;
}
