import { resolve } from "node:path";

/** Who dumps, for a file's name. */
export type Dumper = { readonly pid: number; readonly threadId: number; readonly at: Date };

/**
 * Absolute path of a dump's file.
 *
 * @param template - `%p` becomes the pid (`PID_wTHREAD` in a worker thread), `%t` the time in UTC, `yyyymmddThhmmss`;
 * without one: `dump_%p_%t.<extension>`
 */
export function dumpName(
  folder: string,
  template: string | undefined,
  extension: string,
  { pid, threadId, at }: Dumper,
): string {
  const who = threadId === 0 ? String(pid) : `${pid}_w${threadId}`;
  const time = at.toISOString().slice(0, 19).replace(/[-:]/g, "");
  const name = (template ?? `dump_%p_%t.${extension}`).replace(/%[pt]/g, (mark) =>
    mark === "%p" ? who : time,
  );
  return resolve(folder, name);
}
