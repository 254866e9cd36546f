import { connect as connectSocket } from "node:net";
import { MongoClient } from "mongodb";
import { HeapdumpError } from "../../errors.js";
import { startServer } from "./managed-server.js";
import type { ObtainOptions } from "./obtain-mongod.js";

/** Which server to use. */
export type ServerChoice = {
  readonly uri: string;
  /** It is the user's own, started by us. */
  readonly managed: boolean;
  /** A sentence for a person: why it is not the one that might be expected. */
  readonly note?: string;
};

/** A local server that does not answer in this time is not there. Unit: milliseconds. */
const localAnswerMs = 500;
/** What is there must answer as MongoDB does in this time. Unit: milliseconds. */
const helloMs = 1_000;
const localPortDefault = 27017;

/**
 * Chooses the server: the URI given, MONGODB_URI, one on localhost:27017 (or HEAPDUMP_LOCAL_PORT; 0: none is looked
 * for), else the managed one, which is started.
 *
 * @throws {HeapdumpError} `load/no-mongod`, `load/server-failed`
 */
export async function serverFor(
  options: ObtainOptions & { readonly uri?: string | undefined } = {},
): Promise<ServerChoice> {
  const environment = options.environment ?? process.env;
  const uri = options.uri ?? environment["MONGODB_URI"];
  if (uri !== undefined && uri !== "") return { uri, managed: false };
  const port = localPort(environment);
  const isThere = port !== 0 && (await answers(port));
  const localUri = `mongodb://127.0.0.1:${port}/?directConnection=true`;
  if (isThere && (await isMongoDb(localUri))) return { uri: localUri, managed: false };
  const server = await startServer(options);
  return {
    uri: server.uri,
    managed: true,
    ...(isThere
      ? {
          note: `what listens on localhost:${port} is not MongoDB, or does not answer: a server of our own is used`,
        }
      : {}),
  };
}

/** A home of its own asks for a server of its own, unless a port is named. */
function localPort(environment: NodeJS.ProcessEnv): number {
  const given = environment["HEAPDUMP_LOCAL_PORT"] ?? "";
  if (given === "") return environment["HEAPDUMP_HOME"] === undefined ? localPortDefault : 0;
  const port = Number(given);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new HeapdumpError(
    "usage/bad-option",
    `HEAPDUMP_LOCAL_PORT: expected a port, or 0 for none, found "${given.slice(0, 20)}"`,
  );
}

/** Any program may listen there: what it is, it must say itself. Nobody needs to be known for that. */
async function isMongoDb(uri: string): Promise<boolean> {
  const client = new MongoClient(uri, {
    serverSelectionTimeoutMS: helloMs,
    connectTimeoutMS: helloMs,
  });
  try {
    await client.db("admin").command({ hello: 1 });
    return true;
  } catch {
    return false;
  } finally {
    await client.close();
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connectSocket(port, "127.0.0.1");
    const done = (outcome: boolean): void => {
      connection.destroy();
      resolve(outcome);
    };
    connection.once("connect", () => done(true));
    connection.once("error", () => done(false));
    connection.setTimeout(localAnswerMs, () => done(false));
  });
}
