import { tablesText as textOf } from "../../src/report/text-table.js";
import type { Table } from "../../schemas/table.js";

/** Narrower than this, a terminal was not asked, or is none. */
const columnsMin = 40;

/** Tables as text for a person, as wide as the terminal; in a pipe or a file, as wide as they need to be. */
export function tablesText(tables: readonly Table[]): string {
  const { isTTY, columns } = process.stdout;
  return textOf(tables, { widthMax: isTTY ? Math.max(columnsMin, columns) : undefined });
}
