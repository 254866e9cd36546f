import { createHmac, randomBytes } from "node:crypto";
import { HeapdumpError } from "./errors.js";

/**
 * What is redacted: all strings but names of the program, what strings of the heap say, or what fits a pattern.
 *
 * Shared by `decode/` (an import's documents, a conversion's lines) and `capture/` (what a producer is told).
 */
export type RedactionMode = "all" | "values" | RegExp;

export type Redaction = {
  readonly mode: RedactionMode;
  /** Equal strings get equal hashes under one key. Default: a new random key. */
  readonly key?: Buffer | undefined;
};

/**
 * Reads a mode as it is typed: `all`, `values`, or a regular expression, between slashes or bare.
 *
 * @throws {HeapdumpError} `usage/bad-option`
 */
export function redactionModeOf(text: string): RedactionMode {
  if (text === "all" || text === "values") return text;
  const [, source, flags] = /^\/(.*)\/(i?)$/s.exec(text) ?? [undefined, text, ""];
  try {
    // An empty pattern fits all: surely not what was meant.
    if (source !== "") return new RegExp(source as string, `u${flags as string}`);
  } catch {
    // Told below.
  }
  throw new HeapdumpError(
    "usage/bad-option",
    "redact: expected all, values or a regular expression like /@example\\.com/",
  );
}

/**
 * The mode that a producer is asked for: `true` means all.
 *
 * @throws {HeapdumpError} `usage/bad-option`
 */
export function askedMode(asked: boolean | string | RegExp | undefined): RedactionMode | undefined {
  if (asked === undefined || asked === false) return undefined;
  if (asked === true) return "all";
  return typeof asked === "string" ? redactionModeOf(asked) : asked;
}

/** The mode as `redactionModeOf` reads it. */
export function textOfMode(mode: RedactionMode): string {
  if (typeof mode === "string") return mode;
  return `/${mode.source}/${mode.ignoreCase ? "i" : ""}`;
}

/** Tells one key from another without giving it away. */
export function markOfKey(key: Buffer): string {
  return createHmac("sha256", key).update("heapdump-mongo").digest("hex").slice(0, 16);
}

/** The redaction with a key of its own where it came without. */
export function withKey(redaction: Redaction): Redaction & { readonly key: Buffer } {
  return { mode: redaction.mode, key: redaction.key ?? randomBytes(32) };
}

/** Gives a function that replaces what a string of the heap says, if it is to be hidden. */
export function textRedactorOf(redaction: Redaction): (text: string) => string {
  const { mode, key } = withKey(redaction);
  return (text) => (isHidden(mode, text) ? hidden(text, key) : text);
}

/** Whether the mode hides a text in a place where it may. */
export function isHidden(mode: RedactionMode, text: string): boolean {
  return typeof mode === "string" || mode.test(text);
}

/** Length in bytes and 64 bits of a keyed hash. */
export function hidden(text: string | Uint8Array, key: Buffer): string {
  const hash = createHmac("sha256", key).update(text).digest("hex").slice(0, 16);
  const bytes = typeof text === "string" ? Buffer.byteLength(text) : text.length;
  return `redacted:${bytes}:${hash}`;
}
