import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Document } from "mongodb";
import type { DiffDocument } from "../../schemas/diff-document.js";
import type { DumpEntry, SummaryDocument } from "../../schemas/dump-entry.js";
import { importDump } from "../../src/index.js";
import { takeLock, watchLock } from "../../src/watch/lock.js";
import { postWebhook } from "../../src/watch/webhook.js";
import { freePort, testDatabase, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

describe("heapdump-diff on a schedule", () => {
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-watch-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const diff = (...args: string[]): ReturnType<typeof run> =>
    run("heapdump-diff", ["--uri", test.uri, "--db", test.name, ...args]);
  const latest = (...args: string[]): ReturnType<typeof run> => diff("--latest", ...args);

  /** Imports a dump taken at 3 o'clock of a night from Monday 2026-01-05 (night 0). */
  const night = async (series: string, number: number, carts: number): Promise<string> => {
    const name = `${series}_${number}`;
    const file = join(folder, `${name}.ndjson`);
    writeFileSync(file, dumpOf(new Date(Date.UTC(2026, 0, 5 + number, 3)), carts));
    await importDump({ file, db: test.db, name, series });
    return name;
  };

  it("plays a week: one alarm in the right night, none in the others; then the trend and pruning", async () => {
    const metrics = join(folder, "heapdump.prom");
    const args = ["--series", "shop", "--fail-on", "count>100,pct>20", "--prometheus", metrics];
    const codes: number[] = [];
    for (const [number, carts] of [1000, 1010, 1004, 1060, 1640, 1650, 1655].entries()) {
      await night("shop", number, carts);
      const { code, stdout, stderr } = await latest(...args);
      codes.push(code ?? -1);
      assert.equal(stderr, "");
      if (number === 0) assert.match(stdout, /shop: shop_0 is the first dump/);
      if (number === 4) assert.match(stdout, /Above the threshold\n(.*\n)+? +class +Cart /);
    }
    assert.deepEqual(codes, [0, 0, 0, 0, 3, 0, 0]);

    const stored = await test.db
      .collection<DiffDocument>("diffs")
      .find()
      .sort({ _id: 1 })
      .toArray();
    assert.deepEqual(
      stored.map(({ before, after, alarms }) => [before, after, alarms.length > 0]),
      [0, 1, 2, 3, 4, 5].map((it) => [`shop_${it}`, `shop_${it + 1}`, it === 3]),
    );
    const alarm = stored[3]?.alarms.find(({ by }) => by === "class");
    assert.deepEqual(
      [alarm?.name, alarm?.count, alarm?.above],
      ["Cart", 580, ["count>100", "pct>20"]],
    );

    const again = await latest(...args);
    assert.equal(again.code, 0);
    assert.match(again.stdout, /no new dump since shop_6/);
    assert.match(
      readFileSync(metrics, "utf8"),
      /^heapdump_class_objects\{series="shop",class="Cart"\} 1655$/m,
    );
    assert.equal(statSync(metrics).mode & 0o777, 0o644);

    const pinned = await diff("--pin", "shop_1");
    assert.equal(pinned.code, 0, pinned.stderr);
    const keep = ["prune", "--series", "shop", "--keep", "2", "--keep-weekly", "1"];
    const tried = await diff(...keep, "--dry-run");
    assert.match(tried.stdout, /would drop +shop_0 /);
    assert.equal(await test.db.collection("shop_0").countDocuments(), 1004);
    const pruned = await diff(...keep);
    assert.equal(pruned.code, 0, pruned.stderr);
    assert.deepEqual(await withObjects("shop"), ["shop_1", "shop_5", "shop_6"]);
    const summaries = test.db.collection<SummaryDocument>("summaries");
    assert.equal((await summaries.findOne({ _id: "shop_0/class/Cart" }))?.count, 1000);
    assert.match((await diff(...keep)).stdout, /^0 of 3 dumps lost their objects/m);

    // The trend is drawn through summaries of dumps whose objects are gone.
    const trend = await latest("--series", "shop", "--window", "7d", "--json");
    const [result] = (JSON.parse(trend.stdout) as { results: Document[] }).results;
    const cart = ((result?.diff as Document).trend as Document[]).find((it) => it.name === "Cart");
    assert.equal(cart?.dumps, 7);
    assert.ok(Math.abs((cart?.per_day as number) - slopeByDefinition()) < 1e-6);
    assert.equal(cart?.certain, true);

    const old = await diff("shop_0", "shop_6", "--json");
    assert.equal((JSON.parse(old.stdout) as Document).compared_by, "class and site");
    const unpinned = await diff("--unpin", "shop_1");
    assert.equal(unpinned.code, 0);
    await diff(...keep);
    assert.deepEqual(await withObjects("shop"), ["shop_5", "shop_6"]);
  });

  it("compares with a baseline where one is named", async () => {
    for (const [number, carts] of [500, 560, 620].entries()) await night("base", number, carts);
    const failOn = ["--series", "base", "--fail-on", "count>100"];
    assert.equal((await latest(...failOn)).code, 0);
    assert.equal((await latest(...failOn, "--baseline", "base_0")).code, 3);
    assert.equal((await latest("--series", "nobody")).code, 4);
  });

  it("never prunes a dump that is being loaded anew", async () => {
    for (const number of [0, 1, 2]) await night("reload", number, 10);
    const dumps = test.db.collection<DumpEntry>("dumps");
    const entry = await dumps.findOne({ _id: "reload_0" });
    assert.ok(entry);
    await dumps.insertOne({ ...entry, _id: "reload_0.loading", status: "loading" });
    const keep = ["prune", "--series", "reload", "--keep", "1", "--keep-weekly", "0"];
    const { stdout } = await diff(...keep);
    assert.match(stdout, /kept +reload_0 .*loading/);
    assert.ok((await withObjects("reload")).includes("reload_0"));
    await dumps.deleteOne({ _id: "reload_0.loading" });
    await diff(...keep);
    assert.ok(!(await withObjects("reload")).includes("reload_0"));
  });

  describe("heapdump-import --keep", () => {
    const dumpFile = (name: string, number: number, carts: number): string => {
      const file = join(folder, `${name}.ndjson`);
      writeFileSync(file, dumpOf(new Date(Date.UTC(2026, 0, 5 + number, 3)), carts));
      return file;
    };
    const importKeeping = (file: string, ...args: string[]): ReturnType<typeof run> =>
      run("heapdump-import", [
        ...["--uri", test.uri, "--db", test.name, "--series", "kept", file],
        ...args,
      ]);

    it("prunes the series behind each import: never what is pinned or loading, nor another series", async () => {
      const dumps = test.db.collection<DumpEntry>("dumps");
      await night("other", 0, 10);
      for (const number of [0, 1, 2, 3]) await night("kept", number, 10 + number);
      assert.equal((await diff("--pin", "kept_1")).code, 0);
      const loading = await dumps.findOne({ _id: "kept_2" });
      assert.ok(loading);
      await dumps.insertOne({ ...loading, _id: "kept_2.loading", status: "loading" });

      const file = dumpFile("kept_4", 4, 14);
      const { code, stdout, stderr } = await importKeeping(
        file,
        ...["--keep", "2", "--keep-weekly", "0", "--json"],
      );
      assert.equal(code, 0, stderr);
      assert.equal((JSON.parse(stdout) as Document).dump, "kept_4");
      assert.deepEqual(await withObjects("kept"), ["kept_1", "kept_2", "kept_3", "kept_4"]);
      assert.match(stderr, /^dropped the objects of kept_0, taken 2026-01-05T03:00:00.000Z$/m);
      assert.equal(stderr.match(/^dropped/gm)?.length, 1);
      const summaries = test.db.collection<SummaryDocument>("summaries");
      assert.equal((await summaries.findOne({ _id: "kept_0/class/Cart" }))?.count, 10);
      assert.equal((await dumps.findOne({ _id: "kept_0" }))?.status, "pruned");
      assert.deepEqual(await withObjects("other"), ["other_0"]);

      // The same command again loads nothing, and prunes what has become free meanwhile.
      await dumps.deleteOne({ _id: "kept_2.loading" });
      assert.equal((await diff("--unpin", "kept_1")).code, 0);
      const again = await importKeeping(file, "--keep", "2", "--keep-weekly", "0");
      assert.equal(again.code, 0, again.stderr);
      assert.deepEqual(await withObjects("kept"), ["kept_3", "kept_4"]);
      // Without --keep, import drops nothing; with --keep-weekly alone, the newest 14 stay.
      const weekly = await importKeeping(dumpFile("kept_5", 5, 15), "--keep-weekly", "1");
      assert.equal(weekly.code, 0, weekly.stderr);
      assert.deepEqual(await withObjects("kept"), ["kept_3", "kept_4", "kept_5"]);
    });

    it("drops the same dumps as heapdump-diff prune would", async () => {
      for (const number of [0, 5, 8, 13, 20]) await night("same", number, 10);
      const keep = ["--keep", "1", "--keep-weekly", "3"];
      const planned = await diff("prune", "--series", "same", ...keep, "--dry-run", "--json");
      const { dumps } = JSON.parse(planned.stdout) as { dumps: { dump: string; drop: boolean }[] };
      const expected = dumps.filter(({ drop }) => !drop).map(({ dump }) => dump);
      // Weeks of 5, 12 and 19 January; 10 January is of the first one, too.
      assert.deepEqual(expected, ["same_5", "same_13", "same_20"]);
      const file = join(folder, "same_20.ndjson");
      const args = ["--uri", test.uri, "--db", test.name, "--series", "same", file, ...keep];
      const { code, stderr } = await run("heapdump-import", args);
      assert.equal(code, 0, stderr);
      assert.deepEqual(await withObjects("same"), ["same_13", "same_20", "same_5"]);
    });

    it("prunes nothing where the import fails, and waits for a run that is at it", async () => {
      const broken = join(folder, "kept_9.ndjson");
      writeFileSync(broken, "no dump\n");
      const before = await withObjects("kept");
      assert.equal((await importKeeping(broken, "--keep", "1", "--keep-weekly", "0")).code, 4);
      assert.deepEqual(await withObjects("kept"), before);

      const lock = await takeLock(test.db, watchLock);
      const file = dumpFile("kept_6", 6, 16);
      const importing = importKeeping(file, "--keep", "1", "--keep-weekly", "0");
      const dumps = test.db.collection<DumpEntry>("dumps");
      while ((await dumps.findOne({ _id: "kept_6", status: "complete" })) === null) await sleep(50);
      await sleep(500);
      assert.deepEqual(await withObjects("kept"), [...before, "kept_6"]);
      await lock.release();
      const { code, stderr } = await importing;
      assert.equal(code, 0, stderr);
      assert.deepEqual(await withObjects("kept"), ["kept_6"]);
    });

    it("wants whole numbers", async () => {
      const { code, stderr } = await importKeeping("x.ndjson", "--keep", "0");
      assert.equal(code, 2);
      assert.match(stderr, /--keep: expected a whole number from 1/);
    });
  });

  describe("its lock", () => {
    it("keeps a second run out, and says who is at it", async () => {
      const lock = await takeLock(test.db, "heapdump-diff");
      const { code, stderr } = await latest();
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`watch/locked.*process ${process.pid} on ${hostname()}`));
      await lock.release();
      assert.equal(await test.db.collection("locks").countDocuments(), 0);
    });

    it("is taken over from a killed run at once", async () => {
      const holder = spawn(process.execPath, [
        "--input-type=module",
        "-e",
        `import { MongoClient } from "mongodb";
         import { takeLock } from ${JSON.stringify(new URL("../../src/watch/lock.js", import.meta.url).href)};
         const client = await new MongoClient(${JSON.stringify(test.uri)}).connect();
         await takeLock(client.db(${JSON.stringify(test.name)}), "killed");
         console.log("held");
         setInterval(() => {}, 1000);`,
      ]);
      await Promise.race([once(holder.stdout, "data"), once(holder, "exit")]);
      assert.equal(holder.exitCode, null, "the holder took the lock");
      await assert.rejects(takeLock(test.db, "killed"), { code: "watch/locked" });
      holder.kill("SIGKILL");
      await once(holder, "exit");
      const lock = await takeLock(test.db, "killed");
      await lock.release();
    });

    it("is given back by a run that is stopped, and left by no killed one", async () => {
      await night("stopped", 0, 10);
      await night("stopped", 1, 20);
      const locks = test.db.collection<{ _id: string; pid: number }>("locks");
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        await test.db.collection("diffs").deleteMany({ series: "stopped" });
        const child = spawn(process.execPath, [
          repositoryPath("dist/bin/heapdump-diff.js"),
          ...["--uri", test.uri, "--db", test.name, "--latest", "--series", "stopped"],
        ]);
        const ended = once(child, "exit") as Promise<[number | null, string | null]>;
        while (child.exitCode === null && (await locks.findOne({ pid: child.pid ?? 0 })) === null) {
          await sleep(1);
        }
        child.kill(signal);
        const [code, by] = await ended;
        if (signal === "SIGKILL" && by === null) assert.equal(code, 0, "it was done already");
        if (signal === "SIGTERM") assert.equal(await locks.countDocuments(), 0);
      }
      const { code, stderr } = await latest("--series", "stopped");
      assert.equal(code, 0, stderr);
      assert.equal(await locks.countDocuments(), 0);
    });

    it("is taken over from another machine when its last sign is old, not before", async () => {
      const holder = { _id: "far" as never, host: "far", pid: 1, pid_namespace: "", token: "t" };
      const locks = test.db.collection("locks");
      const since = new Date();
      await locks.insertOne({ ...holder, since, expires_at: new Date(Date.now() + 30_000) });
      await assert.rejects(takeLock(test.db, "far"), { code: "watch/locked" });
      await locks.updateOne({ _id: "far" as never }, { $set: { expires_at: new Date(0) } });
      await (await takeLock(test.db, "far")).release();
    });

    it("is held by one of many that ask at once", async () => {
      const asked = await Promise.allSettled(
        Array.from({ length: 20 }, () => takeLock(test.db, "many")),
      );
      const held = asked.filter((it) => it.status === "fulfilled");
      assert.equal(held.length, 1);
      await held[0]?.value.release();
    });
  });

  describe("its webhook", () => {
    let server: Server;
    let answers: number[];
    let requests: { authorization: string | undefined; body: Document }[];
    /** Requests to leave without an answer. */
    let ignored: number;
    before(async () => {
      server = createServer((request, response) => {
        void bodyOf(request).then((body) => {
          requests.push({
            authorization: request.headers.authorization,
            body: JSON.parse(body) as Document,
          });
          if (ignored-- > 0) return;
          const status = answers.shift() ?? 200;
          const elsewhere = { location: `${url()}/elsewhere` };
          response.writeHead(status, status === 302 ? elsewhere : {}).end();
        });
      }).listen(0, "127.0.0.1");
      await once(server, "listening");
    });
    beforeEach(() => {
      answers = [];
      requests = [];
      ignored = 0;
    });
    after(() => {
      server.close();
      server.closeAllConnections();
    });
    const url = (): string =>
      `http://bob:canary%2Dsecret@127.0.0.1:${(server.address() as AddressInfo).port}/hook/canary-token`;

    it("gets the alarm as JSON, after a failed attempt too, with the password in no output", async () => {
      await night("hook", 0, 100);
      await night("hook", 1, 400);
      answers = [503];
      const { code, stdout, stderr } = await latest(
        ...["--series", "hook", "--fail-on", "count>100", "--webhook", url()],
      );
      assert.equal(code, 3, stderr);
      assert.equal(requests.length, 2);
      const basic = Buffer.from("bob:canary-secret").toString("base64");
      assert.equal(requests[1]?.authorization, `Basic ${basic}`);
      assert.equal(requests[1]?.body.after, "hook_1");
      assert.equal(
        (requests[1]?.body.alarms as Document[]).some((it) => it.name === "Cart"),
        true,
      );
      assert.doesNotMatch(stdout + stderr, /canary/);
      // Nothing new, nothing posted.
      await latest("--series", "hook", "--fail-on", "count>100", "--webhook", url());
      assert.equal(requests.length, 2);
    });

    it("ends with 1 where it is refused or cannot be reached; the diff is stored", async () => {
      await night("deaf", 0, 100);
      await night("deaf", 1, 400);
      answers = [404];
      const args = ["--series", "deaf", "--fail-on", "count>100", "--webhook"];
      const refused = await latest(...args, url());
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /watch\/webhook.*answered 404/);
      assert.doesNotMatch(refused.stderr, /canary/);
      assert.equal(requests.length, 1);
      const id = "deaf_0..deaf_1";
      assert.ok(await test.db.collection<DiffDocument>("diffs").findOne({ _id: id }));

      await night("deaf", 2, 900);
      const nobody = await latest(...args, `http://bob:canary@127.0.0.1:${await freePort()}/`);
      assert.equal(nobody.code, 1);
      assert.match(nobody.stderr, /cannot be reached \(ECONNREFUSED\)/);
      assert.doesNotMatch(nobody.stderr, /canary/);
    });

    it("gets what each run found where no limit is given, also that there is nothing new", async () => {
      const args = ["--series", "chatty", "--webhook", url()];
      for (const [number, carts] of [100, 101, 102].entries()) {
        await night("chatty", number, carts);
        assert.equal((await latest(...args)).code, 0);
      }
      assert.equal((await latest(...args)).code, 0);
      assert.deepEqual(
        requests.map(({ body }) => [body.series, body.is_new, body.before, body.after]),
        [
          ["chatty", false, undefined, undefined],
          ["chatty", true, "chatty_0", "chatty_1"],
          ["chatty", true, "chatty_1", "chatty_2"],
          ["chatty", false, "chatty_1", "chatty_2"],
        ],
      );
      assert.match(requests[0]?.body.note as string, /chatty_0 is the first dump/);
      assert.match(requests[3]?.body.note as string, /no new dump since chatty_2/);
      // The body is the stored document, as JSON writes it.
      const stored = await test.db
        .collection<DiffDocument>("diffs")
        .findOne({ _id: "chatty_1..chatty_2" });
      const { tool, version, series, is_new, note, ...body } = requests[2]?.body ?? {};
      assert.deepEqual([tool, series, is_new, note], ["heapdump-diff", "chatty", true, "compared"]);
      assert.match(version as string, /^\d/);
      assert.deepEqual({ ...body, series }, JSON.parse(JSON.stringify(stored)));
    });

    it("gets every result, or growth alone, as --webhook-on says", async () => {
      const failOn = ["--series", "picky", "--fail-on", "count>100"];
      await night("picky", 0, 100);
      await night("picky", 1, 110);
      await latest(...failOn, "--webhook", url());
      assert.equal(requests.length, 0);
      await latest(...failOn, "--webhook", url(), "--webhook-on", "always");
      assert.deepEqual(requests[0]?.body.alarms, []);
      await night("picky", 2, 400);
      const grown = await latest(...failOn, "--webhook", url(), "--webhook-on", "always");
      assert.equal(grown.code, 3);
      assert.equal(requests.length, 2);
      for (const [args, message] of [
        [["--webhook", url(), "--webhook-on", "never"], /--webhook-on: expected growth or always/],
        [["--webhook", url(), "--webhook-on", "growth"], /--webhook-on growth goes with --fail-on/],
        [["--webhook-on", "always"], /--webhook-on goes with --webhook/],
      ] as const) {
        const { code, stderr } = await latest(...args);
        assert.equal(code, 2);
        assert.match(stderr, message);
        assert.doesNotMatch(stderr, /canary/);
      }
      assert.equal(requests.length, 2);
    });

    it("is taken from the environment, which other users cannot read", async () => {
      await night("quiet", 0, 100);
      const { code, stdout, stderr } = await run(
        "heapdump-diff",
        ["--uri", test.uri, "--db", test.name, "--latest", "--series", "quiet"],
        { environment: { HEAPDUMP_WEBHOOK: url() } },
      );
      assert.equal(code, 0, stderr);
      assert.equal(requests.length, 1);
      assert.doesNotMatch(stdout + stderr, /canary/);
    });

    it("gives up a server that does not answer, and tries again", async () => {
      const limits = { attempts: 3, timeoutMs: 100, pauseMs: 1 };
      ignored = 2;
      await postWebhook(url(), { a: 1 }, new AbortController().signal, limits);
      assert.equal(requests.length, 3);
      ignored = 3;
      const tooLate = postWebhook(url(), { a: 1 }, new AbortController().signal, limits);
      await assert.rejects(tooLate, (error: Error) => {
        assert.match(error.message, /no answer within 0.1 s/);
        assert.doesNotMatch(JSON.stringify(error) + (error.stack ?? ""), /canary/);
        return true;
      });
      assert.equal(requests.length, 6);
    });

    it("ends at once when the run is stopped", async () => {
      ignored = 1;
      const stop = new AbortController();
      const posting = postWebhook(url(), {}, stop.signal, {
        ...{ attempts: 3, timeoutMs: 60_000, pauseMs: 60_000 },
      });
      while (requests.length === 0) await sleep(5);
      stop.abort(new Error("stopped"));
      await assert.rejects(posting, /stopped/);
    });

    it("is not followed elsewhere", async () => {
      answers = [302];
      const posting = postWebhook(url(), {}, new AbortController().signal);
      await assert.rejects(posting, /answered 302/);
      assert.equal(requests.length, 1);
    });

    it("is refused where it is no http URL, before anything is done", async () => {
      for (const bad of ["ftp://bob:canary@host/", "http://bob:canary%zz@host/", "canary"]) {
        const { code, stderr } = await latest("--webhook", bad);
        assert.equal(code, 2);
        assert.doesNotMatch(stderr, /canary/);
      }
    });
  });

  async function withObjects(series: string): Promise<string[]> {
    const all = await test.db.listCollections({ type: "collection" }, { nameOnly: true }).toArray();
    return all
      .map(({ name }) => name)
      .filter((name) => name.startsWith(`${series}_`) && /_\d+$/.test(name))
      .sort();
  }
});

