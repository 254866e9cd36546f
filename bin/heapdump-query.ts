#!/usr/bin/env node
import { fileURLToPath } from "node:url";
import { exitCodes, HeapdumpError } from "../src/errors.js";
import { serverFor } from "../src/load/server/server.js";
import {
  asksSeveralTimes,
  type Pipeline,
  type Query,
  type QueryArguments,
} from "../src/query/define-query.js";
import { choiceOf } from "../src/query/one-dump/retainers.js";
import {
  ask,
  completeDumps,
  dumpNamed,
  dumpsTable,
  parseId,
  pipelineOf,
  queryNamed,
  shellNameOf,
} from "../src/query/query.js";
import { otherDumpsText } from "../src/query/databases-with-dumps.js";
import { idText } from "../src/query/object-labels.js";
import { queries } from "../src/query/queries.js";
import { csvText } from "../src/report/csv.js";
import type { Table } from "../schemas/table.js";
import { toolVersion } from "../src/tool-version.js";
import { connect } from "./shared/connect.js";
import { parseOptions, wholeNumber } from "./shared/options.js";
import { tablesText } from "./shared/print-tables.js";
import { runCommand, type Invocation } from "./shared/run-command.js";

const usage = `usage: heapdump-query QUERY [ID | NAME…] --db NAME [--dump NAME|latest]
       heapdump-query --list | --mongosh | --dumps --db NAME

${queries.map((query) => `  ${`${query.name}${argumentOf(query)}`.padEnd(24)} ${query.question}`).join("\n")}

  -d, --db NAME      database (required)
      --uri URI      server; default: MONGODB_URI, one on localhost:27017, else one of our own
      --dump NAME    which dump; default: the newest one
      --class X, --type T, --site FILE:LINE, --where JSON    which objects, for retainers
      --all N        paths wanted, for path
      --limit N      rows; default 20
      --sort COLUMN  sort the rows by a column, -COLUMN downwards
      --json, --csv  the rows for a program
      --pipeline     what gives the answer in mongosh, to be pasted there; nothing is asked
      --mongosh      the path of the script that offers all queries there: mongosh URI --shell --file PATH
      --version, -h, --help

Ids are written 0x7f9c… or in decimal, roots as _ROOTS_ or root:vm.
Exit codes: 0, 1 failed, 2 wrong usage, 4 no such dump or object, 5 no server, 6 authentication, 70 our fault.
`;

function argumentOf(query: Query): string {
  if (query.takes === "id") return " ID";
  if (query.takes === "id-or-nothing") return " [ID]";
  if (query.takes === "names") return " [NAME…]";
  return query.takes === "objects" ? " --class X" : "";
}

const options = {
  db: { type: "string", short: "d" },
  uri: { type: "string" },
  dump: { type: "string" },
  class: { type: "string" },
  type: { type: "string" },
  site: { type: "string" },
  where: { type: "string" },
  all: { type: "string" },
  limit: { type: "string" },
  sort: { type: "string" },
  json: { type: "boolean" },
  csv: { type: "boolean" },
  pipeline: { type: "boolean" },
  list: { type: "boolean" },
  dumps: { type: "boolean" },
  mongosh: { type: "boolean" },
  version: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** `npm run build` makes it of the queries. */
const mongoshScript = fileURLToPath(new URL("../mongosh/heap.js", import.meta.url));

type Values = ReturnType<typeof parseOptions<typeof options>>["values"];

async function main({ argv, signal }: Invocation): Promise<number> {
  // `--sort -count`: the minus belongs to the column, which parseArgs would take for an option.
  const words = argv.flatMap((word, index) => {
    if (word === "--sort" && argv[index + 1]?.startsWith("-") === true) return [];
    return argv[index - 1] === "--sort" && word.startsWith("-") ? [`--sort=${word}`] : [word];
  });
  const { values, positionals } = parseOptions(words, options);
  if (values.help === true || (argv.length === 0 && process.stdout.isTTY)) {
    process.stdout.write(usage);
    return exitCodes.ok;
  }
  if (values.version === true) {
    process.stdout.write(`${toolVersion}\n`);
    return exitCodes.ok;
  }
  if (values.list === true) {
    const lines = queries.map(
      (query) => `${`${query.name}${argumentOf(query)}`.padEnd(24)} ${query.question}`,
    );
    process.stdout.write(`${lines.join("\n")}\n`);
    return exitCodes.ok;
  }
  if (values.mongosh === true) {
    process.stdout.write(`${mongoshScript}\n`);
    return exitCodes.ok;
  }
  const [name, ...rest] = positionals;
  const query = values.dumps === true ? undefined : queryNamed(nameOf(name));
  if (values.db === undefined)
    throw new HeapdumpError("usage/bad-option", "name a database with --db");
  const given = query === undefined ? undefined : argumentsOf(query, rest, values);
  const limit = wholeNumber("limit", values.limit, { min: 1, max: 1_000_000 }) ?? 20;
  const asked = { dump: values.dump ?? "latest", limit, sort: values.sort, signal };
  const server = await serverFor({ uri: values.uri, signal });
  if (server.note !== undefined) process.stderr.write(`${server.note}\n`);
  const client = await connect(server.uri);
  try {
    const db = client.db(values.db);
    if (query === undefined || given === undefined) {
      const table = dumpsTable(await completeDumps(db));
      const others = table.rows.length > 0 ? "" : await otherDumpsText(client, values.db, signal);
      print({ ...table, notes: [...table.notes, ...sentencesOf(others)] }, values);
    } else if (values.pipeline === true) {
      const pipeline = shellText(await pipelineOf(db, query, given, asked), values.db);
      const isWhole = !asksSeveralTimes(query);
      const dump = isWhole ? "" : (await dumpNamed(db, asked.dump))._id;
      process.stdout.write(
        isWhole
          ? pipeline
          : callText(query, given, { db: values.db, dump, limit }) + asComment(pipeline),
      );
    } else print(await ask(db, query, given, asked), values, query);
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof HeapdumpError && error.code === "query/no-dump")) throw error;
    const others = await otherDumpsText(client, values.db, signal);
    if (others === "") throw error;
    throw new HeapdumpError(error.code, `${error.message}; ${others}`, { cause: error });
  } finally {
    await client.close();
  }
}

