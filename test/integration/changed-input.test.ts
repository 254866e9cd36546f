import assert from "node:assert/strict";
import {
  appendFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Db } from "mongodb";
import { importDump } from "../../src/index.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";

const objectCount = 20_000;
/** Every word has the same length, and every line. */
const linesOf = (word: string, count = objectCount): string =>
  Array.from(
    { length: count },
    (_, node) => `{"address":"0x${(node + 16).toString(16)}","type":"STRING","value":"${word}"}\n`,
  ).join("");

/** The same in pages, the last one first: they are loaded in another order than the file's. */
const pagesOf = (word: string): string => {
  const lines = linesOf(word).split(/(?<=\n)/);
  const pages: string[] = [];
  for (let at = 0; at < lines.length; at += 400) pages.unshift(lines.slice(at, at + 400).join(""));
  return pages.join("");
};

describe("a dump that changes while it is imported", function () {
  this.timeout(60_000);
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-changed-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });

  const replacedBy = (file: string, bytes: string | Buffer): void => {
    writeFileSync(`${file}.new`, bytes);
    renameSync(`${file}.new`, file);
  };
  const cases: [string, string | Buffer, (file: string) => void][] = [
    ["grows", linesOf("first"), (file) => appendFileSync(file, linesOf("other", 1))],
    ["is cut", linesOf("first"), (file) => truncateSync(file, 300_000)],
    ["is emptied", linesOf("first"), (file) => truncateSync(file)],
    ["is written over", linesOf("first"), (file) => writeFileSync(file, linesOf("other"))],
    ["becomes something else", linesOf("first"), (file) => writeFileSync(file, "x".repeat(9e5))],
    ["is replaced by another", linesOf("first"), (file) => replacedBy(file, linesOf("other"))],
    ["is removed", linesOf("first"), (file) => rmSync(file)],
    [
      "has its pages written over",
      pagesOf("first"),
      (file) => writeFileSync(file, pagesOf("other")),
    ],
    ["has its pages cut", pagesOf("first"), (file) => truncateSync(file, 300_000)],
    ["has a page more", pagesOf("first"), (file) => appendFileSync(file, linesOf("other", 400))],
    ["has its pages sorted", pagesOf("first"), (file) => replacedBy(file, linesOf("first"))],
    ["has its pages removed", pagesOf("first"), (file) => rmSync(file)],
    [
      "is an array on one line and replaced",
      `[${linesOf("first").trimEnd().replaceAll("\n", ",")}]`,
      (file) => replacedBy(file, `[${linesOf("other").trimEnd().replaceAll("\n", ",")}]`),
    ],
    [
      "is compressed and replaced",
      gzipSync(linesOf("first")),
      (file) => replacedBy(file, gzipSync(linesOf("other"))),
    ],
  ];
  for (const [index, [what, content, change]] of cases.entries()) {
    it(`is refused, and nothing of it is left: it ${what}`, async () => {
      const db = test.client.db(`${test.name}_${index}`);
      const file = join(folder, `dump${index}.json`);
      try {
        writeFileSync(file, linesOf("older"));
        await importDump({ file, db });
        writeFileSync(file, content);
        const code = what.endsWith("removed") ? "decode/no-input" : "decode/changed";
        await assert.rejects(changing(file, db, change), (error: Error & { code: string }) => {
          assert.equal(error.code, code, error.stack);
          assert.match(error.message, new RegExp(`^${file}: `));
          return true;
        });
        // The old dump is whole, and the new one is not in the way of another try.
        const values = await db.collection(`dump${index}`).distinct("value");
        assert.deepEqual(values, ["older"]);
        if (code === "decode/changed") {
          const names = await db.listCollections({ name: /loading/ }).toArray();
          assert.deepEqual(names, []);
        }
        writeFileSync(file, linesOf("third"));
        const { entry, resumed } = await importDump({ file, db, drop: true });
        assert.equal(resumed, false);
        assert.equal(entry.counters.objects, objectCount);
        assert.deepEqual(await db.collection(`dump${index}`).distinct("value"), ["third"]);
      } finally {
        await db.dropDatabase();
      }
    });
  }

  /** Changes the file between the two passes. */
  function changing(file: string, db: Db, change: (file: string) => void): Promise<unknown> {
    return importDump({
      ...{ file, db, drop: true },
      onProgress: ({ phase, kind }) => {
        if (phase === "measure" && kind === "start") change(file);
      },
    });
  }
});
