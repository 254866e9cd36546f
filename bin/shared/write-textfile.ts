import { randomBytes } from "node:crypto";
import { readlink, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * Writes a text file at once, so that a reader never sees half of it. What is no file, like /dev/stdout, is written to
 * where it is.
 *
 * @param mode - a metrics file is read by another user (node_exporter): 0644; all else is 0600
 */
export async function writeTextfile(file: string, text: string, mode: number): Promise<void> {
  const there = await stat(file).catch(() => undefined);
  const link = await readlink(file).catch(() => "");
  if (there !== undefined && (!there.isFile() || link.startsWith("/proc/"))) {
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
