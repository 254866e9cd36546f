import { existsSync } from "node:fs";
import { delimiter, dirname, join, relative, resolve } from "node:path";

/**
 * How the user runs another command from where this one was run: from a clone by its file, by npx, or by name where it
 * is on PATH.
 */
export function nextCommand(
  name: string,
  at: { script?: string; folder: string | undefined; environment: NodeJS.ProcessEnv } = {
    script: process.argv[1] ?? "",
    folder: workingFolder(),
    environment: process.env,
  },
): string {
  const { script = "", folder, environment } = at;
  const beside = join(dirname(script), `${name}.js`);
  if (script.endsWith(".js") && existsSync(beside)) {
    const path = folder === undefined ? beside : relative(folder, beside);
    return `node ${/^[\w./-]+$/.test(path) ? path : JSON.stringify(path)}`;
  }
  // npx and npm scripts put their folders in front of PATH for the time of the command.
  const isOnPath = (environment["PATH"] ?? "")
    .split(delimiter)
    .some(
      (entry) => !entry.includes("node_modules") && existsSync(resolve(folder ?? "/", entry, name)),
    );
  return isOnPath ? name : `npx ${name}`;
}

/** Undefined: somebody has removed it. */
function workingFolder(): string | undefined {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}