function sentencesOf(text: string): string[] {
  return text === "" ? [] : [`${text.charAt(0).toUpperCase()}${text.slice(1)}.`];
}

function nameOf(name: string | undefined): string {
  if (name === undefined)
    throw new HeapdumpError("usage/bad-option", "name a query; --list prints them");
  return name;
}

function argumentsOf(query: Query, words: readonly string[], values: Values): QueryArguments {
  const takesId = query.takes === "id" || query.takes === "id-or-nothing";
  if (!takesId && query.takes !== "names" && words.length > 0) {
    throw new HeapdumpError(
      "query/bad-argument",
      `${query.name} takes no "${(words[0] ?? "").slice(0, 60)}"`,
    );
  }
  if (takesId && words.length > 1) {
    throw new HeapdumpError("query/bad-argument", `${query.name} takes one id`);
  }
  if (query.takes === "id" && words.length === 0) {
    throw new HeapdumpError("query/bad-argument", `${query.name} needs the id of an object`);
  }
  const [word] = words;
  const id = takesId && word !== undefined ? parseId(word) : undefined;
  const { where, text } = query.takes === "objects" ? choiceOf(values) : { where: {}, text: "" };
  return {
    ...(id === undefined ? {} : { id }),
    names: query.takes === "names" ? words : [],
    where,
    whereText: text,
    all: wholeNumber("all", values.all, { min: 1, max: 1000 }) ?? 1,
  };
}

function print(table: Table, values: Values, query?: Query): void {
  if (values.json === true) {
    const plain = query?.json?.(table.rows) ?? {
      title: table.title,
      rows: table.rows,
      notes: table.notes,
    };
    process.stdout.write(`${JSON.stringify(plain, jsonValue, 2)}\n`);
  } else if (values.csv === true) process.stdout.write(csvText(table));
  else process.stdout.write(tablesText([table]));
}

/** Integers beyond 2^53 as text: JSON readers would round them. */
function jsonValue(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}

/** The whole answer of a query that asks several times, for mongosh. */
function callText(query: Query, given: QueryArguments, options: Record<string, unknown>): string {
  const words: string[] = [];
  if (given.id !== undefined)
    words.push(typeof given.id === "string" ? JSON.stringify(given.id) : `"${idText(given.id)}"`);
  if (query.takes === "objects") words.push(literalText({ where: given.where }));
  words.push(literalText(given.all > 1 ? { ...options, all: given.all } : options));
  return [
    `// ${query.name} asks several times: this script, made of the queries of heapdump-query, gives the whole answer.`,
    `load(${JSON.stringify(mongoshScript)})`,
    `heap.${shellNameOf(query.name)}(${words.join(", ")})`,
    "// The first time it asks:",
    "",
  ].join("\n");
}

function asComment(text: string): string {
  return text.trimEnd().replace(/^/gm, "// ") + "\n";
}

/** What can be pasted into mongosh. Keys are quoted; whole numbers beyond 32 bits are NumberLong there. */
function shellText({ collection, stages }: Pipeline, database: string): string {
  return `db.getSiblingDB(${JSON.stringify(database)}).getCollection(${JSON.stringify(collection)}).aggregate(${literalText(stages, 2)})\n`;
}

function literalText(given: unknown, indent?: number): string {
  return JSON.stringify(
    given,
    (_, value: unknown) => {
      if (typeof value === "bigint") return `\u0001Long("${value}")\u0001`;
      if (typeof value === "number" && Number.isInteger(value) && Math.abs(value) > 0x7fff_ffff) {
        return `\u0001Long("${value}")\u0001`;
      }
      return value;
    },
    indent,
  ).replace(/"\\u0001Long\(\\"(-?\d+)\\"\)\\u0001"/g, 'Long("$1")');
}

await runCommand(main);
