import { stringify } from "csv-stringify/sync";
import type { Table } from "../../schemas/table.js";

/**
 * A table as CSV with a header line.
 *
 * A cell that a spreadsheet would take for a formula gets an apostrophe in front: what a dump says is data.
 */
export function csvText(table: Table): string {
  const header = table.columns.map((column) => column.key);
  const rows = table.rows.map((row) => table.columns.map(({ key, unit }) => cell(row[key], unit)));
  return stringify([header, ...rows]);
}

function cell(value: unknown, unit: string): string {
  if (value === null || value === undefined) return "";
  if (unit === "id" && (typeof value === "number" || typeof value === "bigint")) {
    return `0x${value.toString(16)}`;
  }
  if (typeof value === "number") return String(value);
  const text = typeof value === "object" ? JSON.stringify(value) : String(value as string | bigint);
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}
