import stringWidth from "string-width";
import type { Column, Table } from "../../schemas/table.js";
import { printable } from "./printable.js";

/** Cells of a table that no terminal bounds: a generated class name may be a page long. */
const cellMax = 160;
/** A text column narrower than this says nothing any more: the rows are printed one below the other then. */
const textColumnMin = 20;
/** Lines that a value may take where rows stand one below the other. */
const valueLinesMax = 4;

const gap = "  ";

export type TextTableOptions = {
  /** Columns of the terminal; without it, tables are as wide as they need to be. */
  readonly widthMax?: number | undefined;
};

/**
 * Tables as text for a person, each under its title.
 *
 * What does not fit gets its headings wrapped, then its texts shortened in the middle (numbers and ids never), and where
 * little would be left of them, each row as a block of lines. Columns that are empty in all rows are left out.
 */
export function tablesText(tables: readonly Table[], options: TextTableOptions = {}): string {
  return tables
    .map((table) => {
      const body = bodyText(table, options.widthMax ?? Infinity);
      const notes = table.notes.map((note) => `${gap}${printable(note)}\n`).join("");
      return `${printable(table.title)}\n${body}${notes}`;
    })
    .join("\n");
}

/** A column with its cells, ready to be laid out. */
type Strip = {
  readonly heading: readonly string[];
  readonly cells: readonly string[];
  readonly isNumber: boolean;
  readonly isShortened: boolean;
  readonly width: number;
};

function bodyText(table: Table, widthMax: number): string {
  if (table.rows.length === 0) return "";
  const strips = table.columns
    .map((column) => stripOf(column, table.rows))
    .filter(({ cells }) => cells.some((cell) => cell !== ""));
  if (widthOf(strips) <= widthMax) return gridText(strips);
  const narrow = strips.map(withHeadingWrapped);
  const texts = narrow.filter(({ isShortened }) => isShortened);
  const room = widthMax - widthOf(narrow) + texts.reduce((sum, { width }) => sum + width, 0);
  const textMax = fairShare(
    texts.map(({ width }) => width),
    room,
  );
  const isTooNarrow = texts.some(({ width }) => width > textMax && textMax < textColumnMin);
  if (isTooNarrow || (texts.length === 0 && widthOf(narrow) > widthMax))
    return blocksText(strips, widthMax);
  return gridText(narrow.map((strip) => (strip.isShortened ? withWidth(strip, textMax) : strip)));
}

function stripOf(column: Column, rows: Table["rows"]): Strip {
  const isShortened = column.unit === "text" || column.unit === "json";
  const cells = rows.map((row) => {
    const text = cellText(row[column.key], column);
    return isShortened ? shortened(text, cellMax) : text;
  });
  return measured({
    heading: [column.title],
    cells,
    isNumber: ["count", "bytes", "percent", "ms"].includes(column.unit),
    isShortened,
  });
}

function measured(strip: Omit<Strip, "width">): Strip {
  let width = 0;
  for (const text of strip.heading) width = Math.max(width, widthOfText(text));
  for (const text of strip.cells) width = Math.max(width, widthOfText(text));
  return { ...strip, width };
}

function widthOf(strips: readonly Strip[]): number {
  return strips.reduce((sum, { width }) => sum + gap.length + width, 0);
}

/** The heading's words on as many lines as keep the column as narrow as its cells. */
function withHeadingWrapped(strip: Strip): Strip {
  const words = strip.heading.join(" ").split(" ");
  const { width } = measured({ ...strip, heading: words });
  const lines: string[] = [];
  for (const word of words) {
    const joined = lines.length === 0 ? word : `${lines.at(-1)} ${word}`;
    if (lines.length > 0 && widthOfText(joined) <= width) lines[lines.length - 1] = joined;
    else lines.push(word);
  }
  return { ...strip, heading: lines, width };
}

function withWidth(strip: Strip, width: number): Strip {
  if (strip.width <= width) return strip;
  return measured({
    ...strip,
    heading: strip.heading.map((line) => shortened(line, width)),
    cells: strip.cells.map((cell) => shortened(cell, width)),
  });
}

