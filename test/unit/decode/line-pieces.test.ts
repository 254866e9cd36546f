import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { beginScan, scanBlocks, type Scan } from "../../../src/decode/scan-dump.js";
import { inRunOrder } from "../../../src/decode/line-pieces.js";
import { objspaceFormat } from "../../../src/decode/format-objspace.js";
import { openSource, type DumpSource } from "../../../src/decode/open-source.js";
import { lineBlocksOfFile } from "../../../src/decode/split-lines.js";

/** A page's objects have ascending ids; its text is long enough that pages are worth a read each. */
const pageText = (page: number, objects: number): string =>
  Array.from({ length: objects }, (_, index) => {
    const address = (page * 0x1_0000 + index * 40).toString(16);
    return `{"address":"0x${address}","type":"STRING","value":"${"x".repeat(40)}"}\n`;
  }).join("");

describe("inRunOrder", () => {
  let folder: string;
  before(() => (folder = mkdtempSync(join(tmpdir(), "heapdump-runs-"))));
  after(() => rmSync(folder, { recursive: true, force: true }));

  async function scanned(text: string, blockBytes: number): Promise<[DumpSource, Scan]> {
    const file = join(folder, "dump.json");
    writeFileSync(file, text);
    const source = await openSource(file);
    const scan = beginScan(objspaceFormat);
    const readInto = source.readInto();
    assert.ok(readInto !== undefined);
    const blocks = lineBlocksOfFile(readInto, { blockBytes });
    for await (const block of scanBlocks(blocks, scan, { file })) void block;
    return [source, scan];
  }

  /** The lines in the order of loading, each with its number and its node. */
  async function linesInOrder(source: DumpSource, scan: Scan): Promise<[number, number, string][]> {
    const runs = scan.runs.inOrder(source.bytesOnDisk, scan.objectLines);
    const pieces = source.pieces();
    assert.ok(runs !== undefined && pieces !== undefined);
    const lines: [number, number, string][] = [];
    let line = 0;
    let node = 0;
    for await (const { bytes, stretches } of inRunOrder(runs, pieces.read)) {
      for (const { from, to, first } of stretches) {
        if (first !== undefined) ({ line, node } = first);
        for (const text of bytes.toString("utf8", from, to).replace(/\n$/, "").split("\n")) {
          lines.push([line, node, text]);
          if (scan.objectLines.has(line++)) node++;
        }
      }
    }
    await pieces.end();
    return lines;
  }

  it("gives each line once, with its number and node, run by run of ascending ids, however the file is cut", () =>
    fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 2, maxLength: 8 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 50, max: 5000 }),
        async (pages, objects, blockBytes) => {
          fc.pre(pages.some((page, index) => index > 0 && page < (pages[index - 1] as number)));
          const root = '{"type":"ROOT", "root":"vm", "references":["0x10000"]}\n';
          const text = root + pages.map((page) => pageText(page, objects)).join("\n");
          const [source, scan] = await scanned(text, blockBytes);
          const ordered = await linesInOrder(source, scan);
          await source.close();
          const all = text.trimEnd().split("\n");
          assert.deepEqual(
            ordered.map(([line]) => line).sort((one, two) => one - two),
            all.map((_, line) => line),
          );
          for (const [line, node, found] of ordered) {
            assert.equal(found, all[line]);
            assert.equal(node, all.slice(0, line).filter((one) => one !== "").length);
          }
          const idsOf = (lines: readonly string[]): number[] =>
            lines.flatMap((one) => /"address":"(0x\w+)"/.exec(one)?.[1] ?? []).map(Number);
          const runs: number[][] = [];
          for (const id of idsOf(all)) {
            const last = runs.at(-1);
            if (last !== undefined && id > (last.at(-1) as number)) last.push(id);
            else runs.push([id]);
          }
          runs.sort(([one = 0], [two = 0]) => one - two);
          assert.deepEqual(idsOf(ordered.map(([, , one]) => one)), runs.flat());
        },
      ),
      { numRuns: 200 },
    ));

  it("reads a line longer than a piece", async () => {
    const long = `{"address":"0x90000","type":"STRING","value":"${"y".repeat(9 << 20)}"}\n`;
    const text = `${long}${pageText(2, 3)}${pageText(1, 3)}`;
    const [source, scan] = await scanned(text, 1 << 20);
    const ordered = await linesInOrder(source, scan);
    await source.close();
    assert.deepEqual(
      ordered.map(([line]) => line),
      [4, 5, 6, 1, 2, 3, 0],
    );
    assert.equal(ordered.at(-1)?.[2], long.trimEnd());
  });

  it("refuses a file that is another one by then", async () => {
    const [source, scan] = await scanned(pageText(2, 300) + pageText(1, 300), 5000);
    writeFileSync(join(folder, "dump.json"), pageText(2, 300) + pageText(1, 300).replace("x", "y"));
    await assert.rejects(linesInOrder(source, scan), { code: "decode/changed" });
    await source.close();
  });

  it("keeps the file's order where ids ascend, and where no two neighbours do", async () => {
    for (const text of [
      pageText(1, 300) + pageText(2, 300),
      pageText(1, 3000).trimEnd().split("\n").reverse().join("\n"),
    ]) {
      const [source, scan] = await scanned(text, 5000);
      assert.equal(scan.runs.inOrder(source.bytesOnDisk, scan.objectLines), undefined);
      await source.close();
    }
  });
});
