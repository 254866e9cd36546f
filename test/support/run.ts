import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { testEnvironment } from "./mongod.js";

export type Outcome = {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

/** Path of a file in the repository. */
export function repositoryPath(path: string): string {
  return fileURLToPath(new URL(`../../../${path}`, import.meta.url));
}

/** Runs one of our commands as a user would: the built file, a process of its own. */
export function run(
  command: string,
  args: readonly string[],
  options: { input?: string | Buffer; environment?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [repositoryPath(`dist/bin/${command}.js`), ...args], {
      env: { ...testEnvironment(), ...options.environment },
      cwd: options.cwd ?? process.cwd(),
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
    child.stdin.on("error", () => undefined); // It may end before it has read all.
    child.stdin.end(options.input ?? "");
  });
}
