import { randomBytes } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isReplaceable } from "../../src/capture/out-file.js";

/**
 * Writes a text file at once, so that a reader never sees half of it. What is no file, like /dev/stdout, is written to
 * where it is.
 *
 * @param mode - a metrics file is read by another user (node_exporter): 0644; all else is 0600
 */
export async function writeTextfile(file: string, text: string, mode: number): Promise<void> {
  if (!(await isReplaceable(file))) {
    await writeFile(file, text);
    return;
  }
  // node_exporter reads *.prom only: the temporary name must not end so.
  const part = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString("hex")}.part`);
  try {
    await writeFile(part, text, { mode, flag: "wx" });
    await rename(part, file);
  } finally {
    await rm(part, { force: true });
  }
}
