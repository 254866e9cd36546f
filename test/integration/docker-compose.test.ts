import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { load as loadYaml } from "js-yaml";
import { MongoClient } from "mongodb";
import { z } from "zod";
import { freePort, startMongod, type OwnMongod } from "../support/mongod.js";
import { repositoryPath } from "../support/run.js";
import { skipBecause } from "../support/skip-because.js";

const duration = z.string().regex(/^[1-9]\d*s$/);
/** Strict: what is not named here was not thought of. */
const composeFile = z.strictObject({
  services: z.strictObject({
    mongodb: z.strictObject({
      image: z.string(),
      restart: z.literal("unless-stopped"),
      ports: z.array(z.string()).length(1),
      environment: z.record(z.string(), z.string()),
      volumes: z.array(z.string()).length(1),
      healthcheck: z.strictObject({
        test: z.tuple([z.literal("CMD-SHELL"), z.string()]),
        interval: duration,
        timeout: duration,
        start_period: duration,
        retries: z.number().int().positive(),
      }),
    }),
  }),
  volumes: z.record(z.string(), z.null()),
});

const passwordName = "HEAPDUMP_MONGO_PASSWORD";

describe("docker-compose.yml", function () {
  this.timeout(60_000);
  const text = readFileSync(repositoryPath("docker-compose.yml"), "utf8");
  const compose = composeFile.parse(loadYaml(text));
  const { mongodb } = compose.services;

  it("starts a MongoDB of the series 8.0 that this machine alone can reach, on a named volume", () => {
    assert.match(mongodb.image, /^mongo:8\.0(\.\d+)?$/);
    assert.deepEqual(mongodb.ports, ["127.0.0.1:27017:27017"]);
    const [volume, folder] = (mongodb.volumes[0] ?? "").split(":");
    assert.equal(folder, "/data/db");
    assert.deepEqual(Object.keys(compose.volumes), [volume]);
  });

  it("takes the password from the environment, and refuses to start without one", () => {
    const { MONGO_INITDB_ROOT_PASSWORD: password = "", ...others } = mongodb.environment;
    assert.deepEqual(others, { MONGO_INITDB_ROOT_USERNAME: "heapdump" });
    // Compose took the form from the shell: it means the same there.
    const expand = (environment: NodeJS.ProcessEnv) =>
      spawnSync("/bin/sh", ["-c", `printf %s "${password}"`], {
        env: environment,
        encoding: "utf8",
      });
    const given = `it's a "canary" $HOME`;
    assert.equal(expand({ [passwordName]: given }).stdout, given);
    for (const environment of [{}, { [passwordName]: "" }]) {
      const { status, stdout, stderr } = expand(environment);
      assert.notEqual(status, 0);
      assert.equal(stdout, "");
      assert.match(stderr, /set HEAPDUMP_MONGO_PASSWORD/);
    }
  });

  it("is understood by docker compose, which refuses it without a password", function () {
    const config = (environment: NodeJS.ProcessEnv) =>
      spawnSync("docker", ["compose", "-f", repositoryPath("docker-compose.yml"), "config"], {
        env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...environment },
        encoding: "utf8",
      });
    if (spawnSync("docker", ["compose", "version"]).status !== 0) {
      skipBecause(this, "no docker compose here");
    }
    const { status, stdout, stderr } = config({ [passwordName]: "canary" });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /MONGO_INITDB_ROOT_PASSWORD: canary/);
    assert.match(stdout, /host_ip: 127\.0\.0\.1/);
    const refused = config({});
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /set HEAPDUMP_MONGO_PASSWORD/);
  });

  describe("against a real mongod with its user", () => {
    const user = mongodb.environment["MONGO_INITDB_ROOT_USERNAME"] ?? "";
    const password = "canary-3c9e'\"$";
    let home: string;
    let mongod: OwnMongod;
    before(async () => {
      home = mkdtempSync(join(tmpdir(), "heapdump-compose-"));
      mongod = await startMongod({ args: ["--auth"] });
      const client = await new MongoClient(mongod.uri).connect();
      // As the image makes it: the first user, through the exception for localhost.
      await client.db("admin").command({ createUser: user, pwd: password, roles: ["root"] });
      await client.close();
    });
    after(async () => {
      await mongod.stop();
      rmSync(home, { recursive: true, force: true });
    });

    /** Runs the health check as Docker does: its shell, the container's environment; only the port is another. */
    async function health(given: string | undefined, port = mongod.port) {
      const command = mongodb.healthcheck.test[1].replaceAll("$$", "$");
      const child = spawn("/bin/sh", ["-c", `${command} --port ${port}`], {
        env: {
          PATH: `${repositoryPath("node_modules/.bin")}${delimiter}${process.env["PATH"] ?? ""}`,
          HOME: home,
          HOSTNAME: "127.0.0.1",
          MONGO_INITDB_ROOT_USERNAME: user,
          ...(given === undefined ? {} : { MONGO_INITDB_ROOT_PASSWORD: given }),
        },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let said = "";
      child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
      const [status] = (await once(child, "close")) as [number];
      assert.doesNotMatch(said, /canary/);
      return { status, said };
    }

    it("is healthy with the right password alone", async () => {
      const { status, said } = await health(password);
      assert.equal(status, 0, said);
      const wrong = await health(`${password}x`);
      assert.notEqual(wrong.status, 0);
      assert.match(wrong.said, /Authentication failed/);
      assert.notEqual((await health(undefined)).status, 0);
    });

    it("is unhealthy where no server answers, in less than its timeout", async () => {
      const started = performance.now();
      const { status, said } = await health(password, await freePort());
      assert.notEqual(status, 0);
      assert.match(said, /ECONNREFUSED/);
      const timeoutMs = Number.parseInt(mongodb.healthcheck.timeout, 10) * 1_000;
      assert.ok(performance.now() - started < timeoutMs);
    });

    it("is reached by the connection string in its head", async () => {
      const [, commented = ""] = /export MONGODB_URI="([^"]+)"/.exec(text) ?? [];
      assert.match(commented, /@127\.0\.0\.1:27017\//);
      const uri = commented
        .replace(`$${passwordName}`, encodeURIComponent(password))
        .replace(":27017", `:${mongod.port}`);
      const client = await new MongoClient(uri).connect();
      const { authInfo } = await client.db("admin").command({ connectionStatus: 1 });
      await client.close();
      const { authenticatedUsers } = authInfo as { authenticatedUsers: unknown };
      assert.deepEqual(authenticatedUsers, [{ user, db: "admin" }]);
    });
  });
});
