/** How a column's values are printed and what they are. */
export type ColumnUnit = "text" | "count" | "bytes" | "id" | "percent" | "ms" | "date" | "json";

export type Column = { readonly key: string; readonly title: string; readonly unit: ColumnUnit };

/** What a query gives and `report/` prints: the only value between the two. */
export type Table = {
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  /** Sentences for a person, below the rows: what was left out, why it is empty, what to ask next. */
  readonly notes: readonly string[];
};
