import { MongoClient, MongoServerError } from "mongodb";
import { HeapdumpError } from "../../src/errors.js";
import { withoutPasswords } from "./run-command.js";

/** An answer within 5 seconds, whatever it is. Unit: milliseconds. */
const selectionMs = 4_000;

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
  const hosts = client.options.hosts.map(String).map(decodeURIComponent).join(", ");
  try {
    await client.connect();
    await client.db("admin").command({ ping: 1 });
    return client;
  } catch (error) {
    await client.close();
    if (error instanceof MongoServerError && (error.code === 18 || error.code === 13)) {
      throw new HeapdumpError("load/authentication", `${hosts} refuses the user or the password`);
    }
    if (/auth/i.test(messageOf(error))) {
      throw new HeapdumpError(
        "load/authentication",
        `${hosts}: ${withoutPasswords(messageOf(error))}`,
      );
    }
    throw new HeapdumpError(
      "load/no-server",
      `no server answers at ${hosts} (waited ${selectionMs / 1000} s): ${withoutPasswords(messageOf(error))}`,
    );
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
