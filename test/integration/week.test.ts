import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Document } from "mongodb";
import type { DiffDocument } from "../../schemas/diff-document.js";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

/** What a process counted itself when it was dumped. */
type Numbers = { readonly sessions: number; readonly listeners: number };

const failOn = "count>100,pct>20";

describe("a week of nights with a process that leaks under load", () => {
  let test: TestDatabase;
  let folder: string;
  let hook: Server;
  let posts: Document[];
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-week-"));
    hook = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        posts.push(JSON.parse(Buffer.concat(chunks).toString()) as Document);
        response.end();
      });
    }).listen(0, "127.0.0.1");
    await once(hook, "listening");
  });
  after(async () => {
    hook.close();
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });

  for (const { language, command, holder, prototypes, leaksOfDay, deployDay } of [
    {
      language: "Ruby",
      command: ["ruby", repositoryPath("test/support/nightly.rb")],
      holder: /Array\[…\] → proc at \S+nightly\.rb:41 → env\.session$/,
      prototypes: 0,
      leaksOfDay: [40, 3, 5, 40, 4, 300, 6],
      deployDay: 3,
    },
    {
      language: "Node",
      command: [process.execPath, repositoryPath("dist/test/support/nightly.js")],
      holder:
        /EventEmitter\._events → Object\.tick → Array\[…\] → closure onLeakedTick\(\)\.context → system \/ Context\.session$/,
      // V8 calls the prototype by its class's name, too.
      prototypes: 1,
      // Its dumps take longer: four nights.
      leaksOfDay: [40, 43, 300, 6],
      deployDay: 1,
    },
  ]) {
    it(`${language}: one alarm, in the right night, with the numbers that the process wrote`, async function () {
      this.timeout(240_000);
      posts = [];
      const alarmNight = leaksOfDay.indexOf(300);
      const { port } = hook.address() as AddressInfo;
      const series = `${language.toLowerCase()}@week`;
      const numbers: Numbers[] = [];
      let server = await LeakingServer.start(command);
      try {
        for (const [night, leaks] of leaksOfDay.entries()) {
          if (night === deployDay) {
            await server.end();
            server = await LeakingServer.start(command);
          }
          const file = join(folder, `${language}_${night}.json`);
          await server.day(leaks);
          await server.night(nightOf(night), file);
          numbers.push(JSON.parse(readFileSync(`${file}.numbers.json`, "utf8")) as Numbers);

          const where = ["--uri", test.uri, "--db", test.name, "--series", series];
          const keep = ["--keep", "3", "--keep-weekly", "1"];
          const imported = await run("heapdump-import", [...where, ...keep, "--quiet", file]);
          assert.equal(imported.code, 0, imported.stderr);
          const watched = await run("heapdump-diff", [
            ...[...where, "--latest", "--fail-on", failOn, "--window", "7d"],
            ...["--webhook", `http://127.0.0.1:${port}/`],
          ]);
          assert.equal(watched.stderr, "");
          assert.equal(watched.code, night === alarmNight ? 3 : 0, watched.stdout);
        }
      } finally {
        await server.end();
      }
      // What the test asked for is what the process says.
      assert.deepEqual(
        numbers.map(({ sessions, listeners }) => [sessions, listeners]),
        leaksOfDay
          .map((_, night) =>
            leaksOfDay
              .slice(night < deployDay ? 0 : deployDay, night + 1)
              .reduce((sum, count) => sum + count, 0),
          )
          .map((count) => [count, count]),
      );

      const diffs = await test.db
        .collection<DiffDocument>("diffs")
        .find({ series })
        .sort({ taken_at: 1 })
        .toArray();
      assert.deepEqual(
        diffs.map((diff) => [diff.before, diff.after, diff.taken_at.toISOString()]),
        [...leaksOfDay.keys()]
          .slice(1)
          .map((it) => [`${language}_${it - 1}`, `${language}_${it}`, nightOf(it).toISOString()]),
      );
      for (const [index, diff] of diffs.entries()) {
        const night = index + 1;
        assert.equal(
          diff.compared_by,
          night === deployDay ? "class and site" : "id",
          diff.evidence,
        );
        const grown = diff.growth.find((it) => it.by === "class" && it.name === "Session");
        const counts = [grown?.count_before, grown?.count_after].map(
          (it) => (it ?? 0) - prototypes,
        );
        const written = [numbers[night - 1]?.sessions, numbers[night]?.sessions];
        assert.deepEqual(counts, written, `night ${night}`);
        const alarm = diff.alarms.find((it) => it.by === "class" && it.name === "Session");
        assert.equal(alarm?.count, night === alarmNight ? 300 : undefined);
      }
      assert.equal(posts.length, 1);
      assert.equal(posts[0]?.after, `${language}_${alarmNight}`);

      const three = [-1, 0, 1].map((it) => `${language}_${alarmNight + it}`);
      // Objects of three nights are left, and the trend is drawn through all.
      const dumps = await test.db.collection<DumpEntry>("dumps").find({ series }).toArray();
      assert.deepEqual(
        dumps
          .filter(({ status }) => status === "complete")
          .map(({ _id }) => _id)
          .sort(),
        three,
      );
      const trend = diffs.at(-1)?.trend.find(({ name }) => name === "Session");
      const sessions = numbers.map((it) => it.sessions);
      assert.deepEqual(
        [trend?.dumps, trend?.first, trend?.last],
        [numbers.length, ...[sessions[0] ?? 0, sessions.at(-1) ?? 0].map((it) => it + prototypes)],
      );
      assert.ok(Math.abs((trend?.per_day ?? NaN) - slopeOf(sessions)) < 1e-9, `${trend?.per_day}`);

      // What leaked in the bad night is still there in the next one, and this holds it.
      const where = ["--uri", test.uri, "--db", test.name, "--json", "--limit", "1000"];
      const { code, stdout, stderr } = await run("heapdump-diff", [...where, ...three]);
      assert.equal(code, 0, stderr);
      const groups = (JSON.parse(stdout) as Document).groups as Document[];
      const leaked = groups.filter((it) => it.class_name === "Session");
      assert.equal(
        leaked.reduce((sum, it) => sum + (it.count as number), 0),
        (numbers[alarmNight]?.sessions ?? 0) - (numbers[alarmNight - 1]?.sessions ?? 0),
      );
      const ways = leaked.flatMap(({ holders }) => holders as Document[]);
      assert.equal(
        ways.reduce((sum, { count }) => sum + (count as number), 0),
        300,
      );
      for (const { path } of ways) assert.match(path as string, holder);
    });
  }
});

