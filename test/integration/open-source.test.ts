import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 as zlibCrc32, gzipSync } from "node:zlib";
import { openSource } from "../../src/decode/open-source.js";
import { HeapdumpError } from "../../src/errors.js";

const text = Buffer.from(
  Array.from({ length: 60_000 }, (_, index) => `{"address":"0x${index.toString(16)}"}\n`).join(""),
);
const whole = gzipSync(text);
const flipped = (bytes: Buffer, at: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] as number) ^ 0x55;
  return copy;
};
/** Damage costs at most the piece that it is met in. */
const lossMax = 32 << 10;

describe("openSource", () => {
  let folder: string;
  before(() => (folder = mkdtempSync(join(tmpdir(), "heapdump-open-"))));
  after(() => rmSync(folder, { recursive: true, force: true }));

  const cases: [string, Buffer, "whole" | RegExp, number][] = [
    ["a plain file", text, "whole", text.length],
    ["gzip under any name", whole, "whole", text.length],
    [
      "gzip of two members",
      Buffer.concat([gzipSync(text.subarray(0, 999_999)), gzipSync(text.subarray(999_999))]),
      "whole",
      text.length,
    ],
    ["a gzip without its end", whole.subarray(0, -4), /unexpected end/, text.length - lossMax],
    [
      "a gzip with a bad checksum",
      flipped(whole, whole.length - 6),
      /data check/,
      text.length - lossMax,
    ],
    [
      "a gzip cut in the middle",
      whole.subarray(0, whole.length / 2),
      /unexpected end/,
      text.length / 3,
    ],
  ];
  for (const [what, bytes, expected, bytesMin] of cases) {
    it(`reads ${what}, twice, with one fingerprint`, async () => {
      const path = join(folder, "some.json");
      writeFileSync(path, bytes);
      const source = await openSource(path);
      let firstPass: Buffer | undefined;
      for (let pass = 0; pass < 2; pass++) {
        const parts: Buffer[] = [];
        let damage: unknown;
        try {
          for await (const chunk of source.chunks()) {
            parts.push(Buffer.from(chunk));
            // The second pass waits for a server now and then: it must not get less of a damaged file.
            if (pass === 1) await sleep(2);
          }
        } catch (error) {
          damage = error;
        }
        const read = Buffer.concat(parts);
        assert.ok(read.equals(text.subarray(0, read.length)));
        assert.ok(read.length >= bytesMin, `${read.length} bytes`);
        firstPass ??= read;
        assert.ok(read.equals(firstPass), `${read.length} bytes, then ${firstPass.length}`);
        if (expected === "whole") assert.equal(damage, undefined);
        else {
          assert.ok(damage instanceof HeapdumpError && damage.code === "decode/corrupt");
          assert.match(damage.message, expected);
        }
        const checksum = zlibCrc32(bytes).toString(16).padStart(8, "0");
        if (expected === "whole") assert.equal(source.fingerprint(), `${bytes.length}-${checksum}`);
      }
      await source.close();
    });
  }
});
