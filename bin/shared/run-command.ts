import { printableLines } from "../../src/report/printable.js";
import { exitCodes, failures, HeapdumpError } from "../../src/errors.js";

/** What a command's main gets from the terminal. */
export type Invocation = { readonly argv: readonly string[]; readonly signal: AbortSignal };

/**
 * Runs a command's main, prints its failure in one form and sets the exit code.
 *
 * The first SIGINT or SIGTERM aborts `signal`, so that the command can stop in order; a second one ends at once.
 */
export async function runCommand(main: (invocation: Invocation) => Promise<number>): Promise<void> {
  const abort = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (abort.signal.aborted) process.exit(exitCodes.interrupted);
    process.stderr.write(`\n${name}: stopping in order; once more stops at once\n`);
    abort.abort(new HeapdumpError("load/interrupted", `stopped by ${name}`));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  let lost = false;
  const onOutputError = (error: NodeJS.ErrnoException): void => {
    // `heapdump-query … | head` closes our stdout: that is no failure, and what the work came to is told all the same.
    if (error.code === "EPIPE" || lost) return;
    lost = true;
    process.exitCode = printFailure(notWritten(error));
  };
  process.stdout.on("error", onOutputError);
  // `2>&1 | head`: nobody is left to be told, but the work goes on.
  process.stderr.on("error", () => undefined);
  try {
    const code = await main({ argv: process.argv.slice(2), signal: abort.signal });
    process.exitCode = lost ? failures["report/not-written"].exit : code;
  } catch (error) {
    process.exitCode = printFailure(error);
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

function notWritten(error: NodeJS.ErrnoException): HeapdumpError {
  const reason = error.code === "ENOSPC" ? "the disk is full" : error.message;
  return new HeapdumpError("report/not-written", `standard output: ${reason}`, { cause: error });
}

/** Prints `error [code] message` and the fix on stderr; gives the exit code. */
export function printFailure(thrown: unknown): number {
  const error = serverFailureOf(thrown) ?? thrown;
  if (error instanceof HeapdumpError) {
    process.stderr.write(`error [${error.code}] ${said(error.message)}\n`);
    process.stderr.write(`fix: ${failures[error.code].fix}\n`);
    return failures[error.code].exit;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`error [internal/broken-promise] ${said(text)}\n`);
  process.stderr.write(`fix: ${failures["internal/broken-promise"].fix}\n`);
  return failures["internal/broken-promise"].exit;
}

/** A message may quote what a dump or a server says. */
function said(message: string): string {
  return printableLines(withoutPasswords(message));
}

/** Unauthorized and AuthenticationFailed: the user may be right, and yet may not do this. */
const refusalCodes: readonly unknown[] = [13, 18];

/**
 * What the driver throws when the server goes away, or refuses, in the middle of the work: no fault of ours. Told by its
 * names: commands that need no server shall not have to load the driver.
 */
function serverFailureOf(error: unknown): HeapdumpError | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error.name.startsWith("Mongo") && refusalCodes.includes((error as { code?: unknown }).code)) {
    return new HeapdumpError("load/authentication", error.message);
  }
  if (/^Mongo(Network|ServerSelection)/.test(error.name)) {
    return new HeapdumpError("load/no-server", `the server was lost: ${error.message}`);
  }
  return undefined;
}

/** The text with the credentials of every mongodb:// and http:// URI in it replaced by `***`. */
export function withoutPasswords(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']*(?:[^\s/"']*)@/gi, "$1***@");
}
