#!/usr/bin/env node
import type { Db } from "mongodb";
import { summariesCollection } from "../schemas/collection-names.js";
import { exitCodes, HeapdumpError } from "../src/errors.js";
import { pinDump } from "../src/load/prune.js";
import { serverFor } from "../src/load/server/server.js";
import { compareTwo, testForLeaks } from "../src/query/across-dumps/across-dumps.js";
import {
  alarmTable,
  growthTables,
  leakTables,
  trendTable,
  twoDumpsTables,
} from "../src/query/across-dumps/diff-tables.js";
import { growthPipeline } from "../src/query/across-dumps/growth.js";
import { prometheusText } from "../src/report/prometheus.js";
import { toolVersion } from "../src/tool-version.js";
import { takeLock, watchLock } from "../src/watch/lock.js";
import { alarmsOf, parseThresholds } from "../src/watch/thresholds.js";
import { prune, seriesIn, watchSeries, type Watched } from "../src/watch/watch.js";
import { parseWebhook, postWebhook } from "../src/watch/webhook.js";
import { connect } from "./shared/connect.js";
import { parseOptions, wholeNumber } from "./shared/options.js";
import { tablesText } from "./shared/print-tables.js";
import { retentionDefault, retentionPolicyOf } from "./shared/retention-options.js";
import { printFailure, runCommand, type Invocation } from "./shared/run-command.js";
import { writeTextfile } from "./shared/write-textfile.js";

const usage = `usage: heapdump-diff [options] A B        what grew from dump A to dump B
       heapdump-diff [options] A B C      leak test: new in B and still there in C, and what holds it
       heapdump-diff [options] --latest   the newest dump of each series and the one before: for a schedule
       heapdump-diff [options] prune      drop old objects; summaries stay
       heapdump-diff [options] --pin DUMP | --unpin DUMP    prune leaves it alone, or no longer

  -d, --db NAME            database (required)
      --uri URI            server; default: MONGODB_URI, one on localhost:27017, else one of our own
      --limit N            rows of each table; default 20
      --fail-on LIMITS     exit 3 on growth above, as 'count>100,bytes>10MB,retained>1GiB,pct>20': one of the
                           absolute limits, and the percentage too where it is given
      --json               one JSON object on stdout
      --pipeline           of A B: the aggregation that finds the growth, to be pasted into mongosh; nothing is asked
 with --latest:
      --series NAME        only this series, like app@host
      --baseline DUMP      compare with this dump instead of the one before
      --window 7d          also the trend of each class over that long (h, d or w)
      --prometheus FILE    write metrics for node_exporter's textfile collector
      --webhook URL        post each series' result as JSON; HEAPDUMP_WEBHOOK in the environment shows it to nobody
      --webhook-on WHEN    always: after every run; growth: only when a limit of --fail-on was passed.
                           Default: growth with --fail-on, else always
 with prune:
      --keep N             newest dumps of each series; default 14
      --keep-weekly N      and the newest of each of the last N weeks; default 8
      --dry-run            only say what would be dropped
      --version, -h, --help

Exit codes: 0 nothing above a threshold (also: no new dump), 1 failed, 2 wrong usage, 3 growth above --fail-on,
4 no such dump, 5 no server, 6 authentication, 7 interrupted, 70 our fault.
`;

