#!/usr/bin/env node
import { capture, countOf, workersOf } from "../src/capture/capture.js";
import { exitCodes, HeapdumpError } from "../src/errors.js";
import { parseOptions, wholeNumber } from "./shared/options.js";
import { runCommand, type Invocation } from "./shared/run-command.js";

const usage = `usage: heapdump-dump --pid PID [--out FILE]     dump a running Node or Ruby process
       heapdump-dump --pid PID --count [NAME…]  count its objects, as JSON; NAME is a class, or a namespace
       heapdump-dump --workers PARENT_PID       dump each child of a process: the workers of a server
`;

const options = {
  pid: { type: "string" },
  workers: { type: "string" },
  out: { type: "string", short: "o" },
  count: { type: "boolean" },
  redact: { type: "boolean" },
  timeout: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

async function main({ argv, signal }: Invocation): Promise<number> {
  const { values, positionals } = parseOptions(argv, options);
  if (values.help === true) {
    process.stdout.write(usage);
    return exitCodes.ok;
  }
  const timeoutS = wholeNumber("timeout", values.timeout, { min: 1, max: 86_400 }) ?? 60;
  const common = { redact: values.redact === true, timeoutMs: timeoutS * 1000, signal };
  for (const pid of await pidsOf(values)) {
    if (values.count === true) {
      const counts = await countOf(pid, positionals, common);
      process.stdout.write(`${JSON.stringify(counts, undefined, 2)}\n`);
      continue;
    }
    const captured = await capture(pid, { ...common, file: values.out ?? `dump_${pid}.json` });
    process.stdout.write(`${captured.file}\n`);
  }
  return exitCodes.ok;
}

async function pidsOf(values: { pid?: string; workers?: string }): Promise<number[]> {
  const pid = wholeNumber("pid", values.pid, { min: 1, max: 4_194_304 });
  const parent = wholeNumber("workers", values.workers, { min: 1, max: 4_194_304 });
  if ((pid === undefined) === (parent === undefined)) {
    throw new HeapdumpError("usage/bad-option", "name one process with --pid or --workers");
  }
  return parent === undefined ? [pid as number] : workersOf(parent);
}

await runCommand(main);
