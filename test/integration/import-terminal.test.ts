import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { testDatabase, testEnvironment, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

/** Colours, a bell, the C1 form of an escape, a line end, a mark that turns the line around. */
const hostile = "\u001b[31mred\u001b]0;title\u0007\u009b2J\r\n\u202eevil\u2069";
const controls = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

describe("heapdump-import at the terminal", function () {
  this.timeout(60_000);
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-terminal-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const dump = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const ok = '{"address":"0x10","type":"OBJECT","class_name":"Shop"}\n';

  it("lets nothing that a dump says move the cursor", async () => {
    const text = JSON.stringify(hostile);
    const lines = [
      `{"address":"0x10","type":${text},"class_name":${text}}`,
      `{"address":"0x20","type":"OBJECT","${hostile.slice(0, 9)}":1}`,
      `{"address":"0x30","type":"STRING","memsize":${text}}`,
      `{"address":"0x40","type":"CLASS","name":${text},"references":[${text}]}`,
      `{"address":${text},"type":"CLASS"}`,
      `{"type":"ROOT","root":${text},"references":["0x10"]}`,
    ];
    const path = dump("hostile.json", lines.join("\n"));
    const uri = ["--uri", test.uri, "--db", test.name];
    const { code, stderr, stdout } = await run("heapdump-import", [...uri, "--verbose", path]);
    assert.equal(code, 3, stderr);
    assert.doesNotMatch(stderr + stdout, controls);
    assert.match(stderr, /\\u001b\[31mred/);
    // What it is called is the user's, but a name on disk may come from elsewhere, too.
    const named = dump(`${hostile.slice(0, 8)}.json`, "<html>");
    const refused = await run("heapdump-import", [...uri, named]);
    assert.equal(refused.code, 4, refused.stderr);
    assert.doesNotMatch(refused.stderr, controls);
    for (const query of [["classes"], ["types"], ["summary"], ["suspects"], ["object", "0x10"]]) {
      const asked = await run("heapdump-query", [...query, ...uri, "--dump", "hostile"]);
      assert.doesNotMatch(asked.stdout + asked.stderr, controls, query.join(" "));
    }
    const csv = await run("heapdump-query", ["classes", ...uri, "--dump", "hostile", "--csv"]);
    assert.doesNotMatch(csv.stdout, /^[=+@-]/m);
  });

  it("names a next command that works from where the user is", async () => {
    const path = dump("shop.json", ok);
    const { code, stderr } = await run("heapdump-import", [
      ...["--uri", test.uri, "--db", test.name, path],
    ]);
    assert.equal(code, 0, stderr);
    const [, query] = /^next: (.*)$/m.exec(stderr) ?? [];
    const [, shell] = /^next: .*\n {6}(.*)$/m.exec(stderr) ?? [];
    assert.match(query ?? "", /^node .*heapdump-query\.js suspects --db \S+ --dump shop --uri /);
    assert.match(shell ?? "", /^(npx )?mongosh /);
    for (const line of [query, shell]) {
      const { stdout } = await promisify(execFile)("sh", ["-c", line ?? "false"], {
        env: testEnvironment(),
        timeout: 30_000,
      });
      assert.ok(stdout.length > 0);
    }
  });

  it("does not show a password in the next command", async () => {
    const path = dump("secret.json", ok);
    const uri = test.uri.replace("mongodb://", "mongodb://user:canary@");
    const { stderr } = await run("heapdump-import", ["--uri", uri, "--db", test.name, path]);
    assert.doesNotMatch(stderr, /canary/);
  });

  it("prints one JSON object, for one file and for several", async () => {
    const args = ["--uri", test.uri, "--db", test.name, "--json"];
    const one = await run("heapdump-import", [...args, dump("one.json", ok)]);
    assert.equal((JSON.parse(one.stdout) as { dump: string }).dump, "one");
    const many = await run("heapdump-import", [
      ...[...args, dump("first.json", ok), dump("none.json", ""), dump("last.json", ok)],
    ]);
    assert.equal(many.code, 4, many.stderr);
    const { imports } = JSON.parse(many.stdout) as {
      imports: { dump?: string; file?: string; error?: { code: string } }[];
    };
    assert.deepEqual(
      imports.map((each) => each.dump ?? each.error?.code),
      ["first", "decode/empty", "last"],
    );
    assert.equal(imports[1]?.file, join(folder, "none.json"));
  });

  it("keeps the rejects of all files of a call in one file, also of what is loaded already", async () => {
    const files = ["a", "b"].map((name) => dump(`${name}.json`, `${ok}{"broken\n`));
    const rejects = join(folder, "all.rejects");
    const args = ["--uri", test.uri, "--db", test.name, "--rejects-file", rejects];
    for (let round = 0; round < 2; round++) {
      const { code, stderr } = await run("heapdump-import", [...args, ...files]);
      assert.equal(code, 3, stderr);
      const lines = readFileSync(rejects, "utf8").trim().split("\n");
      assert.deepEqual(
        lines.map((line) => {
          const { file, lineNumber } = JSON.parse(line) as { file: string; lineNumber: number };
          return [file, lineNumber];
        }),
        files.map((file) => [file, 2]),
      );
    }
  });

  it("does not take any program that listens on the port for MongoDB", async () => {
    const stranger = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    await new Promise<void>((done) => stranger.listen(0, "127.0.0.1", done));
    const { port } = stranger.address() as AddressInfo;
    try {
      const { code, stderr } = await run(
        "heapdump-import",
        ["--db", test.name, dump("mine.json", ok)],
        { environment: { HEAPDUMP_LOCAL_PORT: String(port) } },
      );
      assert.equal(code, 0, stderr);
      assert.match(stderr, new RegExp(`localhost:${port} is not MongoDB`));
      assert.equal(await test.db.collection("mine").countDocuments(), 1);
    } finally {
      stranger.close();
    }
  });

  it("finds a MongoDB on that port, and says what is no port", async () => {
    const { startMongod } = await import("../support/mongod.js");
    const mongod = await startMongod();
    try {
      const path = dump("local.json", ok);
      const { code, stdout, stderr } = await run(
        "heapdump-import",
        ["--db", test.name, "--json", path],
        { environment: { HEAPDUMP_LOCAL_PORT: String(mongod.port) } },
      );
      assert.equal(code, 0, stderr);
      assert.match((JSON.parse(stdout) as { uri: string }).uri, new RegExp(`:${mongod.port}/`));
      const wrong = await run("heapdump-import", ["--db", test.name, path], {
        environment: { HEAPDUMP_LOCAL_PORT: "port" },
      });
      assert.equal(wrong.code, 2, wrong.stderr);
    } finally {
      await mongod.stop();
    }
  });

  it("draws a bar for each phase on a terminal", async () => {
    const lines = Array.from(
      { length: 60_000 },
      (_, node) =>
        `{"address":"0x${(16 + node).toString(16)}","type":"STRING","value":"${"x".repeat(99)}"}`,
    );
    const path = dump("bar.json", lines.join("\n"));
    mkdirSync(join(folder, "pty"));
    const script = [
      "import os, pty, sys",
      "status = pty.spawn(sys.argv[1:])",
      "sys.exit(os.waitstatus_to_exitcode(status))",
    ].join("\n");
    const { stdout } = await promisify(execFile)(
      "python3",
      [
        ...["-c", script, process.execPath, repositoryPath("dist/bin/heapdump-import.js")],
        ...["--uri", test.uri, "--db", test.name, path],
      ],
      { env: { ...testEnvironment(), TERM: "xterm" }, timeout: 40_000 },
    );
    const drawn = (phase: string): string =>
      stdout
        .split(/[\r\n]|\u001b(?:\[[0-9;?]*[A-Za-z]|[78])/)
        .filter((part) => part.startsWith(phase))
        .join("\n");
    for (const phase of ["scan", "load"]) {
      assert.match(
        drawn(phase),
        /=+-* +\d+% \d+ MB, \d+ MB\/s, [\d,]+ objects, [\d,]+\/s, \d+ s left/,
      );
      assert.match(
        drawn(phase),
        new RegExp(`^${phase} +\\d+\\.\\d\\d s {2}\\d+ MB.*60,000 objects`, "m"),
      );
    }
    assert.match(drawn("measure"), /60,000 objects, [\d,]+\/s/);
    for (const phase of ["index", "finish"]) assert.match(drawn(phase), /\d\.\d\d s/);
  });
});
