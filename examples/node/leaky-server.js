// A server that leaks: every request adds a listener to one emitter and never takes it off. The listener's closure
// holds the request's Session. Run it, load it, dump it: README.md beside this file.
import { EventEmitter } from "node:events";
import { createServer } from "node:http";

class Session {
  constructor(user) {
    this.user = user;
    this.startedAt = new Date();
    this.history = Array.from({ length: 20 }, (_, n) => `${user} opened page ${n}`);
  }
}

const configuration = new EventEmitter();
configuration.setMaxListeners(0); // This silenced the warning. It was right.
let served = 0;

const server = createServer((request, response) => {
  const session = new Session(`user-${served++}`);
  configuration.on("change", function onConfigurationChange() {
    session.history.push("configuration changed");
  });
  response.end(`hello ${session.user}\n`);
});

server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`pid ${process.pid}, http://127.0.0.1:${server.address().port}/`);
});
