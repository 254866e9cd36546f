/** The server of nightly.rb, in Node: leaks under load, dumps itself on the night that it is told, counts itself. */
import { EventEmitter } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { dump } from "../../src/capture/producer.js";

class Session {
  constructor(readonly path: string) {}
}
class Cart {
  readonly lines: readonly string[];
  constructor(path: string) {
    this.lines = [1, 2, 3].map((number) => `line ${number} of ${path}`);
  }
}

const bus = new EventEmitter().setMaxListeners(0);
const recent: Cart[] = [];
let sessions = 0;
let visits = 0;

function leak(path: string): void {
  const session = new Session(path);
  sessions++;
  bus.on("tick", function onLeakedTick() {
    return session.path;
  });
}

/** Nothing leaks between the count and the snapshot; visits go on. */
let dumping: Promise<unknown> = Promise.resolve();

async function night(takenAt: string, file: string): Promise<void> {
  const RealDate = Date;
  class NightDate extends RealDate {
    constructor() {
      super(takenAt);
    }
  }
  globalThis.Date = NightDate as DateConstructor;
  // The producer reads the clock before it waits for anything.
  dumping = dump({ file });
  globalThis.Date = RealDate;
  const numbers = { sessions, listeners: bus.listenerCount("tick") };
  writeFileSync(`${file}.numbers.json`, JSON.stringify(numbers));
  await dumping;
}

async function answer(target: string): Promise<void> {
  const [path, query = ""] = target.split("?", 2);
  if (path === "/leak") {
    await dumping;
    leak(target);
  } else if (path === "/night") await night(...(query.split("&", 2) as [string, string]));
  else recent[visits++ % 100] = new Cart(target);
}

const server = createServer((request, response) => {
  void answer(request.url ?? "").then(() => response.end("ok"));
}).listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${typeof address === "object" ? address?.port : ""}\n`);
});
process.stdin.resume().once("end", () => process.exit(0));
