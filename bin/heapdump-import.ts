#!/usr/bin/env node
import { hostname } from "node:os";
import type { WriteConcernSettings } from "mongodb";
import { exitCodes, HeapdumpError } from "../src/errors.js";
import { dumpFormats, type DumpFormatName } from "../src/decode/detect-format.js";
import { openRejectsFile, type RejectsFile } from "../src/load/rejects-file.js";
import { shardKinds, type ShardKind } from "../src/load/shard.js";
import { importDump, type ImportSummary, type RejectLimit } from "../src/import-dump.js";
import { stopServer } from "../src/load/server/managed-server.js";
import { serverFor } from "../src/load/server/server.js";
import { printable } from "../src/report/printable.js";
import { progressView, type ProgressView } from "../src/report/progress.js";
import type { Redaction } from "../src/redaction.js";
import { toolVersion } from "../src/tool-version.js";
import type { RetentionPolicy } from "../src/watch/retention.js";
import { prune } from "../src/watch/watch.js";
import type { Reject } from "../schemas/reject.js";
import { connect } from "./shared/connect.js";
import { nextCommand } from "./shared/next-command.js";
import { parseOptions, wholeNumber } from "./shared/options.js";
import { redactionOf, withRedactValue } from "./shared/redaction-options.js";
import { retentionPolicyOf } from "./shared/retention-options.js";
import {
  printFailure,
  runCommand,
  withoutPasswords,
  type Invocation,
} from "./shared/run-command.js";

const usage = `usage: heapdump-import [options] FILE…      take heap dumps into MongoDB, one collection each
       heapdump-import [options] -          from standard input

  -d, --db NAME                 database (required)
  -c, --collection NAME         name of the dump; default: the file's name without its extensions
      --uri URI                 server; default: MONGODB_URI, one on localhost:27017, else one of our own, started
      --drop                    replace a dump of that name; the old one stays until the new one is whole
      --format NAME             ${dumpFormats.join(" | ")}; default: told from the content
  -j, --numInsertionWorkers N   batches in flight; default 6
      --writeConcern W          majority, a number, or {"w": …}; default: the server's
      --max-rejects N|P%        stop when more records are refused
      --rejects-file FILE       write refused records there too, one JSON object a line
      --redact[=all|values|/PATTERN/]  replace what strings say by length and keyed hash (key:
                                HEAPDUMP_REDACT_KEY, else one of your own, drawn once)
      --max-string BYTES        longest text kept of a string in a V8 snapshot; default 1024
      --no-analysis             neither dominators nor retained sizes: only referrers, references and your own
                                queries can be asked then, a sixth sooner
      --shard hashed|ranged     on a mongos: spread the objects over the shards by hash or range of their ids
      --series NAME             series for heapdump-diff --latest, like app@host
      --keep N                  then drop the objects of the series' older dumps, as heapdump-diff prune does:
      --keep-weekly N           the newest N stay (default 14), the newest of each of the last N weeks (default 8)
      --retry-for SECONDS       how long a lost server is waited for; default 60
      --json                    the summary as one JSON object on stdout
  -q, --quiet                   errors only
  -v, --verbose                 also every phase's details
      --stop-server             stop the server that we started, and do nothing else
      --version, -h, --help

Interrupted? Run the same command again: it goes on where it stopped.
Exit codes: 0 loaded, 1 failed, 2 wrong usage, 3 loaded but records were refused or the dump is cut, 4 no usable input, 5 no server,
6 authentication, 7 interrupted, 70 our fault.
`;

