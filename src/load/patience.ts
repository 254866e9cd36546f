import { setTimeout as sleep } from "node:timers/promises";
import { MongoBulkWriteError, MongoError, MongoServerError, type Db } from "mongodb";
import { HeapdumpError } from "../errors.js";

/** How long a lost server is waited for, and by whom. */
export type Patience = {
  /** Unit: milliseconds. */
  readonly retryForMs: number;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Does some work on the server, again and again while the server is lost or has no primary.
 *
 * The work must be such that it may be done twice: a reply can be lost after the server did it.
 *
 * @throws {HeapdumpError} `load/no-server` when the server did not come back in time; `load/disk-full`,
 * `load/authentication`, `load/server-failed`. What `judge` calls "split" is thrown as it is.
 */
export async function patiently<T>(work: () => Promise<T>, patience: Patience): Promise<T> {
  const { retryForMs, signal } = patience;
  const started = Date.now();
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const judged = judge(error);
      if (judged === "split") throw error;
      if (judged !== "retry") throw judged;
      if (signal?.aborted === true) throw signal.reason;
      if (Date.now() - started > retryForMs) {
        throw new HeapdumpError(
          "load/no-server",
          `the server was lost and did not come back in ${Math.round(retryForMs / 1000)} s; what was loaded is kept`,
          { cause: safe(error) },
        );
      }
      // From a tenth of a second up to five, and never all at the same moment.
      const backOffMs = Math.min(5_000, 100 * 2 ** attempt) * (0.5 + Math.random() / 2);
      await sleep(backOffMs, undefined, signal === undefined ? {} : { signal }).catch(
        () => undefined,
      );
    }
  }
}

/**
 * Does some work that one process of the server sees from its first step to its last, and again when that ended in
 * between: of what a server acknowledged without the journal, its end takes the last tenth of a second with it, renamed
 * collections and finished indexes too. The last step must be journaled: then all before it is.
 *
 * The work must be such that it may be done twice.
 *
 * @throws as `patiently` does
 */
export async function untilKept(
  db: Db,
  work: () => Promise<unknown>,
  patience: Patience,
): Promise<void> {
  for (;;) {
    const before = await patiently(() => serverProcess(db), patience);
    await patiently(work, patience);
    if ((await patiently(() => serverProcess(db), patience)) === before) return;
  }
}

/** Another one after each start of the server, and on another member of a replica set. */
async function serverProcess(db: Db): Promise<string> {
  const { topologyVersion } = await db.command({ hello: 1 });
  return String((topologyVersion as { processId?: unknown } | undefined)?.processId ?? "");
}

/** The one place where server errors are sorted: try again, look for the culprit, or stop with this. */
export function judge(error: unknown): "retry" | "split" | HeapdumpError {
  if (error instanceof HeapdumpError) return error;
  if (!(error instanceof MongoError)) {
    // The driver lets some faults of its sockets through as they are.
    if (socketFaults.has((error as NodeJS.ErrnoException).code ?? "")) return "retry";
    throw error;
  }
  const code = typeof error.code === "number" ? error.code : 0;
  if (code === 14031 || /no space left|disk full|out of disk/i.test(error.message)) {
    return new HeapdumpError(
      "load/disk-full",
      "the server's disk is full; what was loaded is kept",
      { cause: safe(error) },
    );
  }
  if ([10334, 15, 22, 16, 17280, 17419].includes(code)) return "split";
  if (code === 13 || code === 18) {
    // "not authorized on x to execute command {…}": the command holds what is being stored.
    const said = code === 13 ? error.message.split(" to execute")[0] : undefined;
    return new HeapdumpError("load/authentication", said ?? "the server refuses this user");
  }
  if (!(error instanceof MongoServerError) || isTransient(code)) return "retry";
  // A connection that breaks in insertMany comes in this shape, without a code.
  if (error instanceof MongoBulkWriteError && [error.writeErrors].flat().length === 0) {
    return "retry";
  }
  if (error.hasErrorLabel("RetryableWriteError")) return "retry";
  return new HeapdumpError("load/server-failed", `the server says: ${error.message}`, {
    cause: safe(error),
  });
}

const socketFaults = new Set(["EPIPE", "ECONNRESET", "ECONNREFUSED", "ETIMEDOUT", "ENOTCONN"]);

/**
 * Not primary, stepping down, shutting down, interrupted, an index build that a restart or step-down broke off, a
 * write concern that timed out.
 *
 * @see https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
 */
export function isTransient(code: number): boolean {
  return [
    6, 7, 64, 89, 91, 112, 134, 189, 262, 276, 9001, 10107, 11600, 11602, 12586, 12587, 13435,
    13436,
  ].includes(code);
}

/** The driver's errors can hold the connection string: only kind and code are passed on. */
function safe(error: unknown): Error {
  const code = error instanceof MongoError ? String(error.code ?? "") : "";
  return new Error(`${error instanceof Error ? error.name : "error"} ${code}`.trim());
}
