import { open, stat } from "node:fs/promises";
import { HeapdumpError } from "../errors.js";
import type { Reject } from "../../schemas/reject.js";

/** A file that gets the refused records of one or more dumps, one JSON object a line; private to the user. */
export type RejectsFile = {
  /** @param file - the dump that they are of */
  append(file: string, rejects: readonly Reject[]): Promise<void>;
  close(): Promise<void>;
};

/**
 * Begins the file anew: an import that goes on tells all of its rejects again.
 *
 * @param dumps - files that it must not be: they would be emptied
 * @throws {HeapdumpError} `decode/spool`, here and when it is written; `usage/bad-option` when it is one of the dumps
 */
export async function openRejectsFile(
  path: string,
  dumps: readonly string[],
): Promise<RejectsFile> {
  for (const dump of dumps) {
    if (await isSameFile(path, dump)) {
      throw new HeapdumpError("usage/bad-option", `--rejects-file: ${path} is the dump itself`);
    }
  }
  const handle = await told(path, open(path, "w", 0o600));
  return {
    append: async (file, rejects) => {
      const lines = rejects.map(({ raw, ...reject }) => {
        const line = { file, ...reject, raw_base64: Buffer.from(raw).toString("base64") };
        return `${JSON.stringify(line)}\n`;
      });
      await told(path, handle.appendFile(lines.join("")));
    },
    close: () => handle.close(),
  };
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all(
    [one, other].map((path) => stat(path).catch(() => undefined)),
  );
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino;
}

/** A fault of the file, in our words. */
async function told<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new HeapdumpError("decode/spool", `--rejects-file: ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "its folder does not exist";
  if (code === "EISDIR") return "it is a folder";
  if (code === "EACCES" || code === "EPERM") return "it may not be written by this user";
  if (code === "EROFS") return "the disk is read-only";
  if (code === "ENOSPC") return "the disk is full";
  return message;
}
