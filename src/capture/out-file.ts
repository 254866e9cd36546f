import { mkdtemp, readlink, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HeapdumpError } from "../errors.js";

/** Whether what stands there is a file that another one may take the place of: a folder or device is not. */
export async function isReplaceable(file: string): Promise<boolean> {
  const there = await stat(file).catch(() => undefined);
  if (there === undefined) return true;
  // /dev/stdout is a file where it was sent to one, but the name is everybody's.
  const link = await readlink(file).catch(() => "");
  return there.isFile() && !link.startsWith("/proc/");
}

/**
 * Says before any work is done that a dump cannot take the place of a folder or a device: whole dumps are renamed to
 * their name, and root would put one in the place of /dev/null.
 *
 * @throws {HeapdumpError} `usage/bad-option`
 */
export async function ensureReplaceable(file: string): Promise<void> {
  if (await isReplaceable(file)) return;
  const there = await stat(file).catch(() => undefined);
  const kind = there?.isDirectory() === true ? "a folder" : "no regular file";
  throw new HeapdumpError("usage/bad-option", `${file}: is ${kind}, a dump cannot be put there`);
}

/**
 * A new folder that is private to this user.
 *
 * @throws {HeapdumpError} `capture/no-space` when the system's folder for temporary files takes none
 */
export async function temporaryFolder(prefix: string): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), prefix));
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    throw new HeapdumpError(
      "capture/no-space",
      `no folder can be made in ${tmpdir()} (${code}); TMPDIR names another place`,
      { cause: error },
    );
  }
}
