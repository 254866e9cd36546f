import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Document } from "mongodb";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import { retainers } from "../../src/query/one-dump/retainers.js";
import { askDump, dumpNamed } from "../../src/query/query.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import {
  askWorker,
  endServer,
  rubyServer,
  serverPath,
  type RubyServer,
  type Worker,
} from "../support/ruby-server.js";
import { run } from "../support/run.js";

describe("from the workers of a running Ruby server to the line that leaks", () => {
  const leaks = [29, 64];
  let folder: string;
  let server: RubyServer;
  let database: TestDatabase;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
    server = await rubyServer();
    database = await testDatabase();
    for (const [index, worker] of server.workers.entries()) {
      for (let n = 0; n < (leaks[index] ?? 0); n++) await askWorker(worker, `/leak/${n}`);
    }
  });
  after(async () => {
    await endServer(server);
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });
  const dumpOf = async ({ pid }: Worker) =>
    (await database.db.collection("dumps").findOne({ pid }))?.["collection"] as string;

  it("dumps and imports each worker; the documents have the numbers that it reports itself", async () => {
    const parent = String(server.child.pid);
    await command("heapdump-dump", ["--workers", parent, ...where(), "--import"], folder);
    assert.equal(await database.db.collection("dumps").countDocuments({ status: "complete" }), 2);
    for (const [index, worker] of server.workers.entries()) {
      const own = await askWorker(worker, "/numbers");
      assert.equal(own.kept, leaks[index]);
      const objects = database.db.collection(await dumpOf(worker));
      assert.equal(
        await objects.countDocuments({ type: "OBJECT", class_name: "Request" }),
        own.requests,
      );
      assert.equal(
        await objects.countDocuments({
          struct: "proc",
          "proc.file": serverPath,
          "captures.request": { $exists: true },
        }),
        own.kept,
      );
      assert.equal(await objects.countDocuments({ "env_of.method": "remember" }), own.kept);
    }
  });

  it("says by shapes, names of variables among them, what climbing from every object says", async () => {
    const [worker] = server.workers;
    const dump = await dumpNamed(database.db, await dumpOf(worker as Worker));
    assert.ok((dump.shapes ?? 0) > 100);
    const { shapes: _, ...withoutShapes } = dump;
    for (const where of [{ class_name: "Request" }, { class_name: "Proc" }]) {
      const [told, climbed] = await Promise.all(
        [dump, withoutShapes].map((one) => pathsOf(one, where)),
      );
      assert.ok((told?.size ?? 0) > 0);
      assert.deepEqual(told, climbed, JSON.stringify(where));
    }
  });

  async function pathsOf(dump: DumpEntry, where: Document): Promise<Map<unknown, unknown>> {
    const { db } = database;
    const given = { names: [], where, whereText: "", all: 1 };
    const { rows } = await askDump(db, dump, retainers, given, { dump: dump._id, limit: 10_000 });
    return new Map(rows.map(({ path, count, dominator_id }) => [path, { count, dominator_id }]));
  }

  it("closures names the line where they are made, what they capture, how many there are", async () => {
    const text = await command("heapdump-query", [
      ...["closures", ...where(), "--dump", await dumpOf(second())],
      "--json",
    ]);
    const line = readFileSync(serverPath, "utf8")
      .split("\n")
      .indexOf("      @kept << -> { request }");
    const rows = (JSON.parse(text) as { rows: Record<string, unknown>[] }).rows;
    const row = rows.find(({ place }) => place === `${serverPath}:${line + 1}`);
    assert.deepEqual([row?.["count"], row?.["captures"]], [leaks[1], "request"]);
  });

  it("path leads from a leaked request through the environment and the closure to the list", async () => {
    const objects = database.db.collection(await dumpOf(second()));
    const request = await objects.findOne({ type: "OBJECT", class_name: "Request" });
    const text = await command("heapdump-query", [
      ...["path", String(request?._id), ...where(), "--dump", await dumpOf(second())],
    ]);
    for (const step of [/Request/, /request/, /environment/, /@kept/, /Callbacks/]) {
      assert.match(text, step);
    }
  });

  const second = () => server.workers[1] ?? assert.fail("no second worker");
  const where = () => ["--uri", database.uri, "--db", database.name];
});

async function command(name: string, argv: readonly string[], cwd?: string): Promise<string> {
  const { code, stdout, stderr } = await run(name, argv, cwd === undefined ? {} : { cwd });
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout;
}
