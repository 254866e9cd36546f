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
      fc.constantFrom("vm", "stack").map((root) => `{"type":"ROOT","root":"${root}"}`),
      fc.constantFrom("", "{", '{"type":5}', "nonsense", '{"address":"0x1","type":"S","v":"\xff"}'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(record, { minLength: 1, maxLength: 80 }),
        fc.integer({ min: 20, max: 400 }),
        fc.constantFrom("\n", ""),
        async (lines, blockBytes, end) => {
          const bytes = Buffer.from(lines.join("\n") + end, "latin1");
          const pieces = { chunkBytes: 64, blockBytes };
          const alone = await decodeDump(objspaceFormat, bytes, pieces);
          same(await decodeDump(objspaceFormat, bytes, { ...pieces, threads: 1 }), alone);
        },
      ),
      { numRuns: 15 },
    );
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
