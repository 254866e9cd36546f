import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stopServer } from "../../src/load/server/managed-server.js";
import { testEnvironment } from "../support/mongod.js";
import { repositoryPath, type Outcome } from "../support/run.js";

/** A block may take this long: the first one may have to obtain mongod. Unit: milliseconds. */
const blockMs = 180_000;

/** What the README's first command does before anything else. */
const setUp = /^npm ci && npm run build && /;

/** What is not linked into the folder where the blocks run: they must not reach our history or our work. */
const notLinked = [".git", ".ci"];

/** Languages of blocks that are no commands. `bash`, `shell` and such would escape the test. */
const otherLanguages = ["", "js", "ts", "ruby", "json", "yaml", "text", "ini"];

type Block = {
  readonly lineNumber: number;
  readonly language: string;
  readonly text: string;
  /** Why it is not run, by a comment right before it: `<!-- not run: … -->`. */
  readonly notRun: string | undefined;
};

describe("README.md", function () {
  this.timeout(blockMs + 30_000);
  const readme = repositoryPath("README.md");
  const blocks = existsSync(readme) ? blocksOf(readFileSync(readme, "utf8")) : [];
  let folder: string;
  let environment: NodeJS.ProcessEnv;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "heapdump-readme-"));
    for (const name of readdirSync(repositoryPath(""))) {
      if (!notLinked.includes(name)) symlinkSync(repositoryPath(name), join(folder, name));
    }
    // One home for all blocks, as for a reader who follows them from the top.
    environment = { ...testEnvironment(), HEAPDUMP_HOME: join(folder, ".home") };
    // `npm test` sets these for us; they would change what npx does.
    for (const name of Object.keys(environment)) {
      if (/^npm_/.test(name)) Reflect.deleteProperty(environment, name);
    }
  });
  after(async () => {
    await stopServer(environment);
    rmSync(folder, { recursive: true, force: true });
  });

  it("holds its commands in sh blocks", () => {
    assert.ok(
      blocks.some(({ language }) => language === "sh"),
      "README.md is missing, or has no sh block",
    );
    for (const { language, lineNumber } of blocks) {
      if (language === "sh") continue;
      assert.ok(
        otherLanguages.includes(language),
        `README.md:${lineNumber}: "${language}"; commands stand in sh blocks`,
      );
    }
  });

  for (const { language, lineNumber, text, notRun } of blocks) {
    if (language !== "sh") continue;
    const title = `line ${lineNumber}: ${text.split("\n")[0]?.slice(0, 70)}`;
    if (notRun !== undefined) it(`${title} (not run: ${notRun})`);
    else if (setUp.test(text) && !/\bnpm (ci|test)\b/.test(text.replace(setUp, ""))) {
      // The set-up has just been done, by .ci/run, into the very folder where this runs: what comes behind it is run.
      it(title, async () => {
        const { code, stdout, stderr } = await runBlock(
          text.replace(setUp, ""),
          folder,
          environment,
        );
        assert.equal(code, 0, `${text}\n${stdout.slice(-2_000)}\n${stderr.slice(-2_000)}`);
      });
    } else if (/\bnpm (ci|test)\b/.test(text)) {
      // It is running at this moment, by .ci/run, which takes the same words.
      it(title, () => assert.ok(ciWords().includes(text.trim()), "not what .ci/run runs"));
    } else {
      it(title, async () => {
        const { code, stdout, stderr } = await runBlock(text, folder, environment);
        assert.equal(code, 0, `${text}\n${stdout.slice(-2_000)}\n${stderr.slice(-2_000)}`);
      });
    }
  }
});

describe("the reader of README.md", () => {
  it("finds blocks, their language and what is not run", () => {
    const text = [
      "# x",
      "```sh",
      "echo 1",
      "echo 2",
      "```",
      "<!-- not run: needs docker -->",
      "",
      "```sh",
      "docker compose up",
      "```",
      "- in a list:",
      "  ```js",
      "  f();",
      "  ```",
    ];
    assert.deepEqual(blocksOf(text.join("\n")), [
      { lineNumber: 2, language: "sh", text: "echo 1\necho 2", notRun: undefined },
      { lineNumber: 8, language: "sh", text: "docker compose up", notRun: "needs docker" },
      { lineNumber: 12, language: "js", text: "f();", notRun: undefined },
    ]);
  });

  it("sees a command that fails in the middle of a block", async () => {
    const { code, stdout } = await runBlock("echo one; false\necho two", tmpdir(), process.env);
    assert.deepEqual([code, stdout], [1, "one\n"]);
  });
});

function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  for (let index = 0; index < lines.length; index++) {
    const fence = /^( *)```([a-z]*)/.exec(lines[index] ?? "");
    if (fence === null) continue;
    const [, indent = "", language = ""] = fence;
    const end = lines.findIndex((line, at) => at > index && line.startsWith(`${indent}\`\`\``));
    assert.ok(end > 0, `README.md:${index + 1}: the block has no end`);
    const before = lines.slice(0, index).findLast((line) => line.trim() !== "");
    const inside = lines.slice(index + 1, end).map((line) => line.slice(indent.length));
    blocks.push({
      lineNumber: index + 1,
      language,
      text: inside.join("\n"),
      notRun: /^ *<!-- not run: (.*) -->$/.exec(before ?? "")?.[1],
    });
    index = end;
  }
  return blocks;
}

/** The test command, as .ci/run has it. */
function ciWords(): string {
  return readFileSync(repositoryPath(".ci/run"), "utf8");
}

/** Runs a block as it stands, stopping at the first command that fails; what it leaves running ends with it. */
function runBlock(text: string, cwd: string, env: NodeJS.ProcessEnv): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn("bash", ["-euo", "pipefail", "-c", text], {
      cwd,
      env,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    const endGroup = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // Nothing of it is left.
      }
    };
    const late = setTimeout(endGroup, blockMs);
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.once("error", reject);
    child.once("exit", endGroup);
    child.once("close", (code) => {
      clearTimeout(late);
      resolve({ code, stdout, stderr });
    });
  });
}
