import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Writable } from "node:stream";
import { run } from "../support/run.js";

/** A Ruby that is at a bad place when asked, and answers lines on its standard input from another thread. */
class Awkward {
  private constructor(
    private readonly child: ReturnType<typeof spawn>,
    private readonly lines: AsyncIterator<string>,
  ) {}

  static async start(code: string, options: string[] = []): Promise<Awkward> {
    const child = spawn(
      "ruby",
      [
        ...options,
        "-e",
        `$stdout.sync = true; Thread.new { while (l = $stdin.gets) do puts "answer #{l}" end }; puts "ready"; ${code}`,
      ],
      { stdio: ["pipe", "pipe", "pipe", "pipe"] },
    );
    assert(child.stdout);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const one = new Awkward(child, lines);
    assert.equal(await one.line(), "ready");
    return one;
  }

  async line(): Promise<string> {
    const { value } = await this.lines.next();
    return value as string;
  }

  get pid(): string {
    return String(this.child.pid);
  }

  /** Lets go on what reads from descriptor 3. */
  release(): void {
    (this.child.stdio[3] as Writable).write("x");
  }

  async answers(): Promise<void> {
    this.child.stdin?.write("hello\n");
    assert.equal(await this.line(), "answer hello");
  }

  async count(timeoutS = 30) {
    const argv = ["--pid", this.pid, "--count", "--timeout", String(timeoutS)];
    return run("heapdump-dump", argv);
  }

  async end(): Promise<void> {
    const ended = once(this.child, "exit");
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGKILL");
      await ended;
    }
  }
}

describe("heapdump-dump, on a Ruby that is at a bad place", () => {
  let ruby: Awkward;
  afterEach(() => ruby.end());

  it("20 times in a row in the collector: it lives on and answers each time", async () => {
    ruby = await Awkward.start("loop { GC.start; Array.new(100) { +'garbage' } }");
    for (let round = 1; round <= 20; round++) {
      const { code, stderr } = await ruby.count();
      assert.equal(code, 0, `round ${round}: ${stderr}`);
      await ruby.answers();
    }
  }).timeout(120_000);

  it("in a signal handler", async () => {
    ruby = await Awkward.start(
      "trap('USR1') { loop { 'busy' * 100 } }; Process.kill('USR1', $$); sleep",
    );
    for (let round = 1; round <= 3; round++) {
      const { code, stderr } = await ruby.count();
      assert.equal(code, 0, stderr);
      await ruby.answers();
    }
  });

  it("in C code that keeps all Ruby threads out: refuses in time, then nothing is done; later it works", async () => {
    // C's system(3), called with the lock that lets one Ruby thread run: no signal ends it, what is written to the pipe does.
    ruby = await Awkward.start(
      `Fiddle::Function.new(Fiddle::Handle::DEFAULT["system"], [Fiddle::TYPE_VOIDP], Fiddle::TYPE_INT, need_gvl: true)
         .call("head -c 1 <&3 >/dev/null"); sleep`,
      ["-rfiddle"],
    );
    const { code, stderr } = await ruby.count(2);
    assert.deepEqual([code, /error \[capture\/busy\]/.test(stderr)], [1, true], stderr);
    ruby.release();
    await ruby.answers();
    const later = await ruby.count();
    assert.equal(later.code, 0, later.stderr);
    await ruby.answers();
  }).timeout(90_000);

  it("in at_exit", async () => {
    ruby = await Awkward.start("at_exit { sleep }; exit");
    const { code, stderr } = await ruby.count();
    assert.equal(code, 0, stderr);
    await ruby.answers();
  });
});
