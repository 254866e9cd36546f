import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decompress } from "fzstd";
import fc from "fast-check";
import { gemFormat } from "../../../src/decode/format-gem.js";
import { objspaceFormat, ownFormat } from "../../../src/decode/format-objspace.js";
import { decodeDump, type DecodedDump } from "../../support/decode-both.js";

const gemDump = Buffer.from(
  decompress(
    readFileSync(new URL("../../../../test/fixtures/gem-ruby200-A.json.zst", import.meta.url)),
  ),
);

describe("scanning in threads", function () {
  this.timeout(60_000);

  it("says of a real dump what one thread says, in the same order", async () => {
    const pieces = { chunkBytes: 65_536, blockBytes: 100_000 };
    const alone = await decodeDump(gemFormat, gemDump, pieces);
    same(await decodeDump(gemFormat, gemDump, { ...pieces, threads: 2 }), alone);
    assert.equal(alone.ledger.objects, 53_388); // With `_ROOTS_`.
  });

  it("keeps lines, rejects, roots and repairs in place, however the dump is cut", async () => {
    const record = fc.oneof(
      fc.nat(200).map((id) => `{"address":"0x${(id + 1).toString(16)}","type":"OBJECT"}`),
      fc
        .tuple(fc.nat(50), fc.constantFrom("A", "B", "C"), fc.nat(30))
        .map(
          ([id, name, line]) =>
            `{"address":"0x${(id + 300).toString(16)}","type":"T${name}","file":"${name}.rb","line":${line},"class_name":"${name}","references":["0x5","0x6"]}`,
        ),
      fc.constant("ROOT"),
      fc.constantFrom("", "{", '{"type":5}', "nonsense", '{"address":"0x1","type":"S","v":"\xff"}'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(record, { minLength: 1, maxLength: 80 }),
        fc.integer({ min: 20, max: 400 }),
        fc.constantFrom("\n", ""),
        async (drawn, blockBytes, end) => {
          // Each root has a name of its own: one that comes again begins a second dump.
          const lines = drawn.map((line, index) =>
            line === "ROOT" ? `{"type":"ROOT","root":"r${index}"}` : line,
          );
          const bytes = Buffer.from(lines.join("\n") + end, "latin1");
          const pieces = { chunkBytes: 64, blockBytes };
          const alone = await decodeDump(objspaceFormat, bytes, pieces);
          same(await decodeDump(objspaceFormat, bytes, { ...pieces, threads: 1 }), alone);
        },
      ),
      { numRuns: 15 },
    );
  });

  it("sees where a second dump begins, whatever the first was", async () => {
    const objects = (from: number): string[] =>
      Array.from(
        { length: 30 },
        (_, id) => `{"address":"0x${(from + id).toString(16)}","type":"X"}`,
      );
    const roots = ["vm", "stack", "vm"].map((root) => `{"type":"ROOT","root":"${root}"}`);
    const gem = (from: number): string[] =>
      Array.from({ length: 30 }, (_, id) => `,{"id":${from + id},"bt":"T_OBJECT"}`);
    const header = '{"type":"HEADER","format":"heapdump-mongo","format_version":1,"producer":"t"';
    const trailer = `${header},"counts":{"objects":30,"roots":0}}`;
    const objspace = [...roots, ...objects(16)];
    const glued: [string, typeof gemFormat, string[], number][] = [
      ["dump_all twice", objspaceFormat, [...objspace, ...roots, ...objects(99)], 34],
      ["the same twice", objspaceFormat, [...objspace, ...objspace], 34],
      ["the gem's and lines", gemFormat, ["[", ...gem(1), "]", ...gem(99)], 33],
      [
        "behind a bracket on its line",
        gemFormat,
        ["[", ...gem(1), ',{"id":88,"bt":"T_X"}]', ...gem(99)],
        33,
      ],
      ["ours and dump_all", ownFormat, [`${header}}`, ...objects(16), trailer, ...objspace], 33],
    ];
    for (const [what, format, lines, lineNumber] of glued) {
      for (const blockBytes of [40, 300, 100_000]) {
        for (const threads of [0, 1]) {
          const bytes = Buffer.from(lines.join("\n"));
          await assert.rejects(
            decodeDump(format, bytes, { chunkBytes: 32, blockBytes, threads }),
            new RegExp(`dump:${lineNumber}: a second dump begins here`),
            `${what} in blocks of ${blockBytes}`,
          );
        }
      }
    }
    // Roots in other places are no second dump.
    const filtered = [...objects(16), ...roots, ...objects(99), ...roots.slice(0, 1)];
    const whole = await decodeDump(objspaceFormat, Buffer.from(filtered.join("\n")), {});
    assert.equal(whole.ledger.objects, 64);
  });

  it("refuses a second dump in a later block, and ends its threads", async () => {
    const header = '{"type":"HEADER","format":"heapdump-mongo","format_version":1,"producer":"t"}';
    const lines = Array.from({ length: 200 }, (_, id) => `{"address":"0x${id + 1}","type":"X"}`);
    const dump = Buffer.from([...lines, header, ...lines].join("\n"));
    await assert.rejects(
      decodeDump(ownFormat, dump, { chunkBytes: 64, blockBytes: 200, threads: 2 }),
      /dump:201: a second dump begins here/,
    );
  });
});

function same(threaded: DecodedDump, alone: DecodedDump): void {
  assert.deepEqual(threaded.ledger, alone.ledger);
  assert.deepEqual(threaded.rejects, alone.rejects);
  assert.deepEqual(threaded.scanned, alone.scanned);
  assert.equal(threaded.documents.length, alone.documents.length);
  for (const [index, document] of threaded.documents.entries()) {
    assert.ok(document.equals(alone.documents[index] as Buffer), `document ${index}`);
  }
}
