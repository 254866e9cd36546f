#!/usr/bin/env node
import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { OnProgress } from "../schemas/progress.js";
import {
  capture,
  captureUrl,
  countOf,
  countUrl,
  workersOf,
  type Captured,
  type CaptureOptions,
} from "../src/capture/capture.js";
import { ensureReplaceable, temporaryFolder } from "../src/capture/out-file.js";
import { exitCodes, HeapdumpError } from "../src/errors.js";
import { convertSnapshot } from "./shared/convert-snapshot.js";
import type { Redaction } from "../src/redaction.js";
import { parseOptions, wholeNumber } from "./shared/options.js";
import { redactionOf, withRedactValue } from "./shared/redaction-options.js";
import { runCommand, type Invocation } from "./shared/run-command.js";
import { writeDump } from "./shared/write-dump.js";

const usage = `usage: heapdump-dump --pid PID [--out FILE | --db DATABASE]       dump a running Node or Ruby process
       heapdump-dump --workers PID [--out FOLDER | --db DATABASE]  dump each child of a process: a server's workers
       heapdump-dump --url URL [--out FILE | --db DATABASE]       dump the Node whose inspector is open at URL
       heapdump-dump --pid PID --count [NAME…]                    count objects, as JSON; NAME: a class, or "MyApp."
       heapdump-dump --convert app.heapsnapshot --out app.ndjson.zst

  -o, --out FILE   default: dump_PID_TIME.ndjson here; .gz and .zst compress, .heapsnapshot keeps V8's own file
  --db DATABASE    import the dump there and delete the file (unless --out names one)
  --import         import to the database "heapdumps", if --db names no other
  --uri URI        server for the import
  --redact[=all|values|/PATTERN/]  replace the contents of strings by length and a keyed hash
  --timeout S      the longest silence of a process, in seconds (60)
  --quiet          no progress

A Node opens its inspector on 127.0.0.1 for that time, upon SIGUSR1, and prints so on its standard error.
A process that handles SIGUSR1 itself receives one: such a one is better dumped with heapdump-mongo/on-signal.
`;

const options = {
  pid: { type: "string" },
  workers: { type: "string" },
  url: { type: "string" },
  convert: { type: "string" },
  out: { type: "string", short: "o" },
  db: { type: "string" },
  import: { type: "boolean" },
  uri: { type: "string" },
  count: { type: "boolean" },
  redact: { type: "string" },
  timeout: { type: "string" },
  quiet: { type: "boolean", short: "q" },
  help: { type: "boolean", short: "h" },
} as const;

const pidMax = 4_194_304; // The kernel's own limit: man 5 proc, pid_max.
const databaseDefault = "heapdumps";

type Values = ReturnType<typeof parseOptions<typeof options>>["values"];
/** One heap to dump or count, and how. */
type Target = {
  readonly label: string;
  readonly dump: (options: CaptureOptions) => Promise<Captured>;
  readonly count: (
    names: readonly string[],
    options: Omit<CaptureOptions, "file">,
  ) => Promise<unknown>;
};
type Common = Omit<CaptureOptions, "file"> & {
  readonly signal: AbortSignal;
  /** With its key, for what is converted here. */
  readonly redaction: Redaction | undefined;
};

async function main({ argv, signal }: Invocation): Promise<number> {
  const { values, positionals } = parseOptions(withRedactValue(argv), options);
  if (values.help === true) {
    process.stdout.write(usage);
    return exitCodes.ok;
  }
  checkCombination(values, positionals);
  const timeoutS = wholeNumber("timeout", values.timeout, { min: 1, max: 86_400 }) ?? 60;
  const redact = await redactionOf(values.redact);
  const common = { redact: redact?.mode, timeoutMs: timeoutS * 1000, signal };
  if (values.convert !== undefined) {
    const out = values.out ?? values.convert.replace(/(\.heapsnapshot)?(\.gz|\.zst)?$/, ".ndjson");
    await ensureReplaceable(out);
    await convertSnapshot(values.convert, out, { redact, signal });
    process.stdout.write(`${out}\n`);
    return values.db === undefined && values.import !== true
      ? exitCodes.ok
      : importDump(out, values, signal);
  }
  let worst: number = exitCodes.ok;
  for (const target of await targetsOf(values)) {
    if (values.count === true) {
      const counts = await target.count(positionals, common);
      process.stdout.write(`${JSON.stringify(counts, undefined, 2)}\n`);
    } else
      worst = Math.max(worst, await dumpTarget(target, values, { ...common, redaction: redact }));
  }
  return worst;
}

function checkCombination(values: Values, positionals: readonly string[]): void {
  const named = (["pid", "workers", "url", "convert"] as const).filter(
    (name) => values[name] !== undefined,
  );
  if (named.length !== 1) {
    throw new HeapdumpError(
      "usage/bad-option",
      `expected one of --pid, --workers, --url and --convert, found ${named.length === 0 ? "none" : named.map((name) => `--${name}`).join(", ")}`,
    );
  }
  if (positionals.length > 0 && values.count !== true) {
    throw new HeapdumpError(
      "usage/bad-option",
      `"${positionals[0]?.slice(0, 60)}": names are for --count only`,
    );
  }
  if (values.redact !== undefined && values.out?.endsWith(".heapsnapshot") === true) {
    throw new HeapdumpError("usage/bad-option", "--redact: a .heapsnapshot holds all strings");
  }
}

