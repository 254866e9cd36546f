import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BSON } from "mongodb";
import { testDatabase, testEnvironment, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

/** Stands wherever a dump can say something. */
const canary = "canary 4111-1111";

const gemDump = [
  `[{"id":"_ROOTS_","registers":[8,"${canary}"],"globals":[null,16]}`,
  `,{"id":8,"bt":"T_STRING","class":40,"encoding":"UTF-8","val":"${canary}"}`,
  `,{"id":16,"bt":"T_HASH","class":40,"val":{"${canary}":8,"Canary4111":24,"__id_8":24}}`,
  `,{"id":24,"bt":"T_OBJECT","class":40,"ivs":{"@name":8,"@text":"${canary}"}}`,
  `,{"id":48,"bt":"T_DATA","class":40,"size":"${canary}"}`,
  `,{"id":32,"bt":"T_OBJECT","class":"${canary}" ${canary}}`,
  `,{"id":40,"bt":"T_CLASS","class":null,"name":"Shop","consts":{"KEY":"${canary}","LIST":16}}`,
  `,{"id":8,"bt":"T_STRING","class":40,"val":"${canary}"}`,
  "]",
].join("\n");
const header = `{"type":"HEADER","format":"heapdump-mongo","format_version":1,"runtime":"ruby","pid":1,"command":"ruby app.rb --token=${canary}","taken_at":"2026-11-23T10:00:00.000Z"`;
const ownDump = [
  `${header}}`,
  `{"type":"ROOT","root":"vm","references":["0x10","0x30"]}`,
  `{"address":"0x10","type":"HASH","class":"0x40","references":["0x20","0x20","0x30"],"reference_names":["[\\"${canary}\\"]","[:name]","[4111]"],"memsize":40}`,
  `{"address":"0x20","type":"STRING","class":"0x40","value":"${canary}","memsize":40,"file":"app.rb","line":3}`,
  `{"address":"0x30","type":"DATA","struct":"proc","class":"0x40","captures":{"card":"0x20","number":":${canary}"},"references":["0x20"],"reference_names":["card"],"memsize":80}`,
  `{"address":"0x40","type":"CLASS","name":"Shop","constants":{"KEY":":${canary}"},"memsize":500}`,
  `{"address":"${canary}","type":"STRING"}`,
  `{"address":"0x50","type":"STRING","value":"${canary}`,
  `${header},"counts":{"objects":6,"roots":1}}`,
].join("\n");
/** As ObjectSpace.dump_all writes it: no header, no closing line. */
const plainDump = [
  `{"type":"ROOT", "root":"vm", "references":["0x10", "0x20"]}`,
  `{"address":"0x10", "type":"STRING", "class":"0x40", "bytesize":16, "value":"${canary}", "encoding":"UTF-8", "memsize":40, "flags":{"wb_protected":true}}`,
  `{"address":"0x20", "type":"OBJECT", "class":"0x40", "ivars":2, "references":["0x10", "0x30"], "memsize":40, "file":"app.rb", "line":3, "method":"buy", "generation":7}`,
  `{"address":"0x30", "type":"SYMBOL", "class":"0x50", "value":"${canary}", "memsize":40}`,
  `{"address":"0x40", "type":"CLASS", "name":"Shop", "references":["0x10"], "memsize":500}`,
  `{"address":"0x50", "type":"STRING", "class":"0x40", "shared":true, "references":["0x10"], "value":"\\ud83d${canary}", "memsize":40}`,
  `{"address":"0x60", "type":"STRING", "class":"0x40", "value":"\xff${canary}", "memsize":40}`,
  `{"address":"0x70", "type":"FILE", "class":"0x40", "fd":3, "memsize":"${canary}"}`,
  `{"address":"0x10", "type":"STRING", "value":"${canary}", "memsize":40}`,
  `{"address":"0x80", "type":"STRING", "value":"${canary}`,
].join("\n");

describe("--redact", function () {
  this.timeout(60_000);
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-redact-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const dump = (name: string, content: string | Buffer): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  /** What holds the text, of all that is stored. */
  async function placesOf(text: string): Promise<string[]> {
    const places: string[] = [];
    for (const { name } of await test.db.listCollections({ type: "collection" }).toArray()) {
      if (name.startsWith("system.")) continue;
      for await (const found of test.db.collection(name).find({}, { raw: true })) {
        const bytes = Buffer.from(found as unknown as Uint8Array);
        if (bytes.includes(text))
          places.push(`${name} ${JSON.stringify(BSON.deserialize(bytes)["_id"])}`);
      }
    }
    return places;
  }
  const snapshot = (name: string): string => {
    const path = join(folder, name);
    const program = `globalThis.held = { [${JSON.stringify(canary)}]: ${JSON.stringify(`${canary}!`)}.concat(process.pid) };
      require("node:v8").writeHeapSnapshot(${JSON.stringify(path)});`;
    execFileSync(process.execPath, ["-e", program]);
    assert.ok(readFileSync(path).includes(canary), "what is to be hidden is there");
    return path;
  };

  const modes = ["all", "values", "/canary|4111/i"];
  modes.forEach((mode, index) => {
    it(`${mode}: nothing that a dump says is stored or shown, its refused lines and command included`, async () => {
      const files = [
        dump(`gem${index}.json`, gemDump),
        dump(`own${index}.ndjson`, ownDump),
        // "\xff" in the file is a byte that no UTF-8 has.
        dump(`plain${index}.json`, Buffer.from(plainDump, "latin1")),
        snapshot(`node${index}.heapsnapshot`),
      ];
      const rejects = join(folder, `rejects${index}`);
      const more = ["--verbose", "--rejects-file", rejects, `--redact=${mode}`];
      const { code, stderr } = await run("heapdump-import", [
        ...["--uri", test.uri, "--db", test.name, ...files, ...more],
      ]);
      assert.equal(code, 3, stderr);
      assert.doesNotMatch(stderr, /4111/);
      assert.match(stderr, /gem\d\.json:5: refused/);
      assert.doesNotMatch(readFileSync(rejects, "utf8"), /4111/);
      const kept = readFileSync(rejects, "utf8").trim().split("\n");
      for (const line of kept) {
        const { raw_base64: raw } = JSON.parse(line) as { raw_base64: string };
        const said = Buffer.from(raw, "base64").toString();
        assert.match(said, /^redacted:\d+:[0-9a-f]{16}$/);
      }
      assert.equal(kept.length, 8);
      assert.deepEqual(await placesOf("4111-1111"), []);
      assert.deepEqual(await placesOf("Canary4111"), []);
      const hash = await test.db.collection(`gem${index}`).findOne({ type: "HASH" });
      assert.deepEqual(hash?.["references"], [8, 24, 8, 24]);
      assert.deepEqual(
        Object.keys(hash?.["val"] as object).filter((key) => key.startsWith("redacted:")).length,
        2,
      );
    });
  });

  it("keeps what tells of the program: names of variables, classes, places, and which strings are equal", async () => {
    const own = await test.db.collection("own0").findOne({ _id: 0x10 as never });
    const names = own?.["reference_names"] as string[];
    assert.match(names[0] ?? "", /^\[redacted:18:[0-9a-f]{16}\]$/);
    assert.equal(names[1], "[:name]");
    const closure = await test.db.collection("own0").findOne({ _id: 0x30 as never });
    assert.deepEqual(closure?.["reference_names"], ["card"]);
    assert.equal((closure?.["captures"] as { card: string }).card, "0x20");
    assert.equal(closure?.["class_name"], "Shop");
    const string = await test.db.collection("own0").findOne({ _id: 0x20 as never });
    assert.equal(string?.["file"], "app.rb");
    const gem = await test.db.collection("gem0").findOne({ _id: 8 as never });
    // The same text under the same key, in another dump.
    assert.equal(string?.["value"], gem?.["val"]);
  });

  it("draws a key of the user's own, once, that nobody else can read", async () => {
    const file = join(testEnvironment()["HEAPDUMP_HOME"] ?? "", "redact.key");
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.match(readFileSync(file, "latin1"), /^[0-9a-f]{64}\n$/);
    const path = dump("keyed.json", gemDump);
    const args = ["--uri", test.uri, "--db", test.name, "--redact", path];
    const value = async (): Promise<unknown> =>
      (await test.db.collection("keyed").findOne({ _id: 8 as never }))?.["val"];
    await run("heapdump-import", args);
    const first = await value();
    await run("heapdump-import", [...args, "--drop"]);
    assert.equal(await value(), first);
    await run("heapdump-import", [...args, "--drop"], {
      environment: { HEAPDUMP_REDACT_KEY: "another" },
    });
    assert.notEqual(await value(), first);
  });

  it("goes on with the same pattern and key only, and says which was another", async () => {
    const lines = Array.from(
      { length: 60_000 },
      (_, node) =>
        `{"address":"0x${(node + 16).toString(16)}","type":"STRING","value":"${canary} ${node % 7} ${"x".repeat(100)}"}`,
    );
    const file = dump("resumed.json", lines.join("\n"));
    const args = ["--uri", test.uri, "--db", test.name, "-j", "1", "--json", file];
    const environment = { HEAPDUMP_REDACT_KEY: "k" };
    const begun = spawn(
      process.execPath,
      [repositoryPath("dist/bin/heapdump-import.js"), ...args, "--redact=/canary/"],
      { env: { ...testEnvironment(), ...environment }, stdio: "ignore" },
    );
    const ended = once(begun, "exit");
    const loading = test.db.collection("resumed.loading");
    while (begun.exitCode === null && (await loading.findOne({ type: "STRING" })) === null) {
      await sleep(2);
    }
    begun.kill("SIGKILL");
    assert.deepEqual(await ended, [null, "SIGKILL"], "it was in the middle of the load");
    const loaded = await loading.estimatedDocumentCount();
    assert.ok(loaded > 0 && loaded < lines.length, `${loaded} documents`);
    const again = async (redact: readonly string[], key = environment): Promise<string> => {
      const { code, stderr } = await run("heapdump-import", [...args, ...redact], {
        environment: key,
      });
      assert.equal(code, 1, stderr);
      return stderr;
    };
    assert.match(await again(["--redact=/anary/"]), /begun with another --redact$/m);
    assert.match(await again(["--redact=all"]), /begun with another --redact$/m);
    assert.match(
      await again(["--redact=/canary/"], { HEAPDUMP_REDACT_KEY: "another" }),
      /another key of redaction; go on with that one in HEAPDUMP_REDACT_KEY/,
    );
    assert.match(await again([]), /begun with another --redact, --redact-key$/m);
    const whole = await run("heapdump-import", [...args, "--redact=/canary/"], { environment });
    assert.equal(whole.code, 0, whole.stderr);
    const summary = JSON.parse(whole.stdout) as {
      resumed: boolean;
      counters: { objects: number };
    };
    assert.equal(summary.resumed, true);
    assert.equal(summary.counters.objects, lines.length);
    assert.equal((await test.db.collection("resumed").distinct("value")).length, 7);
    assert.deepEqual(await placesOf(canary), []);
  });
});
