import assert from "node:assert/strict";
import fc from "fast-check";
import type { LineBlock } from "../../../schemas/line-block.js";
import { lineBlocks, lineBlocksOfFile, type ReadInto } from "../../../src/decode/split-lines.js";

/** Where each line begins and what it says; a line above the limit with its length. */
type Line = { readonly lineNumber: number; readonly byteOffset: number; readonly text: string };

describe("lineBlocks and lineBlocksOfFile", () => {
  it("give the same lines however the input is cut", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ maxLength: 40 }).map((line) => line.replaceAll("\n", ""))),
        fc.boolean(),
        fc.boolean(),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 8, max: 64 }),
        async (lines, mark, ended, chunkBytes, blockBytes) => {
          const bytes = Buffer.from(
            `${mark ? "\ufeff" : ""}${lines.join("\n")}${ended ? "\n" : ""}`,
          );
          const options = { blockBytes, lineBytesMax: 60 };
          const expected = expectedLines(bytes, options.lineBytesMax);
          assert.deepEqual(
            await linesOf(lineBlocks(cut(bytes, chunkBytes), options), bytes),
            expected,
          );
          assert.deepEqual(
            await linesOf(lineBlocksOfFile(reader(bytes, chunkBytes), options), bytes),
            expected,
          );
        },
      ),
      { numRuns: 2000 },
    ));
});

async function* cut(bytes: Buffer, chunkBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    yield await Promise.resolve(bytes.subarray(at, at + chunkBytes));
  }
}

/** Gives at most so many bytes a call, as a slow disk may. */
function reader(bytes: Buffer, chunkBytes: number): ReadInto {
  let at = 0;
  return (buffer, offset, length) => {
    const count = bytes.copy(
      buffer,
      offset,
      at,
      Math.min(bytes.length, at + Math.min(length, chunkBytes)),
    );
    at += count;
    return Promise.resolve(count);
  };
}

async function linesOf(blocks: AsyncIterable<LineBlock>, all: Buffer): Promise<Line[]> {
  const lines: Line[] = [];
  let lineNumber = 1;
  for await (const { bytes, byteOffsetFirst, tooLong } of blocks) {
    for (let at = 0; at < bytes.length;) {
      const feed = bytes.indexOf(0x0a, at);
      const end = feed < 0 ? bytes.length : feed;
      lines.push({
        lineNumber: lineNumber++,
        byteOffset: byteOffsetFirst + at,
        text: bytes.toString("utf8", at, end),
      });
      at = end + 1;
    }
    if (tooLong !== undefined) {
      // Told, not given: what stands in the input at that place.
      const { byteOffset, lineBytes } = tooLong;
      const text = all.toString("utf8", byteOffset, byteOffset + lineBytes).replace(/\n$/, "");
      lines.push({ lineNumber: lineNumber++, byteOffset, text });
    }
  }
  return lines;
}

function expectedLines(bytes: Buffer, _lineBytesMax: number): Line[] {
  const marked = bytes.subarray(0, 3).equals(Buffer.from("\ufeff"));
  const lines: Line[] = [];
  let byteOffset = marked ? 3 : 0;
  const texts = bytes.toString("utf8", byteOffset).split("\n");
  if (texts.at(-1) === "") texts.pop();
  for (const [index, text] of texts.entries()) {
    lines.push({ lineNumber: index + 1, byteOffset, text });
    byteOffset += Buffer.byteLength(text) + 1;
  }
  return lines;
}
