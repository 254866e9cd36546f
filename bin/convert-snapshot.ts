/** The producer's converter, a process of its own: takes a job on standard input, gives its result on standard output. */
import { rm } from "node:fs/promises";
import { setPriority } from "node:os";
import { json } from "node:stream/consumers";
import type { ConvertJob } from "../src/capture/convert-apart.js";
import { exitCodes } from "../src/errors.js";
import { redactionModeOf, type Redaction } from "../src/redaction.js";
import { convertSnapshot } from "./shared/convert-snapshot.js";
import { printFailure } from "./shared/run-command.js";

/** No home is looked for: the application's user may have none. */
function redactionFor(mode: string | undefined): Redaction | undefined {
  if (mode === undefined) return undefined;
  const key = process.env["HEAPDUMP_REDACT_KEY"];
  return {
    mode: redactionModeOf(mode),
    key: key === undefined || key === "" ? undefined : Buffer.from(key),
  };
}

/** The lowest: the application goes first. */
const priority = 19;

// The application may be gone when we are done: nobody listens then, and the dump counts.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
setPriority(priority);
const job = (await json(process.stdin)) as ConvertJob;
try {
  const { bytes } = await convertSnapshot(job.snapshot, job.file, {
    header: job.header,
    redact: redactionFor(job.redact),
  });
  process.stdout.write(JSON.stringify({ bytes }));
  process.exitCode = exitCodes.ok;
} catch (error) {
  process.exitCode = printFailure(error);
} finally {
  await rm(job.snapshot, { force: true });
}