/** 3 o'clock of a night from Monday 2026-01-05. */
function nightOf(night: number): Date {
  return new Date(Date.UTC(2026, 0, 5 + night, 3));
}

/** The textbook's formula: n Σxy - Σx Σy over n Σx² - (Σx)². */
function slopeOf(ys: readonly number[]): number {
  const sum = (value: (y: number, x: number) => number): number =>
    ys.reduce((total, y, x) => total + value(y, x), 0);
  const n = ys.length;
  return (
    (n * sum((y, x) => x * y) - sum((_, x) => x) * sum((y) => y)) /
    (n * sum((_, x) => x * x) - sum((_, x) => x) ** 2)
  );
}

/** Requests that are under way at once. */
const clients = 4;
const visitsOfDay = 400;

class LeakingServer {
  readonly #child: ChildProcess;
  readonly #port: number;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.#port = port;
  }

  static async start(command: readonly string[]): Promise<LeakingServer> {
    const [program = "", ...args] = command;
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    return new LeakingServer(child, Number(line));
  }

  /** Visits, and among them requests that leak. */
  async day(leaks: number): Promise<void> {
    const paths = Array.from({ length: visitsOfDay + leaks }, (_, number) =>
      number < leaks ? `/leak?${number}` : `/visit?${number}`,
    );
    const client = async (): Promise<void> => {
      for (let path = paths.pop(); path !== undefined; path = paths.pop()) await this.#ask(path);
    };
    await Promise.all(Array.from({ length: clients }, client));
  }

  /** Has it dump itself, while visits go on. */
  async night(takenAt: Date, file: string): Promise<void> {
    let isOver = false;
    const visitor = async (): Promise<void> => {
      while (!isOver) await this.#ask("/visit?at-night");
    };
    const visiting = Promise.all([visitor(), visitor()]);
    await this.#ask(`/night?${takenAt.toISOString()}&${file}`).finally(() => (isOver = true));
    await visiting;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.stdin?.end();
    await ended;
  }

  async #ask(path: string): Promise<void> {
    const url = `http://127.0.0.1:${this.#port}${path}`;
    const response = await fetch(url, { signal: AbortSignal.timeout(60_000) });
    assert.equal(await response.text(), "ok");
  }
}
