import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kill } from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  askWorker,
  dumpLines,
  endServer,
  load,
  plantedLeak,
  rubyServer,
  type RubyServer,
} from "../support/ruby-server.js";

describe("heap_dump.rb", () => {
  let folder: string;
  let server: RubyServer | undefined;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
  });
  after(async () => {
    if (server !== undefined) await endServer(server);
    await rm(folder, { recursive: true, force: true });
  });

  it("passes its own tests", async () => {
    const path = fileURLToPath(new URL("../../../ruby/test/heap_dump_test.rb", import.meta.url));
    const { stdout } = await promisify(execFile)("ruby", ["-w", path], { timeout: 90_000 });
    assert.match(stdout, /\b0 failures, 0 errors, 0 skips/);
  });

  it("dumps each worker of a preforking server upon USR2, under load, with its own numbers", async () => {
    server = await rubyServer(folder);
    const { workers } = server;
    const leaks = [37, 91];
    for (const [index, worker] of workers.entries()) {
      for (let n = 0; n < (leaks[index] ?? 0); n++) await askWorker(worker, `/leak/${n}`);
    }
    const clients = load(workers);
    for (const { pid } of workers) kill(pid, "SIGUSR2");
    await until(async () => (await readdir(folder)).filter(isDump).length === workers.length);
    const { answers } = await clients.stop();
    assert.ok(answers > 10, `it answered ${answers} times meanwhile`);

    for (const [index, worker] of workers.entries()) {
      const name = (await readdir(folder)).find((file) => file.startsWith(`dump_${worker.pid}_`));
      assert.match(name ?? "", /^dump_\d+_\d{8}T\d{9}Z\.json$/);
      const path = join(folder, name ?? "");
      assert.equal((await stat(path)).mode & 0o777, 0o600);
      const own = await askWorker(worker, "/numbers");
      assert.equal(own.kept, leaks[index]);
      assert.deepEqual(plantedLeak(await dumpLines(path)), {
        pid: worker.pid,
        isWhole: true,
        kept: own.kept,
        requests: own.requests,
        closures: own.kept,
        ownedByRemember: own.kept,
        capturedRequests: own.kept,
      });
    }
    assert.deepEqual(
      (await readdir(folder)).filter((file) => !isDump(file)),
      [],
      "nothing else is left behind",
    );
  });
});

const isDump = (file: string): boolean => file.endsWith(".json");

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, "not within 30 s");
    await new Promise((done) => setTimeout(done, 50));
  }
}
