#!/usr/bin/env node
import { exitCodes, HeapdumpError } from "../src/errors.js";
import { serverStatus, startServer, stopServer } from "../src/load/server/managed-server.js";
import { progressView } from "../src/report/progress.js";
import { parseOptions } from "./shared/options.js";
import { runCommand, type Invocation } from "./shared/run-command.js";

const usage = `usage: heapdump-server start|stop|status [--json]

The mongod that heapdump-import starts where no other server is named: of the user's own, on a Unix socket in a
private folder, its data below HEAPDUMP_HOME or the XDG data folder. Its binary: HEAPDUMP_MONGOD, PATH, or obtained.
Exit codes: 0, 1 (status: not running), 2 wrong usage, 5 no mongod could be had.
`;

const options = { json: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;

async function main({ argv, signal }: Invocation): Promise<number> {
  const { values, positionals } = parseOptions(argv, options);
  if (values.help === true) {
    process.stdout.write(usage);
    return exitCodes.ok;
  }
  const [what, ...more] = positionals;
  if (more.length > 0)
    throw new HeapdumpError("usage/bad-option", `one word, not "${more[0]}" too`);
  const print = (text: string, facts: object): void => {
    process.stdout.write(values.json === true ? `${JSON.stringify(facts)}\n` : `${text}\n`);
  };
  if (what === "start") {
    const view = progressView(process.stderr, process.stderr.isTTY);
    const server = await startServer({ signal, onProgress: view.onProgress });
    view.stop();
    print(`running, pid ${server.pid}\nmongosh "${server.uri}"`, { running: true, ...server });
    return exitCodes.ok;
  }
  if (what === "stop") {
    const stopped = await stopServer();
    print(stopped ? "stopped" : "was not running", { running: false, stopped });
    return exitCodes.ok;
  }
  if (what === "status") {
    const server = await serverStatus();
    if (server === undefined) {
      print("not running", { running: false });
      return exitCodes.failed;
    }
    print(`running, pid ${server.pid}\nmongosh "${server.uri}"`, { running: true, ...server });
    return exitCodes.ok;
  }
  throw new HeapdumpError("usage/bad-option", "expected start, stop or status");
}

await runCommand(main);
