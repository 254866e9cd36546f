import type { Db, Document } from "mongodb";
import { failures, HeapdumpError } from "../../src/errors.js";
import type { Query, QueryArguments, StoredId } from "../../src/query/define-query.js";
import { databaseOver } from "../../src/query/exact-database.js";
import { choiceOf } from "../../src/query/one-dump/retainers.js";
import {
  askDump,
  completeDumps,
  dumpNamed,
  dumpsTable,
  parseId,
  shellNameOf,
} from "../../src/query/query.js";
import { queries } from "../../src/query/queries.js";
import { tablesText } from "../../src/report/text-table.js";
import type { Table } from "../../schemas/table.js";

/**
 * The queries, for mongosh: `npm run build` makes one file of this and of what it imports, dist/mongosh/heap.js.
 *
 * It runs where there is no driver, but mongosh's own commands. All code below them is that of heapdump-query.
 */

/** What this uses of mongosh, as seen from code that awaits. */
type ShellDatabase = {
  getName(): string;
  getSiblingDB(name: string): ShellDatabase;
  getCollection(name: string): Pick<ShellDatabase, "aggregate">;
  aggregate(stages: readonly Document[], options: Document): Promise<ShellCursor>;
};
type ShellCursor = { toArray(): Promise<Document[]> };
type Shell = {
  db: ShellDatabase;
  heap: Readonly<Record<string, unknown>>;
  print(text: string): void;
  isInteractive?(): boolean;
};

const shell = globalThis as unknown as Shell;

/** What all methods take last. */
type ShellOptions = {
  readonly db?: string;
  readonly dump?: string;
  readonly limit?: number;
  readonly sort?: string;
  readonly all?: number;
};

/** What `heap.use` chose; without it, the shell's database and its newest dump. */
const chosen: { db?: string; dump?: string } = {};

const rowsShown = 20;

/** The rows of an answer; printed as a table by the shell. */
function shown(table: Table): readonly Document[] {
  const rows = [...table.rows] as Document[];
  const text = (): string => tablesText([table], { widthMax: terminalWidth() });
  const hidden = { notes: table.notes, title: table.title, [inspectCustom]: text };
  for (const key of Reflect.ownKeys(hidden)) {
    Object.defineProperty(rows, key, { value: hidden[key as keyof typeof hidden] });
  }
  return rows;
}

const inspectCustom = Symbol.for("nodejs.util.inspect.custom");

function terminalWidth(): number | undefined {
  return typeof process === "object" && process.stdout?.isTTY ? process.stdout.columns : undefined;
}

/** A promise that mongosh awaits by itself, wherever it stands: `heap.types().length` works. */
function awaited<T>(promise: Promise<T>): Promise<T> {
  return Object.defineProperty(promise, Symbol.for("@@mongosh.syntheticPromise"), { value: true });
}

function database(name: string | undefined): Db {
  const over = name === undefined ? shell.db : shell.db.getSiblingDB(name);
  return databaseOver(over.getName(), async (collection, stages) => {
    const target = collection === undefined ? over : over.getCollection(collection);
    const cursor = await target.aggregate(stages, { allowDiskUse: true });
    return cursor.toArray();
  });
}

async function answered(query: Query, words: readonly unknown[]): Promise<readonly Document[]> {
  try {
    const { given, options } = argumentsOf(query, words);
    const db = database(options.db ?? chosen.db);
    const dump = await dumpNamed(db, options.dump ?? chosen.dump ?? "latest");
    const asked = { dump: dump._id, limit: options.limit ?? rowsShown, sort: options.sort };
    return shown(await askDump(db, dump, query, given, asked));
  } catch (error) {
    throw inWords(error);
  }
}

/** What the shell shows of an error is its message: the code and what to do are put into it. */
function inWords(error: unknown): unknown {
  if (!(error instanceof HeapdumpError)) return error;
  return new Error(`[${error.code}] ${error.message}\nfix: ${failures[error.code].fix}`);
}

function argumentsOf(
  query: Query,
  words: readonly unknown[],
): { given: QueryArguments; options: ShellOptions } {
  const last = words.at(-1);
  const takesChoice = query.takes === "objects" && words.length < 2;
  const hasOptions = isPlain(last) && !takesChoice;
  const options = (hasOptions ? last : {}) as ShellOptions;
  const rest = hasOptions ? words.slice(0, -1) : words;
  const [first] = rest;
  const none = { names: [], where: {}, whereText: "", all: options.all ?? 1 };
  if (query.takes === "names") return { given: { ...none, names: rest.map(String) }, options };
  if (query.takes === "objects") {
    const { where, whereText, more } = chosenObjects(first);
    return { given: { ...none, where, whereText }, options: { ...options, ...more } };
  }
  if (query.takes === "nothing" || (first === undefined && query.takes === "id-or-nothing"))
    return { given: none, options };
  return { given: { ...none, id: idOf(first, query) }, options };
}

