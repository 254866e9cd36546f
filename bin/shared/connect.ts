import { setTimeout as sleep } from "node:timers/promises";
import { MongoClient, MongoMissingCredentialsError, MongoServerError } from "mongodb";
import { HeapdumpError } from "../../src/errors.js";
import { withoutPasswords } from "./run-command.js";

/** An answer within 5 seconds, whatever it is. Unit: milliseconds. */
const selectionMs = 4_000;
const answerMs = 4_800;

/** Any user may ask this, but nobody without a user where the server wants one, as with ping. */
const command = { listDatabases: 1, nameOnly: true, authorizedDatabases: true };

/**
 * Connects, or says in one sentence why not. No error holds a password, its cause neither.
 *
 * @throws {HeapdumpError} `load/no-server`, `load/authentication`, `usage/bad-option` on a URI that is none
 */
export async function connect(uri: string): Promise<MongoClient> {
  let client: MongoClient;
  try {
    client = new MongoClient(uri, {
      serverSelectionTimeoutMS: selectionMs,
      connectTimeoutMS: selectionMs,
      appName: "heapdump-mongo",
    });
  } catch (error) {
    throw new HeapdumpError("usage/bad-option", `--uri: ${withoutPasswords(messageOf(error))}`);
  }
  const { srvHost, hosts } = client.options;
  const place = srvHost ?? hosts.map(String).map(decodeURIComponent).join(", ");
  const late = new AbortController();
  try {
    await Promise.race([
      client.connect().then(() => client.db("admin").command(command)),
      // The look-up of a mongodb+srv name has no limit of its own.
      sleep(answerMs, undefined, { signal: late.signal }).then(() => {
        throw new Error("its name is not resolved");
      }),
    ]);
    return client;
  } catch (error) {
    void client.close().catch(() => undefined);
    const message = withoutPasswords(messageOf(error));
    if (isRefusal(error)) {
      throw new HeapdumpError(
        "load/authentication",
        `${place} refuses the user or the password: ${message}`,
      );
    }
    throw new HeapdumpError(
      "load/no-server",
      `no server answers at ${place} (waited ${selectionMs / 1000} s): ${message}`,
    );
  } finally {
    late.abort();
  }
}

/** AuthenticationFailed, Unauthorized, MechanismUnavailable and Atlas' own. A host's name may hold "auth": it says nothing. */
const refusalCodes: readonly unknown[] = [18, 13, 334, 8000];

function isRefusal(error: unknown): boolean {
  if (error instanceof MongoMissingCredentialsError) return true;
  return (
    error instanceof MongoServerError &&
    (refusalCodes.includes(error.code) || /authenticat/i.test(error.message))
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
