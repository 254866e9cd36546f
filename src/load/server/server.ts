import { connect as connectSocket } from "node:net";
import { startServer } from "./managed-server.js";
import type { ObtainOptions } from "./obtain-mongod.js";

/** Which server to use. */
export type ServerChoice = {
  readonly uri: string;
  /** It is the user's own, started by us. */
  readonly managed: boolean;
};

/** A local server that does not answer in this time is not there. Unit: milliseconds. */
const localAnswerMs = 500;

/**
 * Chooses the server: the URI given, MONGODB_URI, one on localhost:27017, else the managed one, which is started.
 *
 * @throws {HeapdumpError} `load/no-mongod`, `load/server-failed`
 */
export async function serverFor(
  options: ObtainOptions & { readonly uri?: string | undefined } = {},
): Promise<ServerChoice> {
  const environment = options.environment ?? process.env;
  const uri = options.uri ?? environment["MONGODB_URI"];
  if (uri !== undefined && uri !== "") return { uri, managed: false };
  // A home of its own asks for a server of its own.
  if (environment["HEAPDUMP_HOME"] === undefined && (await localAnswers())) {
    return { uri: "mongodb://127.0.0.1:27017/?directConnection=true", managed: false };
  }
  const server = await startServer(options);
  return { uri: server.uri, managed: true };
}

function localAnswers(): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connectSocket(27017, "127.0.0.1");
    const done = (outcome: boolean): void => {
      connection.destroy();
      resolve(outcome);
    };
    connection.once("connect", () => done(true));
    connection.once("error", () => done(false));
    connection.setTimeout(localAnswerMs, () => done(false));
  });
}