const options = {
  db: { type: "string", short: "d" },
  uri: { type: "string" },
  limit: { type: "string" },
  "fail-on": { type: "string" },
  json: { type: "boolean" },
  pipeline: { type: "boolean" },
  latest: { type: "boolean" },
  series: { type: "string" },
  baseline: { type: "string" },
  window: { type: "string" },
  prometheus: { type: "string" },
  webhook: { type: "string" },
  "webhook-on": { type: "string" },
  keep: { type: "string" },
  "keep-weekly": { type: "string" },
  "dry-run": { type: "boolean" },
  pin: { type: "string" },
  unpin: { type: "string" },
  version: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

type Values = ReturnType<typeof parseOptions<typeof options>>["values"];

/** What one call does, with all its options checked before any server is asked. */
type Task = (database: Db, signal: AbortSignal) => Promise<number>;

async function main({ argv, signal }: Invocation): Promise<number> {
  const { values, positionals } = parseOptions(argv, options);
  if (values.help === true || values.version === true) {
    process.stdout.write(values.help === true ? usage : `${toolVersion}\n`);
    return exitCodes.ok;
  }
  const task = taskOf(values, positionals);
  if (values.db === undefined || !/^[^/\\. "$*<>:|?\0]{1,63}$/.test(values.db)) {
    throw badOption("name a database with --db");
  }
  const server = await serverFor({ uri: values.uri, signal });
  if (server.note !== undefined) process.stderr.write(`${server.note}\n`);
  const client = await connect(server.uri);
  try {
    return await task(client.db(values.db), signal);
  } finally {
    await client.close();
  }
}

function taskOf(values: Values, names: readonly string[]): Task {
  const limit = wholeNumber("limit", values.limit, { min: 1, max: 100_000 }) ?? 20;
  const asks = [
    names[0] === "prune" && names.length === 1,
    values.latest === true,
    values.pin !== undefined || values.unpin !== undefined,
  ];
  if (asks.filter(Boolean).length > 1) throw badOption("ask for one thing at a time");
  const ofLatest = ["baseline", "window", "prometheus", "webhook", "webhook-on"] as const;
  onlyWith("--latest", asks[1], values, ofLatest);
  onlyWith("prune", asks[0], values, ["keep", "keep-weekly", "dry-run"]);
  if (asks.some(Boolean) && values.pipeline === true) throw badOption("--pipeline goes with A B");
  if (asks[0] === true) return pruneTask(values);
  if (asks[1] === true && names.length === 0) return latestTask(values, limit);
  if (asks[2] === true && names.length === 0) return pinTask(values);
  const [first, second, third] = names;
  if (asks.some(Boolean) || first === undefined || second === undefined || names.length > 3) {
    throw badOption(`expected two or three dumps, or --latest, or prune; found ${names.length}`);
  }
  if (values.pipeline === true) {
    if (third !== undefined)
      throw badOption("--pipeline: the objects of three dumps are merged here");
    return (database) => {
      const text = JSON.stringify(growthPipeline(first, second), null, 2);
      const collection = `db.getSiblingDB(${JSON.stringify(database.databaseName)}).${summariesCollection}`;
      print(`${collection}.aggregate(${text})\n`);
      return Promise.resolve(exitCodes.ok);
    };
  }
  const thresholds = values["fail-on"] === undefined ? [] : parseThresholds(values["fail-on"]);
  if (third === undefined) {
    return async (database, signal) => {
      // Alarms look at every change, the tables at the largest.
      const diff = await compareTwo(database, [first, second], { limit: Infinity, signal });
      const alarms = alarmsOf(diff.growth, thresholds);
      if (values.json === true) {
        printJson({
          before: diff.before._id,
          after: diff.after._id,
          ...diff.kinship,
          growth: diff.growth,
          objects: diff.objects,
          alarms,
        });
      } else {
        const tables = twoDumpsTables(diff, limit);
        if (alarms.length > 0) tables.push(alarmTable(alarms, limit));
        print(`${first} → ${second}, by ${diff.kinship.compared_by}: ${diff.kinship.evidence}\n\n`);
        print(tablesText(tables));
      }
      return alarms.length > 0 ? exitCodes.attention : exitCodes.ok;
    };
  }
  if (thresholds.length > 0) throw badOption("--fail-on compares two dumps, not three");
  return async (database, signal) => {
    const test = await testForLeaks(database, [first, second, third], { limit, signal });
    if (values.json === true) {
      printJson({ ...test, dumps: test.dumps.map(({ _id }) => _id) });
    } else {
      print(`${test.kinships.map(({ evidence }) => evidence).join("\n")}\n\n`);
      print(tablesText(leakTables(test)));
    }
    return exitCodes.ok;
  };
}

function latestTask(values: Values, limit: number): Task {
  const failOn = values["fail-on"] ?? "";
  if (failOn !== "") parseThresholds(failOn);
  const webhook = webhookOf(values);
  const watch = { failOn, baseline: values.baseline, windowMs: windowMsOf(values.window) };
  return async (database, signal) => {
    const results: Watched[] = [];
    const lock = await takeLock(database, watchLock);
    const both = AbortSignal.any([signal, lock.lost]);
    try {
      for (const series of await seriesIn(database, values.series)) {
        both.throwIfAborted();
        results.push(await watchSeries(database, series, { ...watch, signal: both }));
      }
    } finally {
      await lock.release();
    }
    if (values.json === true) printJson({ results });
    else for (const result of results) printWatched(result, limit);
    if (results.length === 0) process.stderr.write("no dump is loaded\n");
    const diffs = results.flatMap(({ diff }) => (diff === undefined ? [] : [diff]));
    if (values.prometheus !== undefined) {
      await writeTextfile(values.prometheus, prometheusText(diffs), 0o644);
    }
    const isAlarming = ({ isNew, diff }: Watched): boolean =>
      isNew && diff !== undefined && diff.alarms.length > 0;
    let code: number = results.some(isAlarming) ? exitCodes.attention : exitCodes.ok;
    if (webhook !== undefined) {
      for (const result of results.filter((it) => webhook.always || isAlarming(it))) {
        try {
          await postWebhook(webhook.url, messageOf(result), signal);
        } catch (error) {
          code = printFailure(error);
        }
      }
    }
    return code;
  };
}

type Webhook = { readonly url: string; readonly always: boolean };

/** Who gives limits wants to hear when they are passed; who gives none wants to hear what a run found. */
function webhookOf(values: Values): Webhook | undefined {
  const fromEnvironment = process.env["HEAPDUMP_WEBHOOK"] ?? "";
  const url = values.webhook ?? (fromEnvironment === "" ? undefined : fromEnvironment);
  const hasLimits = values["fail-on"] !== undefined;
  const on = values["webhook-on"] ?? (hasLimits ? "growth" : "always");
  if (on !== "growth" && on !== "always") {
    throw badOption(`--webhook-on: expected growth or always, found "${on.slice(0, 60)}"`);
  }
  if (url === undefined) {
    if (values["webhook-on"] !== undefined) throw badOption("--webhook-on goes with --webhook");
    return undefined;
  }
  if (on === "growth" && !hasLimits) throw badOption("--webhook-on growth goes with --fail-on");
  parseWebhook(url);
  return { url, always: on === "always" };
}

function printWatched({ series, note, diff, isNew }: Watched, limit: number): void {
  print(`${series}: ${note}\n`);
  if (diff === undefined || (!isNew && diff.trend.length === 0)) return;
  print(`${diff.before} → ${diff.after}, by ${diff.compared_by}: ${diff.evidence}\n\n`);
  const tables = isNew ? growthTables(diff.growth, limit) : [];
  if (diff.trend.length > 0) tables.push(trendTable(diff.trend, limit));
  if (isNew && diff.alarms.length > 0) tables.push(alarmTable(diff.alarms, limit));
  print(tables.length === 0 ? "nothing changed\n" : tablesText(tables));
}

function pruneTask(values: Values): Task {
  const retention = retentionPolicyOf(values) ?? retentionDefault;
  const dryRun = values["dry-run"] === true;
  return async (database, signal) => {
    const { series } = values;
    if (series !== undefined) await seriesIn(database, series);
    const verdicts = await prune(database, { ...retention, dryRun, series, signal });
    if (values.json === true) {
      printJson({ dry_run: dryRun, dumps: verdicts });
      return exitCodes.ok;
    }
    for (const { dump, takenAt, drop, reason } of verdicts) {
      const what = drop ? (dryRun ? "would drop" : "dropped") : "kept";
      print(`${what.padEnd(10)}  ${dump}  ${takenAt.toISOString()}  ${reason}\n`);
    }
    const count = verdicts.filter(({ drop }) => drop).length;
    const verb = dryRun ? "would lose their objects" : "lost their objects";
    print(`${count} of ${verdicts.length} dumps ${verb}; all summaries stay\n`);
    return exitCodes.ok;
  };
}

function pinTask({ pin, unpin }: Values): Task {
  return async (database) => {
    if (pin !== undefined) await pinDump(database, pin, true);
    if (unpin !== undefined) await pinDump(database, unpin, false);
    return exitCodes.ok;
  };
}

function onlyWith(
  what: string,
  asked: boolean | undefined,
  values: Values,
  names: readonly (keyof Values)[],
): void {
  const given = names.find((name) => values[name] !== undefined);
  if (asked !== true && given !== undefined) throw badOption(`--${given} goes with ${what}`);
}

const millisecondsIn: Readonly<Record<string, number>> = {
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

function windowMsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, number, unit = ""] = /^(\d{1,5})([hdw])$/.exec(text) ?? [];
  if (number === undefined || Number(number) === 0) {
    throw badOption(`--window: expected a time like 7d, 48h or 8w, found "${text.slice(0, 60)}"`);
  }
  return Number(number) * (millisecondsIn[unit] ?? 0);
}

/** A webhook gets the stored document, dates as ISO 8601, and whether it is of this run. */
function messageOf({ series, isNew, note, diff }: Watched): unknown {
  return { tool: "heapdump-diff", version: toolVersion, series, is_new: isNew, note, ...diff };
}

function printJson(value: unknown): void {
  print(`${JSON.stringify(value, (_, part: unknown) => jsonPart(part), 2)}\n`);
}

/** Keys in the spelling of the stored documents, whole. */
function jsonPart(part: unknown): unknown {
  if (typeof part === "bigint") return part.toString();
  if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
  if (part instanceof Date) return part;
  return Object.fromEntries(
    Object.entries(part as Record<string, unknown>).map(([key, value]) => [
      key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}

function print(text: string): void {
  process.stdout.write(text);
}

function badOption(message: string): HeapdumpError {
  return new HeapdumpError("usage/bad-option", message);
}

await runCommand(main);