const options = {
  db: { type: "string", short: "d" },
  collection: { type: "string", short: "c" },
  uri: { type: "string" },
  drop: { type: "boolean" },
  format: { type: "string" },
  numInsertionWorkers: { type: "string", short: "j" },
  writeConcern: { type: "string" },
  "max-rejects": { type: "string" },
  "rejects-file": { type: "string" },
  redact: { type: "string" },
  "max-string": { type: "string" },
  "no-analysis": { type: "boolean" },
  shard: { type: "string" },
  series: { type: "string" },
  keep: { type: "string" },
  "keep-weekly": { type: "string" },
  "retry-for": { type: "string" },
  json: { type: "boolean" },
  quiet: { type: "boolean", short: "q" },
  verbose: { type: "boolean", short: "v" },
  "stop-server": { type: "boolean" },
  version: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

type Values = ReturnType<typeof parseOptions<typeof options>>["values"];

/** Rejects shown at the terminal; all of them are in the database. */
const rejectsShown = 5;

async function main({ argv, signal }: Invocation): Promise<number> {
  const { values, positionals } = parseOptions(withRedactValue(argv), options);
  if (values.help === true) {
    process.stdout.write(usage);
    return exitCodes.ok;
  }
  if (values.version === true) {
    process.stdout.write(`${toolVersion}\n`);
    return exitCodes.ok;
  }
  if (values["stop-server"] === true) {
    const stopped = await stopServer();
    process.stderr.write(stopped ? "stopped\n" : "no server of ours was running\n");
    return exitCodes.ok;
  }
  const job = await jobOf(values, positionals);
  const quiet = values.quiet === true;
  const isTerminal = process.stderr.isTTY;
  const view = quiet ? undefined : progressView(process.stderr, isTerminal);
  const server = await serverFor({
    uri: values.uri,
    signal,
    onProgress: (event) => view?.onProgress(event),
  });
  if (server.note !== undefined && !quiet) tell(server.note);
  // Before there is a connection, which would keep a command that failed alive.
  const path = values["rejects-file"];
  const rejectsFile = path === undefined ? undefined : await openRejectsFile(path, positionals);
  const client = await connect(server.uri).catch(async (error: unknown) => {
    await rejectsFile?.close();
    throw error;
  });
  try {
    let code: number = exitCodes.ok;
    const told: unknown[] = [];
    for (const file of positionals) {
      const one = {
        ...job,
        values,
        signal,
        view,
        client,
        server,
        rejectsFile,
        told,
        isOneOfMany: positionals.length > 1,
      };
      const outcome = await importOne(file, one);
      // The gravest one is told: a failure before refused records.
      code =
        code === exitCodes.ok || outcome !== exitCodes.attention ? Math.max(code, outcome) : code;
      if (signal.aborted) break;
    }
    // One object, whatever the number of files.
    if (values.json === true) printJson(positionals.length === 1 ? told[0] : { imports: told });
    return code;
  } finally {
    view?.stop();
    await rejectsFile?.close();
    await client.close();
  }
}

type Job = {
  readonly db: string;
  readonly format: DumpFormatName | undefined;
  readonly inFlight: number | undefined;
  readonly maxRejects: RejectLimit | undefined;
  readonly writeConcern: WriteConcernSettings | undefined;
  readonly redact: Redaction | undefined;
  readonly retryForMs: number | undefined;
  readonly maxString: number | undefined;
  readonly analysis: boolean;
  readonly shard: ShardKind | undefined;
  readonly retention: RetentionPolicy | undefined;
};

async function jobOf(values: Values, files: readonly string[]): Promise<Job> {
  if (files.length === 0) throw new HeapdumpError("usage/bad-option", "name a dump file, or -");
  if (values.db === undefined || values.db === "") {
    throw new HeapdumpError("usage/bad-option", "name a database with --db");
  }
  if (/[/\\. "$*<>:|?\0]/.test(values.db) || Buffer.byteLength(values.db) > 63) {
    throw new HeapdumpError(
      "usage/bad-option",
      `--db: "${values.db.slice(0, 60)}" is no name for a database`,
    );
  }
  if (values.collection !== undefined && files.length > 1) {
    throw new HeapdumpError("usage/bad-option", "-c names one dump; several files were given");
  }
  if (files.filter((file) => file === "-").length > 1) {
    throw new HeapdumpError("usage/bad-option", "standard input can be read once only");
  }
  const { format } = values;
  if (format !== undefined && !(dumpFormats as readonly string[]).includes(format)) {
    throw new HeapdumpError(
      "usage/bad-option",
      `--format: expected ${dumpFormats.join(", ")}, found "${format.slice(0, 60)}"`,
    );
  }
  const retryForS = wholeNumber("retry-for", values["retry-for"], { min: 0, max: 86_400 });
  return {
    db: values.db,
    format: format as DumpFormatName | undefined,
    inFlight: wholeNumber("numInsertionWorkers", values.numInsertionWorkers, { min: 1, max: 64 }),
    maxRejects: rejectLimitOf(values["max-rejects"]),
    writeConcern: writeConcernOf(values.writeConcern),
    redact: await redactionOf(values.redact),
    retryForMs: retryForS === undefined ? undefined : retryForS * 1000,
    maxString: wholeNumber("max-string", values["max-string"], { min: 0, max: 8_000_000 }),
    analysis: values["no-analysis"] !== true,
    shard: shardKindOf(values.shard),
    retention: retentionPolicyOf(values),
  };
}

function rejectLimitOf(text: string | undefined): RejectLimit | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(text);
  const number = Number(match?.[1]);
  const isPercent = match?.[2] === "%";
  if (match === null || (isPercent ? number > 100 : !Number.isInteger(number))) {
    throw new HeapdumpError(
      "usage/bad-option",
      `--max-rejects: expected a number like 100, or a share like 5%, found "${text.slice(0, 60)}"`,
    );
  }
  return isPercent ? { percent: number } : { count: number };
}

function writeConcernOf(text: string | undefined): WriteConcernSettings | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return { w: Number(text) };
  if (/^[A-Za-z]\w*$/.test(text)) return { w: text as "majority" };
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null && "w" in parsed) {
      return parsed as WriteConcernSettings;
    }
  } catch {
    // Told below.
  }
  throw new HeapdumpError(
    "usage/bad-option",
    `--writeConcern: expected majority, a number or {"w": …}, found "${text.slice(0, 60)}"`,
  );
}