/** The width that all columns may have so that together they fit: narrower ones leave theirs to the others. */
function fairShare(widths: readonly number[], room: number): number {
  let left = room;
  const sorted = [...widths].sort((one, two) => one - two);
  for (const [index, width] of sorted.entries()) {
    const share = Math.floor(left / (sorted.length - index));
    if (width > share) return Math.max(1, share);
    left -= width;
  }
  return Infinity;
}

function gridText(strips: readonly Strip[]): string {
  const headingLines = Math.max(...strips.map(({ heading }) => heading.length));
  const lines: string[] = [];
  for (let line = 0; line < headingLines; line++) {
    // A short heading stands right above its cells.
    lines.push(
      lineText(strips, ({ heading }) => heading[line - headingLines + heading.length] ?? ""),
    );
  }
  const rowCount = strips[0]?.cells.length ?? 0;
  for (let row = 0; row < rowCount; row++) {
    lines.push(lineText(strips, ({ cells }) => cells[row] ?? ""));
  }
  // A table whose columns have no headings has no line for them.
  return lines
    .filter((line, index) => line !== "" || index >= headingLines)
    .map((line) => `${line}\n`)
    .join("");
}

function lineText(strips: readonly Strip[], textOf: (strip: Strip) => string): string {
  let line = "";
  for (const strip of strips) {
    const text = textOf(strip);
    const space = " ".repeat(Math.max(0, strip.width - widthOfText(text)));
    line += gap + (strip.isNumber ? space + text : text + space);
  }
  return line.trimEnd();
}

/** Each row as a block, one value a line, as psql does with \x. */
function blocksText(strips: readonly Strip[], widthMax: number): string {
  const titles = strips.map(({ heading }) => heading.join(" "));
  const titleWidth = Math.max(...titles.map(widthOfText));
  const valueMax = Math.max(textColumnMin, valueLinesMax * (widthMax - titleWidth) - gap.length);
  const rowCount = strips[0]?.cells.length ?? 0;
  const blocks: string[] = [];
  for (let row = 0; row < rowCount; row++) {
    const lines = strips.flatMap(({ cells, isShortened }, index) => {
      const cell = cells[row] ?? "";
      const title = titles[index] ?? "";
      if (cell === "") return [];
      const value = isShortened ? shortened(cell, valueMax) : cell;
      return [`${gap}${title}${" ".repeat(titleWidth - widthOfText(title))}${gap}${value}\n`];
    });
    blocks.push(lines.join(""));
  }
  return blocks.join("\n");
}

function cellText(value: unknown, { unit }: Column): string {
  if (value === null || value === undefined) return unit === "percent" ? "new" : "";
  if (unit === "id") return printable(idCell(value));
  if (typeof value === "number") {
    return unit === "percent" ? `${value.toFixed(1)} %` : value.toLocaleString("en");
  }
  if (typeof value === "bigint") return value.toLocaleString("en");
  return printable(typeof value === "object" ? JSON.stringify(value) : String(value as string));
}

function idCell(value: unknown): string {
  // Ids above 2^63 are stored as decimal text.
  if (typeof value === "string" && /^\d{19,20}$/.test(value)) return idCell(BigInt(value));
  return typeof value === "number" || typeof value === "bigint"
    ? `0x${value.toString(16)}`
    : String(value);
}

/** The text without its middle, where it is too wide: both ends of a path or a name say more. */
function shortened(text: string, widthMax: number): string {
  if (widthOfText(text) <= widthMax) return text;
  const characters = [...text];
  const tailMax = Math.floor((widthMax - 1) / 2);
  const headMax = widthMax - 1 - tailMax;
  return `${prefixOf(characters, headMax)}…${[...prefixOf(characters.reverse(), tailMax)].reverse().join("")}`;
}

function prefixOf(characters: readonly string[], widthMax: number): string {
  let prefix = "";
  let width = 0;
  for (const character of characters) {
    width += widthOfText(character);
    if (width > widthMax) break;
    prefix += character;
  }
  return prefix;
}

/** Columns of a terminal that a text takes. */
function widthOfText(text: string): number {
  return /^[\x20-\x7e]*$/.test(text) ? text.length : stringWidth(text);
}
