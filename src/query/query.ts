import type { Db, Document } from "mongodb";
import { HeapdumpError } from "../errors.js";
import {
  loadingNameOf,
  registryCollection,
  summariesCollection,
} from "../../schemas/collection-names.js";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import type { Table } from "../../schemas/table.js";
import type { HeapDocument, Pipeline, Query, QueryArguments, StoredId } from "./define-query.js";
import { exactDatabase, hasWideIds } from "./exact-database.js";
import { queries } from "./queries.js";

export type AskOptions = {
  /** A dump's name, or "latest". */
  readonly dump: string;
  readonly limit: number;
  /** A column to sort by; a minus in front: downwards. */
  readonly sort?: string | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** Rows of an answer, where no limit is given. */
const rowsDefault = 20;
const nothingGiven: QueryArguments = { names: [], where: {}, whereText: "", all: 1 };

/** Rows sorted by a column of the user's choice at most. */
const sortedRowsMax = 100_000;

/** The query of that name. @throws {HeapdumpError} `query/bad-argument` with the nearest name */
export function queryNamed(name: string): Query {
  const found = queries.find((query) => query.name === name);
  if (found !== undefined) return found;
  const near = nearest(
    name,
    queries.map((query) => query.name),
  );
  throw new HeapdumpError(
    "query/bad-argument",
    `there is no query "${name.slice(0, 60)}"${near.length > 0 ? `; did you mean ${near.join(" or ")}?` : ""}`,
  );
}

/** The name of a query's method in mongosh: `count-objects` is heap.countObjects there. */
export function shellNameOf(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Every loaded dump, newest first. Unfinished ones are not visible. */
export async function completeDumps(db: Db): Promise<DumpEntry[]> {
  return db
    .collection<DumpEntry>(registryCollection)
    .find({ status: "complete" })
    .sort({ taken_at: -1, completed_at: -1 })
    .toArray();
}

/** The loaded dumps for a person. */
export function dumpsTable(dumps: readonly DumpEntry[]): Table {
  return {
    title: "Loaded dumps, newest first",
    columns: [
      { key: "name", title: "dump", unit: "text" },
      { key: "taken_at", title: "taken", unit: "date" },
      { key: "format", title: "format", unit: "text" },
      { key: "objects", title: "objects", unit: "count" },
      { key: "bytes", title: "bytes", unit: "bytes" },
      { key: "series", title: "series", unit: "text" },
    ],
    rows: dumps.map((dump) => ({
      name: dump._id,
      taken_at: dump.taken_at.toISOString(),
      format: dump.format,
      objects: dump.counters.objects,
      bytes: dump.counters.bytes,
      series: dump.series,
    })),
    notes: dumps.length === 0 ? ["None is loaded: heapdump-import FILE --db NAME."] : [],
  };
}

/** @throws {HeapdumpError} `query/no-dump` with the nearest names */
export async function dumpNamed(db: Db, name: string): Promise<DumpEntry> {
  const dumps = await completeDumps(db);
  const found = name === "latest" ? dumps[0] : dumps.find((dump) => dump._id === name);
  if (found !== undefined) return found;
  const notReady = await whyNotReady(db, name);
  if (notReady !== undefined) throw new HeapdumpError("query/no-dump", notReady);
  if (dumps.length === 0) {
    throw new HeapdumpError(
      "query/no-dump",
      `no dump is loaded in the database ${db.databaseName}`,
    );
  }
  const near = nearest(
    name,
    dumps.map((dump) => dump._id),
  );
  const names = near.length > 0 ? near : dumps.slice(0, 5).map((dump) => dump._id);
  throw new HeapdumpError(
    "query/no-dump",
    `no dump "${name.slice(0, 60)}" is loaded; there is ${names.join(", ")}`,
  );
}

/** Of a dump that is there, but cannot be asked. */
async function whyNotReady(db: Db, name: string): Promise<string | undefined> {
  const entry = await db
    .collection<DumpEntry>(registryCollection)
    .findOne({ _id: { $in: [name, loadingNameOf(name)] }, status: { $ne: "complete" } });
  if (entry === null) return undefined;
  return entry.status === "pruned"
    ? `${name} was pruned: its summaries are kept, its objects are not`
    : `${name} is not whole: it is being loaded, or its import was cut and can be called again`;
}

/** The aggregation of a query, as it is sent first. */
export async function pipelineOf(
  db: Db,
  query: Query,
  given: QueryArguments,
  options: AskOptions,
): Promise<Pipeline> {
  const dump = await dumpNamed(db, options.dump);
  mustBeAnalysed(dump, query);
  return query.pipeline(given, dump, options.limit);
}

/** @throws {HeapdumpError} `query/not-analysed` */
function mustBeAnalysed(dump: DumpEntry, query: Query): void {
  if (dump.analysed !== false || query.worksUnanalysed === true) return;
  const names = queries.filter((one) => one.worksUnanalysed === true).map(({ name }) => name);
  throw new HeapdumpError(
    "query/not-analysed",
    `${dump._id} was imported without analysis: of it can be asked ${names.join(", ")}, but not ${query.name}`,
  );
}

/**
 * Asks a question about one dump: `ask(db, queryNamed("retainers"), { where: { class_name: "Order" } })`.
 *
 * Ids beyond 2^53 are bigints in the rows, those above 2^63-1 decimal text. Nothing is written.
 *
 * @param given - what the query takes (`query.takes`): an id of `parseId`, names, or a choice of `choiceOf`
 * @param options - by default the newest dump and 20 rows
 * @throws {HeapdumpError} `query/no-dump`, `query/not-found`, `query/bad-argument`, `query/not-analysed`
 */
export async function ask(
  db: Db,
  query: Query,
  given: Partial<QueryArguments> = {},
  options: Partial<AskOptions> = {},
): Promise<Table> {
  const asked = { ...options, dump: options.dump ?? "latest", limit: options.limit ?? rowsDefault };
  const dump = await dumpNamed(db, asked.dump);
  // What is asked of one object shows its own numbers too, which may be wide in any dump.
  const isExact = query.takes.startsWith("id") || (await hasWideIds(db, dump.collection));
  const exact = isExact ? exactDatabase(db, options.signal) : db;
  return askDump(exact, dump, query, { ...nothingGiven, ...given }, asked);
}

/** As `ask`, of a dump that is known, by a database that gives ids exactly. */
export async function askDump(
  db: Db,
  dump: DumpEntry,
  query: Query,
  given: QueryArguments,
  options: AskOptions,
): Promise<Table> {
  mustBeAnalysed(dump, query);
  // Sorted by another column, the first rows may be any: all are asked for, and cut behind the sort.
  const limit = options.sort === undefined ? options.limit : sortedRowsMax;
  const { collection, stages } = query.pipeline(given, dump, limit);
  const found = await db
    .collection(collection)
    .aggregate([...stages], {
      allowDiskUse: true,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    .toArray();
  const context = {
    db,
    dump,
    objects: db.collection<HeapDocument>(dump.collection),
    limit,
    signal: options.signal,
  };
  const answer = (await query.answer?.(found, given, context)) ?? {
    rows: found,
    notes: query.notes?.(found, dump) ?? [],
  };
  const notes = [...answer.notes];
  if (answer.rows.length === 0) notes.push(...(await nearClasses(db, dump, given)));
  return {
    title: `${dump._id}: ${query.question}`,
    columns: query.columns,
    rows:
      options.sort === undefined
        ? answer.rows
        : sorted(answer.rows, options.sort, query).slice(0, options.limit),
    notes,
  };
}

/** Where a class was asked for that is not there: those with a name like it. */
async function nearClasses(db: Db, dump: DumpEntry, given: QueryArguments): Promise<string[]> {
  const wanted = (given.where as Document)["class_name"] as unknown;
  if (typeof wanted !== "string") return [];
  const classes = await db
    .collection<{ _id: string; name: string }>(summariesCollection)
    .find({ dump: dump._id, by: "class" }, { projection: { name: 1 } })
    .toArray();
  const near = nearest(
    wanted,
    classes.map((one) => one.name),
  );
  return near.length === 0 ? [] : [`Did you mean ${near.join(", ")}?`];
}

function sorted(rows: Table["rows"], sort: string, query: Query): Table["rows"] {
  const down = sort.startsWith("-");
  const key = down ? sort.slice(1) : sort;
  if (!query.columns.some((column) => column.key === key)) {
    throw new HeapdumpError(
      "query/bad-argument",
      `--sort: ${query.name} has no column "${key}"; it has ${query.columns.map((one) => one.key).join(", ")}`,
    );
  }
  const order = (one: unknown, two: unknown): number => {
    if (isNumber(one) && isNumber(two)) return one < two ? -1 : one > two ? 1 : 0;
    return String(one ?? "") < String(two ?? "")
      ? -1
      : String(one ?? "") > String(two ?? "")
        ? 1
        : 0;
  };
  return [...rows].sort((one, two) => order(one[key], two[key]) * (down ? -1 : 1));
}

function isNumber(value: unknown): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

/**
 * An id as people write it: 0x…, decimal, or the text of a root.
 *
 * @throws {HeapdumpError} `query/bad-argument`
 */
export function parseId(text: string): StoredId {
  if (/^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(text)) {
    const exact = BigInt(text);
    if (exact <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(exact);
    return exact > 0x7fff_ffff_ffff_ffffn ? exact.toString() : exact;
  }
  if (/^(_ROOTS_|root:.+|\d{20}|.+#\d+)$/.test(text)) return text;
  throw new HeapdumpError(
    "query/bad-argument",
    `"${text.slice(0, 60)}" is no id: expected 0x7f…, a decimal number, _ROOTS_ or root:…`,
  );
}

/** The names most like the one given: by edit distance, or by what they end in. */
export function nearest(wanted: string, names: readonly string[]): string[] {
  const lower = wanted.toLowerCase();
  const scored = names.map((name) => {
    const other = name.toLowerCase();
    const contains = lower.length > 2 && (other.includes(lower) || lower.includes(other));
    return { name, score: contains ? 1 : distance(lower, other) };
  });
  const bound = Math.max(2, Math.floor(wanted.length / 3));
  return scored
    .filter(({ score }) => score <= bound)
    .sort((one, two) => one.score - two.score || (one.name < two.name ? -1 : 1))
    .slice(0, 3)
    .map(({ name }) => name);
}

/** Edit distance. @see R. Wagner and M. Fischer, "The String-to-String Correction Problem", 1974 */
function distance(one: string, two: string): number {
  if (Math.abs(one.length - two.length) > 20) return 99;
  let previous = Array.from({ length: two.length + 1 }, (_, index) => index);
  for (let row = 1; row <= one.length; row++) {
    const current = [row];
    for (let column = 1; column <= two.length; column++) {
      const change = one[row - 1] === two[column - 1] ? 0 : 1;
      current[column] = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + change,
      );
    }
    previous = current;
  }
  return previous[two.length] ?? 99;
}