/** The textbook's formula, not ours: n Σxy - Σx Σy over n Σx² - (Σx)². */
function slopeByDefinition(): number {
  const ys = [1000, 1010, 1004, 1060, 1640, 1650, 1655];
  const sum = (value: (y: number, x: number) => number): number =>
    ys.reduce((total, y, x) => total + value(y, x), 0);
  const n = ys.length;
  return (
    (n * sum((y, x) => x * y) - sum((_, x) => x) * sum((y) => y)) /
    (n * sum((_, x) => x * x) - sum((_, x) => x) ** 2)
  );
}

/** A small heap in our own format: an array of carts that a root holds. */
function dumpOf(takenAt: Date, carts: number): string {
  const header = {
    type: "HEADER",
    format: "heapdump-mongo",
    format_version: 1,
    runtime: "ruby",
    pid: 4711,
    host: "one",
    taken_at: takenAt.toISOString(),
    process_started_at: "2026-01-01T00:00:00.000Z",
  };
  const hex = (id: number): string => `0x${(0x7f00_0000_0000 + id * 40).toString(16)}`;
  const cart = (index: number): Document => ({
    ...{ address: hex(index + 10), type: "OBJECT", class: hex(1), memsize: 40 },
    ...{ file: "cart.rb", line: 7, generation: 3 },
  });
  const all = Array.from({ length: carts }, (_, index) => cart(index));
  const records: Document[] = [
    { address: hex(1), type: "CLASS", class: hex(2), name: "Cart", memsize: 600 },
    { address: hex(2), type: "CLASS", class: hex(2), name: "Class", memsize: 600 },
    {
      ...{ address: hex(3), type: "ARRAY", memsize: 40 + 8 * carts },
      references: all.map(({ address }) => address as string),
    },
    ...all,
    { type: "ROOT", root: "vm", references: [hex(1), hex(2), hex(3)] },
  ];
  const trailer = { ...header, counts: { objects: carts + 3, roots: 1 } };
  return [header, ...records, trailer].map((it) => `${JSON.stringify(it)}\n`).join("");
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}
