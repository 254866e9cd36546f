import { HeapdumpError } from "../errors.js";

export const dumpFormats = ["heap-dump-gem", "objspace", "heapdump-mongo", "v8-snapshot"] as const;
export type DumpFormatName = (typeof dumpFormats)[number];

/** How the records stand in the file: one a line, in an array of another layout, or as a V8 snapshot. */
export type DumpLayout = "lines" | "array" | "snapshot";
export type DetectedFormat = { readonly format: DumpFormatName; readonly layout: DumpLayout };

/**
 * Tells a dump's format from its first bytes.
 *
 * @param forced - the user's word for the format; the layout is still told from the content
 * @throws {HeapdumpError} `decode/empty`, or `decode/unknown-format` with a sentence that names what it seems to be
 */
export function detectFormat(
  firstBytes: Buffer,
  path: string,
  forced?: DumpFormatName,
): DetectedFormat {
  const text = firstBytes.toString("latin1").replace(/^\xef\xbb\xbf/, "");
  const trimmed = text.trimStart();
  if (firstBytes.length === 0) throw empty(path, "the file is empty");
  if (trimmed === "") throw empty(path, "the file holds only blank lines");
  if (/^\[\s*\]?\s*$/.test(trimmed)) throw empty(path, "the array holds no record");
  const known = /^\s*\{/.test(trimmed)
    ? objectFormat(trimmed)
    : trimmed.startsWith("[")
      ? arrayFormat(trimmed)
      : undefined;
  if (forced !== undefined) {
    const layout = known?.layout ?? (trimmed.startsWith("[") ? "array" : "lines");
    return { format: forced, layout: forced === "v8-snapshot" ? "snapshot" : layout };
  }
  if (known !== undefined) return known;
  throw new HeapdumpError(
    "decode/unknown-format",
    `${path}: this is no heap dump that we know; it seems to be ${kindOf(firstBytes, trimmed)}`,
  );
}

function empty(path: string, what: string): HeapdumpError {
  return new HeapdumpError("decode/empty", `${path}: ${what}`);
}

function objectFormat(text: string): DetectedFormat | undefined {
  if (/^\{\s*"snapshot"\s*:\s*\{\s*"meta"/.test(text)) {
    return { format: "v8-snapshot", layout: "snapshot" };
  }
  const [line = ""] = text.split("\n");
  // A first line may be cut or broken, later ones still tell.
  for (const candidate of [line, ...text.split("\n").slice(1, 20)]) {
    const format = recordFormat(candidate);
    if (format !== undefined) return { format, layout: "lines" };
  }
  return undefined;
}

function recordFormat(text: string): DumpFormatName | undefined {
  if (/^\s*\{\s*"type"\s*:\s*"HEADER"/.test(text)) return "heapdump-mongo";
  if (/"(bt)"\s*:\s*"T_/.test(text) || /"id"\s*:\s*"_ROOTS_"/.test(text)) return "heap-dump-gem";
  if (/"address"\s*:\s*"0x/.test(text) || /"type"\s*:\s*"ROOT"/.test(text)) return "objspace";
  return undefined;
}

/** The gem writes `[{…}` and then `,{…}` on lines of their own: those are read as lines, which is faster. */
function arrayFormat(text: string): DetectedFormat | undefined {
  const format = recordFormat(text.slice(1));
  if (format === undefined) return undefined;
  const [opening = ""] = /^\[[ \t]*(?=\{)/.exec(text) ?? [];
  const end = opening === "" ? -1 : endOfObject(text, opening.length);
  // A first record that does not end here: taken apart as an array, it is right either way.
  const gemLike = end >= 0 && /^[ \t\r]*\n\s*(,|\]|$)/.test(text.slice(end));
  return { format, layout: gemLike ? "lines" : "array" };
}

/** Behind the object that begins at `at`; -1: it does not end in this text. */
function endOfObject(text: string, at: number): number {
  let depth = 0;
  for (const { 0: token, index } of text.slice(at).matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    if (depth === 0) return at + index + 1;
  }
  return -1;
}

const magics: readonly (readonly [RegExp, string])[] = [
  [/^JAVA PROFILE/, "a Java heap dump (HPROF)"],
  [/^<!doctype html|^<html/i, "an HTML page"],
  [/^<\?xml|^<[a-z]/i, "XML"],
  [/^%PDF-/, "a PDF"],
  [/^\x89PNG/, "a PNG image"],
  [/^\x7fELF/, "a program or core file (ELF)"],
  [/^PK\x03\x04/, "a zip archive"],
  [/^\xfd7zXZ/, "an xz file: unpack it first"],
  [/^BZh/, "a bzip2 file: unpack it first"],
  [/^SQLite format 3/, "an SQLite database"],
  [/^(\xff\xfe|\xfe\xff)/, "UTF-16 text: convert it to UTF-8 first"],
  [/^([^\x00]\x00){3}|^(\x00[^\x00]){3}/s, "UTF-16 text: convert it to UTF-8 first"],
  [/^\x1f\x8b/, "gzip within a compressed file: unpack it once"],
  [/^\x28\xb5\x2f\xfd/, "zstd within a compressed file: unpack it once"],
  [/^#!/, "a script"],
  [/^[^\n]{257}ustar/s, "a tar archive: unpack it first"],
  [/^PERFILE2/, "samples of perf record"],
  [/^MDMP/, "a Windows minidump"],
  [/^\s*\{\s*"traceEvents"/, "a Chrome trace"],
  [/^\s*\{\s*"head"\s*:\s*\{\s*"callFrame"/, "a sampled allocation profile of V8 (.heapprofile)"],
  [/^\s*\{\s*"nodes"\s*:\s*\[\s*\{\s*"id"\s*:\s*\d+\s*,\s*"callFrame"/, "a CPU profile of V8"],
];

function kindOf(bytes: Buffer, text: string): string {
  for (const [pattern, kind] of magics) if (pattern.test(text)) return kind;
  if (
    bytes.length >= 5 &&
    bytes.readInt32LE(0) >= 5 &&
    bytes.readInt32LE(0) < 16_800_000 &&
    bytes[4] !== undefined &&
    [1, 2, 3, 4, 5, 7, 16, 18].includes(bytes[4])
  ) {
    return "BSON (a mongodump file?)";
  }
  if (text.startsWith("{") || text.startsWith("[")) {
    const keys = [...text.slice(0, 2000).matchAll(/"([A-Za-z0-9_$]{1,30})"\s*:/g)].slice(0, 4);
    if (keys.length === 0) return "JSON of another shape";
    return `JSON of another shape, with the keys ${keys.map((key) => key[1]).join(", ")}`;
  }
  if (/[\x00-\x08\x0e-\x1f]/.test(text.slice(0, 1000))) return "a binary file";
  if (/^[^\n,;\t]+([,;\t][^\n,;\t]*)+\r?\n/.test(text)) return "a CSV table";
  return "plain text";
}
