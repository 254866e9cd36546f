import type { DumpFormatName } from "./detect-format.js";
import { gemFormat } from "./format-gem.js";
import { objspaceFormat, ownFormat } from "./format-objspace.js";
import type { LineFormat } from "./line-format.js";

/** Every format with one object a line. V8 snapshots are read whole, by `v8-snapshot/`. */
export const lineFormats = [gemFormat, objspaceFormat, ownFormat] as const;

/** The line format of that name. */
export function lineFormatOf(name: Exclude<DumpFormatName, "v8-snapshot">): LineFormat {
  const format = lineFormats.find((one) => one.name === name);
  if (format === undefined) throw new Error(`no line format ${name}`);
  return format;
}
