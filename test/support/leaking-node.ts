/**
 * A server with a planted leak: each request to /leak/N adds N listeners, whose closures hold a LeakedSession each, to
 * one EventEmitter. It says its own numbers at /numbers. LEAK_IN=cluster, threads: a worker of that kind leaks as well.
 */
import cluster from "node:cluster";
import { EventEmitter } from "node:events";
import { createServer } from "node:http";
import { isMainThread, threadId, Worker } from "node:worker_threads";
import { fileURLToPath } from "node:url";

class LeakedSession {
  constructor(readonly number: number) {}
}

const bus = new EventEmitter();
bus.setMaxListeners(0);
let sessions = 0;

function leak(count: number): void {
  for (let index = 0; index < count; index++) {
    const session = new LeakedSession(sessions++);
    bus.on("tick", function onLeakedTick() {
      return session.number;
    });
  }
}

const isWorker = cluster.isWorker || !isMainThread;
leak(isWorker ? 700 + threadId : 300);
if (process.env["SIGUSR1_IS"] === "handled") process.on("SIGUSR1", () => undefined);
if (process.env["SIGUSR1_IS"] === "deadly")
  process.on("SIGUSR1", () => undefined).removeAllListeners("SIGUSR1");
if (!isWorker && process.env["LEAK_IN"] === "cluster") cluster.fork();
if (!isWorker && process.env["LEAK_IN"] === "threads") new Worker(fileURLToPath(import.meta.url));

const server = createServer((request, response) => {
  const count = /^\/leak\/(\d+)$/.exec(request.url ?? "")?.[1];
  if (count !== undefined) leak(Number(count));
  response.end(JSON.stringify({ sessions, listeners: bus.listenerCount("tick") }));
});
// A cluster's worker would share its parent's port, were it not another one.
server.listen({ port: 0, host: "127.0.0.1", exclusive: true }, () => {
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const listeners = bus.listenerCount("tick");
  process.stdout.write(
    `${JSON.stringify({ pid: process.pid, threadId, port, sessions, listeners })}\n`,
  );
});