/** `"Shop::Order"` is a class; `{class, type, site, where}` as the options of heapdump-query, `where` a condition. */
function chosenObjects(choice: unknown): {
  where: Document;
  whereText: string;
  more: ShellOptions;
} {
  const words = (isPlain(choice) ? choice : { class: choice }) as Record<string, unknown>;
  const { class: className, type, site, where, ...more } = words as Record<string, string>;
  const condition = where as unknown as Document | undefined;
  const named = className !== undefined || type !== undefined || site !== undefined;
  const { where: byName, text } =
    named || condition === undefined
      ? choiceOf({ class: className, type, site })
      : { where: {}, text: "" };
  if (condition === undefined) return { where: byName, whereText: text, more };
  const whereText = [text, JSON.stringify(condition)].filter((one) => one !== "").join(", ");
  return { where: named ? { $and: [byName, condition] } : condition, whereText, more };
}

/** 0x7f…, "0x7f…", a Long as documents have it, a bigint, or the text of a root. */
function idOf(id: unknown, query: Query): StoredId {
  if (id === undefined) throw new HeapdumpError("query/bad-argument", `${query.name} needs an id`);
  if (typeof id === "number" && !Number.isSafeInteger(id)) {
    throw new HeapdumpError(
      "query/bad-argument",
      `${id} is rounded by JavaScript: write ids beyond 2^53 as text, "0x…"`,
    );
  }
  return parseId(String(id));
}

function isPlain(value: unknown): boolean {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !("_bsontype" in value)
  );
}

/** Names what is asked from now on: a dump, or `{ db, dump }`. */
async function use(choice: unknown): Promise<string> {
  const { db: name, dump } = (isPlain(choice) ? choice : { dump: choice }) as ShellOptions;
  try {
    const db = database(name ?? chosen.db);
    const found = await dumpNamed(db, dump ?? "latest");
    if (name !== undefined) chosen.db = name;
    if (dump === undefined) delete chosen.dump;
    else chosen.dump = dump;
    return `${found._id} in ${db.databaseName}: ${found.counters.objects.toLocaleString("en")} objects, taken ${found.taken_at.toISOString()}`;
  } catch (error) {
    throw inWords(error);
  }
}

function helpText(): string {
  const argumentOf = {
    nothing: "",
    id: "0x…",
    "id-or-nothing": "0x… or nothing",
    names: '"Name", …',
    objects: '"Class" or { class, type, site, where }',
  } as const;
  const lines = queries.map(({ name, takes, question }) => [
    `heap.${shellNameOf(name)}(${argumentOf[takes]})`,
    question,
  ]);
  const more = [
    ["heap.dumps()", "Which dumps are loaded?"],
    ['heap.use("dump")', "Ask of this dump from now on; the newest one by default."],
    ['heap.use({ db: "name" })', "Ask in this database from now on; the shell's by default."],
  ];
  const width = Math.max(...[...lines, ...more].map(([call = ""]) => call.length));
  return `${[...lines, ...more]
    .map(([call = "", text = ""]) => `${call.padEnd(width)}  ${text}`)
    .join("\n")}

The last argument may be { limit, sort, dump, db }, for path also { all }: heap.classes({ sort: "-count", limit: 5 }).
Answers are lists of rows, printed as tables: heap.types().map((row) => row.name) works.
Ids beyond 2^53 are given as text: heap.object("0xffff800012345678").`;
}

const methods = Object.fromEntries(
  queries.map((query) => [
    shellNameOf(query.name),
    (...words: readonly unknown[]) => awaited(answered(query, words)),
  ]),
);

shell.heap = Object.freeze({
  ...methods,
  use: (choice?: unknown) => awaited(use(choice)),
  dumps: (options?: ShellOptions) =>
    awaited(
      completeDumps(database(options?.db ?? chosen.db)).then((dumps) => shown(dumpsTable(dumps))),
    ),
  help: () => shell.print(helpText()),
});

if (shell.isInteractive?.() === true) shell.print("heap.help() lists what can be asked.");
