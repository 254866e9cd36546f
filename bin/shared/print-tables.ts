import CliTable from "cli-table3";
import type { Column, Table } from "../../schemas/table.js";

/** Wider cells are cut: a terminal's line is no place for a generated class name. */
const cellMax = 160;

/** Tables as text for a person, each under its title. */
export function tablesText(tables: readonly Table[]): string {
  return tables.map(tableText).join("\n");
}

function tableText({ title, columns, rows, notes }: Table): string {
  const grid = new CliTable({
    head: columns.map((column) => column.title),
    colAligns: columns.map(({ unit }) => (isNumber(unit) ? "right" : "left")),
    style: { head: [], border: [], compact: true },
    chars: plainChars,
  });
  for (const values of rows) {
    grid.push(columns.map((column) => cellText(values[column.key], column)));
  }
  const body = rows.length === 0 ? "" : `${grid.toString()}\n`;
  return `${printable(title)}\n${body}${notes.map((note) => `  ${printable(note)}\n`).join("")}`;
}

const plainChars = Object.fromEntries(
  "top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid middle"
    .split(" ")
    .map((place) => [place, place === "left" || place === "middle" ? "  " : ""]),
);

function isNumber(unit: Column["unit"]): boolean {
  return unit === "count" || unit === "bytes" || unit === "percent" || unit === "ms";
}

function cellText(value: unknown, { unit }: Column): string {
  if (value === null || value === undefined) return unit === "percent" ? "new" : "";
  if (unit === "id" && (typeof value === "number" || typeof value === "bigint")) {
    return `0x${value.toString(16)}`;
  }
  if (typeof value === "number") {
    return unit === "percent" ? `${value.toFixed(1)} %` : value.toLocaleString("en");
  }
  const text = printable(String(value));
  return text.length > cellMax ? `${text.slice(0, cellMax - 1)}…` : text;
}

/** What a dump says is data: it must not move the cursor. */
function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
