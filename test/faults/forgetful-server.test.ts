import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { importDump } from "../../src/index.js";
import { sameDump } from "../support/compare-dumps.js";
import { startMongod, type OwnMongod } from "../support/mongod.js";
import { makeDump } from "../support/small-dump.js";

/** What changes the catalogue, and what is said of it, without documents of the dump. */
const commands = new Set([
  ...["create", "drop", "createIndexes", "renameCollection", "update", "delete"],
]);

describe("a server that is killed right behind a step that it acknowledged", function () {
  this.timeout(180_000);
  let folder: string;
  let mongod: OwnMongod;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "heapdump-forgetful-"));
    mongod = await startMongod({ args: ["--journalCommitInterval", "500"] });
  });
  after(async () => {
    await mongod.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("has the whole dump in the end, whichever step it was", async () => {
    const file = join(folder, "forgotten.json");
    makeDump(file, 2_000);
    const reader = await new MongoClient(mongod.uri).connect();
    const reference = reader.db("reference");
    await importDump({ file, db: reference });
    let killed = 0;
    for (let step = 0; ; step++) {
      const client = await new MongoClient(mongod.uri, { monitorCommands: true }).connect();
      let seen = 0;
      let restarted: Promise<void> | undefined;
      client.on("commandSucceeded", ({ commandName }) => {
        if (!commands.has(commandName) || seen++ !== step) return;
        restarted = mongod.kill("SIGKILL").then(() => mongod.restart());
      });
      const name = `step_${step}`;
      const { entry } = await importDump({ file, db: client.db(name), retryForMs: 30_000 });
      await restarted;
      await client.close();
      if (restarted === undefined) break;
      killed++;
      assert.equal(entry.counters.objects, 2_003);
      await sameDump(reader.db(name), reference, "forgotten");
      await reader.db(name).dropDatabase();
    }
    assert.ok(killed >= 20, `${killed} steps`);
    await reader.close();
  });
});