function shardKindOf(value: string | undefined): ShardKind | undefined {
  const kind = shardKinds.find((one) => one === value);
  if (value === undefined || kind !== undefined) return kind;
  throw new HeapdumpError("usage/bad-option", `--shard: ${value} is neither hashed nor ranged`);
}

type One = Job & {
  readonly values: Values;
  readonly signal: AbortSignal;
  readonly rejectsFile: RejectsFile | undefined;
  /** What `--json` prints in the end: a summary or a failure a file. */
  readonly told: unknown[];
  readonly isOneOfMany: boolean;
  readonly view: ProgressView | undefined;
  readonly client: Awaited<ReturnType<typeof connect>>;
  readonly server: { readonly uri: string; readonly managed: boolean };
};

/** Imports one file; a failure is printed here when there are more files, so that these are still imported. */
async function importOne(file: string, one: One): Promise<number> {
  const { values, view } = one;
  const shown: Reject[] = [];
  try {
    const summary = await importDump({
      ...one,
      file,
      db: one.client.db(one.db),
      name: values.collection,
      drop: values.drop,
      series: values.series,
      onProgress: (event) => view?.onProgress(event),
      onReject: (reject) => {
        if (shown.length < rejectsShown) shown.push(reject);
      },
    });
    view?.stop();
    printSummary(summary, file, shown, one);
    one.told.push(summaryOf(summary, one));
    const { counters, truncated, series } = summary.entry;
    const code = counters.rejected > 0 || truncated ? exitCodes.attention : exitCodes.ok;
    return one.retention === undefined ? code : await pruneSeries(series, one.retention, one, code);
  } catch (error) {
    view?.stop();
    printRejects(shown, file);
    if (values.json === true && one.isOneOfMany) one.told.push({ file, error: failureOf(error) });
    return printFailure(error);
  }
}

/** Another import of the same night may be pruning. Unit: milliseconds. */
const pruneWaitMs = 30_000;

