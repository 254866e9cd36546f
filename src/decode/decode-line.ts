import { dumpHeader, type DumpHeader } from "../../schemas/dump-header.js";
import type { Reject } from "../../schemas/reject.js";
import { plainOf } from "./check-record.js";
import { RecordFault, type HeapRecord } from "./heap-record.js";
import type { LineFormat } from "./line-format.js";
import { JsonFault, JsonObject, parseJson } from "./parse-json.js";

/** Where a record stands in its line, without blanks and without the brackets and commas of an array. */
export type RecordSpan = {
  readonly start: number;
  readonly end: number;
  /** The array's opening or closing bracket is on this line. */
  readonly opens: boolean;
  readonly closes: boolean;
};

/** What a line is. */
export type LineOutcome =
  | { readonly record: HeapRecord }
  | { readonly header: DumpHeader }
  | { readonly refused: Pick<Reject, "code" | "path" | "message"> }
  | { readonly blank: true };

const isBlank = (byte: number | undefined): boolean =>
  byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/** Finds the record in a line: the gem writes `[{…}`, `,{…}` and `]`, others `{…},`. */
export function recordSpan(bytes: Buffer, from: number, to: number): RecordSpan {
  let start = from;
  let end = to;
  let opens = false;
  let closes = false;
  while (start < end && isBlank(bytes[start])) start++;
  while (end > start && isBlank(bytes[end - 1])) end--;
  if (bytes[start] === 0x5b && start < end && opensRecords(bytes, start + 1, end)) {
    opens = true;
    start++;
  } else if (bytes[start] === 0x2c && start < end) start++;
  while (start < end && isBlank(bytes[start])) start++;
  // A record ends with a brace: what stands behind it belongs to the array.
  if (
    end > start &&
    bytes[end - 1] === 0x5d &&
    (end - 1 === start || endsWithBrace(bytes, end - 1))
  ) {
    closes = true;
    end--;
  } else if (end > start && bytes[end - 1] === 0x2c && endsWithBrace(bytes, end - 1)) end--;
  while (end > start && isBlank(bytes[end - 1])) end--;
  return { start, end, opens, closes };
}

/** Whether what stands behind a bracket may be a dump's first record: an array of other values is a bad record. */
function opensRecords(bytes: Buffer, from: number, end: number): boolean {
  let at = from;
  while (at < end && isBlank(bytes[at])) at++;
  return at === end || bytes[at] === 0x7b || bytes[at] === 0x5d;
}

function endsWithBrace(bytes: Buffer, end: number): boolean {
  let at = end;
  while (at > 0 && isBlank(bytes[at - 1])) at--;
  return bytes[at - 1] === 0x7d;
}

/** Decodes one record by the plain path: the definition that the fast path must agree with. */
export function decodeLine(format: LineFormat, bytes: Buffer, span: RecordSpan): LineOutcome {
  if (span.start === span.end) return { blank: true };
  const json = parseJson(bytes, span.start, span.end);
  if (json instanceof JsonFault) {
    const place = `at byte ${json.byteOffset + 1} of the record`;
    return { refused: { code: json.code, path: "", message: `${json.message} (${place})` } };
  }
  if (!(json instanceof JsonObject)) {
    return {
      refused: {
        code: "not-an-object",
        path: "",
        message: "expected an object, found another value",
      },
    };
  }
  if (json.last("type") === "HEADER" && format.name !== "heap-dump-gem") return headerOf(json);
  const record = format.readRecord(json);
  if (record instanceof RecordFault) {
    const { code, path, message } = record;
    return { refused: { code, path, message: path === "" ? message : `${path}: ${message}` } };
  }
  return { record };
}

function headerOf(json: JsonObject): LineOutcome {
  const checked = dumpHeader.safeParse(plainOf(json));
  if (checked.success) return { header: checked.data };
  const issue = checked.error.issues[0];
  const path = (issue?.path ?? []).map(String).join(".");
  return { refused: { code: "schema", path, message: `header: ${path}: ${issue?.message ?? ""}` } };
}
