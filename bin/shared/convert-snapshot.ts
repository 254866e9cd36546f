import { openSource } from "../../src/decode/open-source.js";
import { snapshotLines } from "../../src/decode/v8-snapshot/snapshot-lines.js";
import type { Redaction } from "../../src/redaction.js";
import { writeDump } from "./write-dump.js";

export type ConvertOptions = {
  /** Fields of the header line that the snapshot itself does not know: pid, host, times. */
  readonly header?: Readonly<Record<string, unknown>>;
  readonly redact?: Redaction | undefined;
  readonly signal?: AbortSignal;
};

/**
 * Converts a V8 snapshot, compressed or not, to our own lines.
 *
 * @throws {HeapdumpError} `decode/no-input`, `decode/corrupt`, `capture/no-space`
 */
export async function convertSnapshot(
  snapshot: string,
  file: string,
  options: ConvertOptions = {},
): Promise<{ bytes: number }> {
  const source = await openSource(
    snapshot,
    options.signal === undefined ? {} : { signal: options.signal },
  );
  try {
    const lines = snapshotLines(source.chunks({ signal: options.signal }), {
      path: snapshot,
      // A converted file was taken when the snapshot was written, unless the caller knows better.
      header: { taken_at: source.modifiedAt.toISOString(), ...options.header },
      redact: options.redact,
    });
    return { bytes: await writeDump(lines, file, options.signal) };
  } finally {
    await source.close();
  }
}
