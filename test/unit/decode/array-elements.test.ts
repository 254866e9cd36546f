import assert from "node:assert/strict";
import fc from "fast-check";
import { HeapdumpError } from "../../../src/errors.js";
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
    assert.deepEqual([lines[0], lines.at(-1)], ["[", "]"]);
    assert.equal(lines[1]?.trim(), '{"a":1}');
    assert.equal(lines.at(-2)?.trim(), '{"c":3}');
    const places = blocks.flatMap((block) => [...(block.places?.lineNumbers ?? [])]);
    assert.deepEqual(places.slice(0, 2), [1, 2]);
    assert.deepEqual(places.slice(-2), [6, 7]);
  });

  it("tells a comma without an element, where it stands", async () => {
    const text = '[,{"a":1},,\n {"a":2},\n]';
    const blocks = [];
    for await (const block of arrayElementBlocks(cut(Buffer.from(text), 5))) blocks.push(block);
    const lines = blocks.flatMap((block) => block.bytes.toString().trimEnd().split("\n"));
    assert.deepEqual(lines, ["[", ",,", '{"a":1}', ",,", '{"a":2}', ",,", "]"]);
    assert.deepEqual([...(blocks[0]?.places?.lineNumbers ?? [])], [1, 1, 1, 1, 2, 3, 3]);
  });

  it("is not impressed by 10,000 levels", async () => {
    const deep = `[{"a":${"[".repeat(10_000)}${"]".repeat(10_000)}},{"b":1}]`;
    assert.equal((await compactLines(Buffer.from(deep), 1000)).length, 2);
  });
});

describe("arrayElementBlocks, on an array with a bad element", () => {
  /** The second element is bad in some way; the third and fourth must be there, whatever the cut. */
  const cases: [string, string][] = [
    ["a string without end", '{"id":2,"v":"x},'],
    ["a bracket too few", '{"id":2,"v":[1,{"id":7}},'],
    ["a brace too few", '{"id":2,"v":{"a":1},'],
    ["a brace too many", '{"id":2,"v":1}},'],
    ["the wrong bracket", '{"id":2,"v":[1}},'],
    ["no value", '{"id":2,"v":},'],
    ["no colon", '{"id":2,"v" 5},'],
    ["a word", '{"id":2,"v":"a" nonsense},'],
    ["a line feed in a string", '{"id":2,"v":"a\nb"},'],
    ["only a closing brace", "},"],
  ];
  for (const [what, bad] of cases) {
    it(`goes on behind one with ${what}`, async () => {
      const text = `[{"id":1,"v":[{"id":5},{"id":6}]},${bad}{"id":3,"v":"},{\\"id\\""}, {"id":4}]`;
      const bytes = Buffer.from(text);
      const whole = await linesAndPlaces(bytes, bytes.length);
      const good = whole.filter(({ line }) => isJson(line)).map(({ line }) => line.trim());
      assert.deepEqual(good.slice(0, 1), ['{"id":1,"v":[{"id":5},{"id":6}]}']);
      assert.deepEqual(good.slice(-1), ['{"id":4}']);
      assert.ok(whole.some(({ line }) => !isJson(line) && !/^[[\]]$/.test(line)));
      for (const { line, byteOffset } of whole) {
        assert.equal(line[0], String.fromCharCode(bytes[byteOffset] as number));
      }
      for (let chunkBytes = 1; chunkBytes < bytes.length; chunkBytes++) {
        assert.deepEqual(await linesAndPlaces(bytes, chunkBytes), whole, `cut by ${chunkBytes}`);
      }
    });
  }

  it("knows the elements of a pretty-printed array by their indent", async () => {
    const records = [{ a: 1 }, { b: [{ x: 1 }] }, { c: { d: 2 } }, { e: 4 }];
    const text = JSON.stringify(records, undefined, 2).replace('"x": 1', '"x": "1');
    const lines = await linesAndPlaces(Buffer.from(text), 5);
    assert.deepEqual(
      lines.map(({ line }) => isJson(line)),
      [false, true, false, true, true, false],
    );
    assert.deepEqual(
      lines.map(({ lineNumber }) => lineNumber),
      [1, 2, 5, 12, 17, 20],
    );
  });

  it("gives what was whole of a cut array, at every byte", async () => {
    const text = '[\n{"id":1,"v":"a\\\\"},{"id":2,"v":[{}]},\r\n {"id":3}]';
    const ends = [...text.matchAll(/\}(?=,\{"id"|,\r|\]$)/g)].map(({ index }) => index + 1);
    for (let length = 1; length <= text.length; length++) {
      const lines = await linesAndPlaces(Buffer.from(text.slice(0, length)), 4);
      const whole = lines.filter(({ line }) => isJson(line) && line.startsWith("{"));
      assert.ok(whole.length >= ends.filter((end) => end <= length).length, `cut at ${length}`);
    }
  });

  it("gives what stands before damage, then the damage", async () => {
    const damage = new HeapdumpError("decode/corrupt", "bad checksum");
    async function* damaged(): AsyncGenerator<Buffer> {
      yield await Promise.resolve(Buffer.from('[{"id":1},{"id":2},{"i'));
      throw damage;
    }
    const lines: string[] = [];
    await assert.rejects(async () => {
      for await (const block of arrayElementBlocks(damaged())) lines.push(block.bytes.toString());
    }, damage);
    assert.equal(lines.join(""), '[\n{"id":1}\n{"id":2}\n{"i\n');
  });

  it("skips an element that is too long, and says where it stood", async () => {
    const bytes = Buffer.from(`[{"id":1},{"id":2,"v":"${"x".repeat(5_000)}"},{"id":3}]`);
    const blocks = [];
    for await (const block of arrayElementBlocks(cut(bytes, 100), { elementBytesMax: 2_000 }))
      blocks.push(block);
    assert.equal(
      blocks.map((block) => block.bytes.toString()).join(""),
      '[\n{"id":1}\n{"id":3}\n]\n',
    );
    const [tooLong] = blocks.flatMap((block) => block.tooLong ?? []);
    assert.deepEqual(
      [tooLong?.byteOffset, tooLong?.lineNumber, tooLong?.lineBytes],
      [10, 1, 5_015],
    );
    assert.equal(tooLong?.head.length, 1024);
  });
});

async function linesAndPlaces(
  bytes: Buffer,
  chunkBytes: number,
): Promise<{ line: string; lineNumber: number; byteOffset: number }[]> {
  const found = [];
  for await (const block of arrayElementBlocks(cut(bytes, chunkBytes))) {
    const lines = block.bytes.toString("latin1").split("\n").slice(0, -1);
    for (const [index, line] of lines.entries()) {
      const lineNumber = block.places?.lineNumbers[index] ?? 0;
      found.push({ line, lineNumber, byteOffset: block.places?.byteOffsets[index] ?? 0 });
    }
  }
  return found;
}

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

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
        .filter((line) => line !== "" && line !== "[" && line !== "]"),
    );
  }
  return lines.map((line) =>
    line.replace(/("(?:[^"\\]|\\.)*")|[ \t\r]+/gs, (_, string?: string) => string ?? ""),
  );
}
