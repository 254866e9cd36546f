import { open } from "node:fs/promises";
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
 * @throws {HeapdumpError} `decode/spool`, here and when it is written
 */
export async function openRejectsFile(path: string): Promise<RejectsFile> {
  const handle = await told(open(path, "w", 0o600));
  return {
    append: async (file, rejects) => {
      const lines = rejects.map(({ raw, ...reject }) => {
        const line = { file, ...reject, raw_base64: Buffer.from(raw).toString("base64") };
        return `${JSON.stringify(line)}\n`;
      });
      await told(handle.appendFile(lines.join("")));
    },
    close: () => handle.close(),
  };
}

/** A fault of the file, in our words. */
async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === "ENOSPC" ? "the disk is full" : message;
    throw new HeapdumpError("decode/spool", `--rejects-file: ${reason}`, { cause: error });
  }
}
