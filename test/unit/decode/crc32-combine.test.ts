import assert from "node:assert/strict";
import * as zlib from "node:zlib";
import fc from "fast-check";
import { combinedCrc32 } from "../../../src/decode/crc32-combine.js";

describe("combinedCrc32", () => {
  it("gives what zlib gives of the whole", function () {
    const { crc32 } = zlib as { crc32?: (bytes: Uint8Array) => number };
    assert.ok(crc32 !== undefined, "Node has it from 20.15 on");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.uint8Array({ maxLength: 3000 }), (a, b) =>
        assert.equal(combinedCrc32(crc32(a), crc32(b), b.length), crc32(Buffer.concat([a, b]))),
      ),
    );
  });
});
