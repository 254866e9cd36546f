import assert from "node:assert/strict";
import fc from "fast-check";
import { objspaceFormat } from "../../../src/decode/format-objspace.js";
import { decodeDump, fieldsOf, type DecodeOptions } from "../../support/decode-both.js";

/** Lines that no page of a heap is made of: each belongs to the run that it stands in. */
const others = ["", "nonsense", '{"type":5}', '{"address":"0x5","type":"OBJECT"}'];

/** Pages of a heap in any order, some with other lines; ids ascend inside of each. */
const dumps = fc
  .record({
    pages: fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 2, maxLength: 12 }),
    order: fc.infiniteStream(fc.nat()),
    isDescending: fc.boolean(),
    other: fc.infiniteStream(fc.option(fc.constantFrom(...others), { freq: 8 })),
    text: fc.infiniteStream(fc.nat(60)),
    hasRoot: fc.boolean(),
    end: fc.constantFrom("\n", ""),
  })
  .map(({ pages, order, isDescending, other, text, hasRoot, end }) => {
    const drawn = pages.map((count, page) => {
      const lines = Array.from({ length: count }, (_, slot) => {
        const id = `0x${((page + 1) * 256 + slot * 8).toString(16)}`;
        const value = "x".repeat(text.next().value ?? 0);
        return `{"address":"${id}","type":"STRING","value":"${value}"}`;
      });
      const more = other.next().value;
      return {
        at: isDescending ? -page : (order.next().value ?? 0),
        lines: typeof more === "string" ? [...lines, more] : lines,
      };
    });
    drawn.sort((one, two) => one.at - two.at);
    const root = hasRoot ? ['{"type":"ROOT","root":"vm","references":["0x100"]}'] : [];
    return Buffer.from([...root, ...drawn.flatMap(({ lines }) => lines)].join("\n") + end);
  });

describe("documentBlocks, by runs", function () {
  this.timeout(60_000);

  it("gives what the file's order gives, whatever the cuts and threads, in one order", () =>
    fc.assert(
      fc.asyncProperty(
        dumps,
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 20, max: 600 }),
        fc.integer({ min: 16, max: 2000 }),
        async (dump, chunkBytes, blockBytes, pieceBytes) => {
          const inFile = await decodeDump(objspaceFormat, dump);
          const byRuns = await documentsOf(dump, { pieceBytes });
          assert.deepEqual(
            [...byRuns].sort(Buffer.compare),
            [...inFile.documents].sort(Buffer.compare),
          );
          const cut = { chunkBytes, blockBytes, pieceBytes };
          assert.deepEqual(await documentsOf(dump, { ...cut, asFile: true }), byRuns);
          const plain = await documentsOf(dump, { ...cut, pieceBytes: 4096, plain: true });
          assert.deepEqual(plain, byRuns);
        },
      ),
      { numRuns: 80 },
    ));

  it("gives one order with threads, too", () =>
    fc.assert(
      fc.asyncProperty(dumps, fc.integer({ min: 20, max: 600 }), async (dump, blockBytes) => {
        const cut = { chunkBytes: 64, blockBytes, pieceBytes: 300 };
        assert.deepEqual(
          await documentsOf(dump, { ...cut, threads: 1 }),
          await documentsOf(dump, { pieceBytes: 300 }),
        );
      }),
      { numRuns: 10 },
    ));

  it("lets the first ids of runs ascend", async () => {
    const cases: [readonly number[], readonly number[]][] = [
      [
        [3, 2, 1],
        [1, 2, 3],
      ],
      [
        [2, 3, 1],
        [1, 2, 3],
      ],
      [
        [3, 1, 2],
        [1, 2, 3],
      ],
      // Pages that ascend are one run, even where another one's ids lie between theirs.
      [
        [1, 3, 2],
        [1, 3, 2],
      ],
      [
        [2, 1, 3],
        [1, 3, 2],
      ],
    ];
    for (const [order, loaded] of cases) {
      for (const pieceBytes of [60, 150, 4096]) {
        const ids = idsIn(await documentsOf(pagesOf(order), { pieceBytes }));
        assert.deepEqual(ids, idsIn((await decodeDump(objspaceFormat, pagesOf(loaded))).documents));
      }
    }
  });

  it("keeps the file's order where it ascends, and behind a byte order mark", async () => {
    const ascending = pagesOf([1, 2, 3]);
    const inFile = await decodeDump(objspaceFormat, ascending);
    assert.deepEqual(await documentsOf(ascending, { pieceBytes: 150 }), inFile.documents);
    const marked = Buffer.concat([Buffer.from("\ufeff"), pagesOf([3, 1])]);
    const ids = idsIn(await documentsOf(marked, { pieceBytes: 150 }));
    assert.deepEqual(ids, [0x30, 0x31, 0x32, 0x10, 0x11, 0x12]);
  });

  it("goes on behind the objects that were loaded before", () =>
    fc.assert(
      fc.asyncProperty(dumps, fc.nat(80), fc.integer({ min: 16, max: 900 }), async (dump, n, m) => {
        const whole = await documentsOf(dump, { pieceBytes: 300 });
        const rest = { pieceBytes: m, chunkBytes: 50, blockBytes: 100, nodeFirst: n };
        assert.deepEqual(await documentsOf(dump, rest), whole.slice(n));
      }),
      { numRuns: 50 },
    ));

  it("writes over no block that was not released, however many there are", async () => {
    const value = "z".repeat(100_000);
    // Twelve blocks of four megabytes, and a record that one alone is too small for.
    const lines = Array.from({ length: 500 }, (_, index) => {
      const own = index === 250 ? "w".repeat(30_000_000) : value;
      return `{"address":"0x${(index + 1).toString(16)}","type":"STRING","value":"${own}${index}"}\n`;
    });
    const dump = Buffer.from(lines.join(""));
    const kept = await documentsOf(dump, { keepsBlocks: true });
    const plain = await documentsOf(dump, { plain: true });
    assert.equal(kept.length, plain.length);
    for (const [index, document] of plain.entries()) {
      assert.ok(document.equals(kept[index] as Buffer), `document ${index}`);
    }
  });

  it("reads lines that are many times longer than a piece", async () => {
    const long = "y".repeat(5_000);
    const lines = [
      ...["0x30", "0x31", "0x10", "0x11", "0x12", "0x20"].map(
        (id) =>
          `{"address":"${id}","type":"STRING","value":"${/1$/.test(id) ? `${long}${id}` : id}"}`,
      ),
    ];
    const documents = await documentsOf(Buffer.from(lines.join("\n")), { pieceBytes: 100 });
    assert.deepEqual(idsIn(documents), [0x10, 0x11, 0x12, 0x20, 0x30, 0x31]);
    assert.equal(fieldsOf(documents[1] as Buffer)["value"], `${long}0x11`);
    assert.equal(fieldsOf(documents[5] as Buffer)["value"], `${long}0x31`);
  });
});

/** Pages of three objects, in this order. */
function pagesOf(order: readonly number[]): Buffer {
  const lines = order.flatMap((page) =>
    [0, 1, 2].map((slot) => `{"address":"0x${page}${slot}","type":"STRING","value":"v${page}"}\n`),
  );
  return Buffer.from(lines.join(""));
}

async function documentsOf(dump: Buffer, options: DecodeOptions): Promise<readonly Buffer[]> {
  return (await decodeDump(objspaceFormat, dump, options)).documents;
}

function idsIn(documents: readonly Buffer[]): number[] {
  return documents.map((document) => Number(fieldsOf(document)["_id"]));
}