/** @returns `code`, or that of its own failure: the dump is loaded all the same */
async function pruneSeries(
  series: string,
  retention: RetentionPolicy,
  { client, db, values, signal }: One,
  code: number,
): Promise<number> {
  try {
    const policy = { ...retention, series, dryRun: false, waitMs: pruneWaitMs, signal };
    const dropped = (await prune(client.db(db), policy)).filter(({ drop }) => drop);
    if (values.quiet === true) return code;
    for (const { dump, takenAt } of dropped) {
      tell(`dropped the objects of ${dump}, taken ${takenAt.toISOString()}`);
    }
    return code;
  } catch (error) {
    return printFailure(error);
  }
}

/** The dump's entry and how it went. */
function summaryOf(summary: ImportSummary, { server, db }: One): unknown {
  const { lock: _lock, ...entry } = summary.entry;
  return {
    ...entry,
    dump: summary.dump,
    db,
    uri: withoutPasswords(server.uri),
    already_loaded: summary.alreadyLoaded,
    resumed: summary.resumed,
    warnings: summary.warnings,
  };
}

function failureOf(error: unknown): { code: string; message: string } {
  const message = error instanceof Error ? withoutPasswords(error.message) : "";
  return { code: error instanceof HeapdumpError ? error.code : "", message };
}

function printJson(value: unknown): void {
  if (value !== undefined) process.stdout.write(`${JSON.stringify(value)}\n`);
}

function printRejects(rejects: readonly Reject[], file: string): void {
  for (const { lineNumber, message, object } of rejects) {
    const place = object === undefined ? `${file}:${lineNumber}` : file;
    tell(`${place}: refused: ${message}`);
  }
}

function printSummary(
  summary: ImportSummary,
  file: string,
  rejects: readonly Reject[],
  { values, server, db }: One,
): void {
  const { entry, dump } = summary;
  const { counters } = entry;
  if (values.quiet !== true) {
    printRejects(rejects, file);
    if (counters.rejected > rejects.length) {
      tell(`… and ${counters.rejected - rejects.length} more in ${dump}.rejects`);
    }
    for (const warning of summary.warnings) tell(`warning: ${warning}`);
  }
  if (values.json === true || values.quiet === true) return;
  const number = (value: number): string => value.toLocaleString("en");
  const types = summary.typeCounts
    .slice(0, 6)
    .map((row) => `${row.name} ${number(row.count)}`)
    .join(", ");
  const phases = Object.entries(entry.phases_ms ?? {})
    .map(([phase, ms]) => `${phase} ${(ms / 1000).toFixed(2)} s`)
    .join(", ");
  const isAnalysed = entry.analysed !== false;
  const unreachable =
    counters.unreachable === undefined
      ? "; not analysed"
      : `, ${number(counters.unreachable)} unreachable`;
  const home = process.env["HEAPDUMP_HOME"] === undefined ? "" : " (HEAPDUMP_HOME is set)";
  const also = values.uri === undefined ? "" : ` --uri "${withoutPasswords(values.uri)}"`;
  const lines = [
    `${dump}: ${number(counters.objects)} objects, ${number(counters.references)} references, ${number(counters.bytes)} bytes, on ${hostname()}${home}`,
    types === "" ? "" : `  ${types}`,
    `  ${number(counters.lines)} lines = ${number(counters.objects)} objects + ${number(counters.rejected)} refused + ${number(counters.blank)} blank or envelope; ${number(counters.repaired)} repaired${unreachable}`,
    phases === "" ? "" : `  ${phases}`,
    `next: ${nextCommand("heapdump-query")} ${isAnalysed ? "suspects" : "summary"} --db ${db} --dump ${quoted(dump)}${also}`,
    `      ${nextCommand("mongosh")} "${withoutPasswords(server.uri)}" --eval 'db.getSiblingDB("${db}").getCollection("${isAnalysed ? `${dump}.classes` : dump}").find().limit(10)'`,
  ];
  for (const line of lines.filter((one) => one !== "")) tell(line);
}

function tell(line: string): void {
  process.stderr.write(`${printable(line)}\n`);
}

/** A word for the shell. */
function quoted(word: string): string {
  return /^[\w.@%+=:,/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

await runCommand(main);
