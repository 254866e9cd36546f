import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { HeapdumpError } from "../errors.js";

/** What the converter is told, on its standard input: the command line would show it to every user of the machine. */
export type ConvertJob = {
  /** V8's snapshot; removed when the job is over, however it ends. */
  readonly snapshot: string;
  /** The dump's final name. */
  readonly file: string;
  /** A mode of redaction, as `textOfMode` writes it. */
  readonly redact?: string | undefined;
  /** Fields of the header line. */
  readonly header: Readonly<Record<string, unknown>>;
};

export type Converted = { readonly bytes: number; readonly objects: number };

/**
 * Converts a snapshot to our own lines in a process of its own, at the lowest priority.
 *
 * The process outlives ours: a dump that was begun is finished, also where the application ends meanwhile.
 *
 * @throws {HeapdumpError} `capture/failed` with the converter's own words
 */
export async function convertApart(job: ConvertJob): Promise<Converted> {
  // `bin/` joins the stages; capture/ knows the converter by its path alone.
  const script = fileURLToPath(new URL("../../bin/convert-snapshot.js", import.meta.url));
  const environment: NodeJS.ProcessEnv = { ...process.env, ELECTRON_RUN_AS_NODE: "1" };
  // The application's own preloads and inspector ports are not the converter's.
  delete environment["NODE_OPTIONS"];
  delete environment["NODE_CHANNEL_FD"];
  const child = spawn(process.execPath, [script], {
    detached: true,
    env: environment,
    stdio: ["pipe", "pipe", "pipe"],
    windowsHide: true,
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8");
    child[name].on("data", (text: string) => (output[name] += text));
  }
  // A converter that fails at once closes its input before it was read.
  child.stdin.on("error", () => undefined);
  child.stdin.end(JSON.stringify(job));
  const exit = await new Promise<number | string>((done, failed) => {
    child.once("error", failed);
    child.once("close", (code, signal) => done(code ?? signal ?? "unknown"));
  }).catch((error: unknown) => {
    throw new HeapdumpError("capture/failed", "the converter does not start", { cause: error });
  });
  if (exit !== 0) {
    throw new HeapdumpError(
      "capture/failed",
      `the converter ended with ${exit}: ${output.stderr.trim().slice(-500)}`,
    );
  }
  return JSON.parse(output.stdout) as Converted;
}
