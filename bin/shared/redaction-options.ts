import { randomBytes } from "node:crypto";
import { link, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HeapdumpError } from "../../src/errors.js";
import { privateBase } from "../../src/load/server/home.js";
import { redactionModeOf, type Redaction } from "../../src/redaction.js";

const keyBytes = 32;

/** `--redact` alone means all: parseArgs knows no option with a value that may be left out. */
export function withRedactValue(argv: readonly string[]): string[] {
  return argv.map((word) => (word === "--redact" ? "--redact=all" : word));
}

/**
 * What `--redact` asks for, with a key: HEAPDUMP_REDACT_KEY, else one of the user's own that is drawn once. An import
 * that goes on after a crash, and dumps of one user that are compared, must have the same key.
 *
 * @throws {HeapdumpError} `usage/bad-option`
 */
export async function redactionOf(text: string | undefined): Promise<Redaction | undefined> {
  if (text === undefined) return undefined;
  const mode = redactionModeOf(text);
  const given = process.env["HEAPDUMP_REDACT_KEY"];
  return {
    mode,
    key: given === undefined || given === "" ? await ownKey() : Buffer.from(given),
  };
}

/** The key in the user's private folder. */
async function ownKey(): Promise<Buffer> {
  const file = join(await privateBase(), "redact.key");
  const drawn = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    return await keyIn(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  try {
    await writeFile(drawn, `${randomBytes(keyBytes).toString("hex")}\n`, {
      mode: 0o600,
      flag: "wx",
    });
    // Of two commands that draw at the same time, one wins and both use its key.
    await link(drawn, file).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    });
  } finally {
    await rm(drawn, { force: true });
  }
  return keyIn(file);
}

async function keyIn(file: string): Promise<Buffer> {
  const key = Buffer.from((await readFile(file, "latin1")).trim(), "hex");
  if (key.length === keyBytes) return key;
  throw new HeapdumpError(
    "usage/bad-option",
    `--redact: ${file} holds no key; remove it for a new one, or set HEAPDUMP_REDACT_KEY`,
  );
}
