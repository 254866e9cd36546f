import assert from "node:assert/strict";
import fc from "fast-check";
import { arrayElementBlocks } from "../../../src/decode/array-elements.js";
import { arrayElementsPlain } from "../../../src/decode/array-elements-plain.js";

describe("arrayElementBlocks", () => {
  it("gives the elements that stream-json gives, of any layout, however the input is cut", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue()), { maxLength: 5 }),
        fc.constantFrom(undefined, 1, "\t"),
        fc.integer({ min: 1, max: 40 }),
        async (records, indent, chunkBytes) => {
          const bytes = Buffer.from(JSON.stringify(records, undefined, indent));
          const plain: string[] = [];
          for await (const element of arrayElementsPlain(cut(bytes, chunkBytes)))
            plain.push(element);
          assert.deepEqual(await compactLines(bytes, chunkBytes), plain);
          assert.deepEqual(
            plain.map((text) => JSON.parse(Buffer.from(text, "latin1").toString()) as unknown),
            JSON.parse(JSON.stringify(records)),
          );
        },
      ),
      { numRuns: 500 },
    ));

  it("keeps numbers, escapes and broken bytes exactly", async () => {
    const text =
      '[ {"a":12345678901234567890.10, "b":"\\u00e9\\ud800\\n", "c":"\xe9\xff", "a":1e400} ]';
    const bytes = Buffer.from(text, "latin1");
    const expected =
      '{"a":12345678901234567890.10,"b":"\\u00e9\\ud800\\n","c":"\xe9\xff","a":1e400}';
    assert.deepEqual(await compactLines(bytes, 3), [expected]);
    const plain: string[] = [];
    for await (const element of arrayElementsPlain(cut(bytes, 3))) plain.push(element);
    assert.deepEqual(plain, [expected]);
  });

  it("goes on behind an element that is no JSON, and says where each stands", async () => {
    const bytes = Buffer.from('[\n {"a":1},\n {"a":nope],\n  {"b":"x\ny"},\n {"c":3}\n]');
    const blocks = [];
    for await (const block of arrayElementBlocks(cut(bytes, 7))) blocks.push(block);
    const lines = blocks.flatMap((block) => block.bytes.toString().trimEnd().split("\n"));
    assert.equal(lines[0]?.trim(), '{"a":1}');
    assert.equal(lines.at(-1)?.trim(), '{"c":3}');
    const places = blocks.flatMap((block) => [...(block.places?.lineNumbers ?? [])]);
    assert.equal(places[0], 2);
    assert.equal(places.at(-1), 6);
  });

  it("is not impressed by 10,000 levels", async () => {
    const deep = `[{"a":${"[".repeat(10_000)}${"]".repeat(10_000)}},{"b":1}]`;
    assert.equal((await compactLines(Buffer.from(deep), 1000)).length, 2);
  });
});

async function* cut(bytes: Buffer, chunkBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    yield await Promise.resolve(bytes.subarray(at, at + chunkBytes));
  }
}

/** The lines, as Latin-1, without blanks between tokens. */
async function compactLines(bytes: Buffer, chunkBytes: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const block of arrayElementBlocks(cut(bytes, chunkBytes))) {
    lines.push(
      ...block.bytes
        .toString("latin1")
        .split("\n")
        .filter((line) => line !== ""),
    );
  }
  return lines.map((line) =>
    line.replace(/("(?:[^"\\]|\\.)*")|[ \t\r]+/gs, (_, string?: string) => string ?? ""),
  );
}