async function targetsOf(values: Values): Promise<Target[]> {
  const { url } = values;
  if (url !== undefined) {
    return [
      {
        label: "url",
        dump: (more) => captureUrl(url, more),
        count: (names, more) => countUrl(url, names, more),
      },
    ];
  }
  const pid = wholeNumber("pid", values.pid, { min: 1, max: pidMax });
  const parent = wholeNumber("workers", values.workers, { min: 1, max: pidMax });
  const pids = parent === undefined ? [pid as number] : await workersOf(parent);
  if (pids.length === 0) {
    throw new HeapdumpError(
      "capture/no-process",
      `process ${parent} has no children that are Ruby or Node`,
    );
  }
  return pids.map((each) => ({
    label: String(each),
    dump: (more) => capture(each, more),
    count: (names, more) => countOf(each, names, more),
  }));
}

async function dumpTarget(target: Target, values: Values, common: Common): Promise<number> {
  const imports = values.db !== undefined || values.import === true;
  // Between capture and import a dump lies in a private folder.
  const folder =
    imports && values.out === undefined ? await temporaryFolder("heapdump-") : undefined;
  const file = outFile(target, values, folder);
  await ensureReplaceable(file);
  await captureTo(target, file, values, common);
  if (folder === undefined) process.stdout.write(`${file}\n`);
  if (!imports) return exitCodes.ok;
  const code = await importDump(file, values, common.signal);
  if (folder !== undefined && (code === exitCodes.ok || code === exitCodes.attention)) {
    await rm(file, { force: true });
    await rmdir(folder);
  } else if (folder !== undefined) process.stderr.write(`the dump is kept: ${file}\n`);
  return code;
}

function outFile(target: Target, values: Values, folder: string | undefined): string {
  const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "");
  const name = `dump_${target.label}_${time}.ndjson`;
  if (folder !== undefined) return join(folder, name);
  if (values.out === undefined) return name;
  return values.workers === undefined ? values.out : join(values.out, name);
}

/** Captures and brings into the form that the file's name asks for. */
async function captureTo(
  target: Target,
  file: string,
  values: Values,
  common: Common,
): Promise<void> {
  const raw = file.endsWith(".heapsnapshot");
  // What V8 and Ruby write goes beside the dump: the same disk, private, gone afterwards.
  const between = join(dirname(file), `.${basename(file)}.capture`);
  try {
    const captured = await target.dump({
      ...common,
      file: raw ? file : between,
      ...(values.quiet === true ? {} : { onProgress: progressOn(process.stderr) }),
    });
    if (captured.format === "heapsnapshot" && !raw) {
      await convertSnapshot(between, file, {
        redact: common.redaction,
        signal: common.signal,
        header: captured.header ?? {},
      });
    } else if (captured.format === "ndjson" && raw) {
      throw new HeapdumpError("usage/bad-option", "--out: a Ruby writes no .heapsnapshot");
    } else if (captured.format === "ndjson" && !/\.(gz|zst)$/.test(file)) {
      await rename(between, file);
    } else if (captured.format === "ndjson") {
      await writeDump(createReadStream(between, { highWaterMark: 1 << 20 }), file, common.signal);
    }
  } finally {
    await rm(between, { force: true });
  }
}

/** Runs heapdump-import on the dump: its output is ours. Gives its exit code. */
async function importDump(file: string, values: Values, signal: AbortSignal): Promise<number> {
  const script = fileURLToPath(new URL("heapdump-import.js", import.meta.url));
  const argv = [script, file, "--db", values.db ?? databaseDefault];
  // A URI can hold a password, which the command line would show to every user of the machine.
  const environment = values.uri === undefined ? {} : { MONGODB_URI: values.uri };
  const child = spawn(process.execPath, argv, {
    stdio: "inherit",
    env: { ...process.env, ...environment },
    signal,
    killSignal: "SIGTERM",
  });
  return new Promise((done, failed) => {
    child.once("error", failed);
    child.once("close", (code) => done(code ?? exitCodes.interrupted));
  });
}

/** One line that is written over, on a terminal only; ten times a second at most. */
function progressOn(terminal: NodeJS.WriteStream): OnProgress {
  let lastMs = 0;
  return ({ phase, kind, bytesDone, objectsDone, objectsTotal }) => {
    if (!terminal.isTTY) return;
    const nowMs = performance.now();
    if (kind !== "end" && nowMs - lastMs < 100) return;
    lastMs = nowMs;
    const share =
      objectsDone !== undefined && objectsTotal !== undefined && objectsTotal > 0
        ? `${Math.floor((100 * objectsDone) / objectsTotal)} %`
        : `${((bytesDone ?? 0) / 1_048_576).toFixed(0)} MiB`;
    terminal.write(`\r\u001b[K${phase} ${share}${kind === "end" ? "\n" : ""}`);
  };
}

await runCommand(main);
