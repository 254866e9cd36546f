import assert from "node:assert/strict";
import fc from "fast-check";
import { plainOf } from "../../../src/decode/check-record.js";
import { BrokenText, JsonFault, parseJson } from "../../../src/decode/parse-json.js";

describe("parseJson", () => {
  it("gives what JSON.parse gives", () =>
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(3), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        assert.deepEqual(rounded(plain(text)), toNull(JSON.parse(text)));
      }),
    ));

  it("accepts and refuses what JSON.parse accepts and refuses, of mutated texts", () =>
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), fc.nat(255), (value, at, byte) => {
        const bytes = Buffer.from(JSON.stringify(value));
        bytes[at % bytes.length] = byte;
        const accepted = !(parseJson(bytes) instanceof JsonFault);
        assert.equal(accepted, jsonParseAccepts(bytes.toString("utf8")), bytes.toString("utf8"));
      }),
      { numRuns: 3000 },
    ));

  // Cases in the manner of JSONTestSuite: https://github.com/nst/JSONTestSuite
  for (const text of [
    "[1,]",
    "[,1]",
    '{"a":1,}',
    "[1 2]",
    '{"a" 1}',
    "{a:1}",
    "['a']",
    "[01]",
    "[-]",
    "[-01]",
    "[1.]",
    "[.5]",
    "[1e]",
    "[1e+]",
    "[+1]",
    "[NaN]",
    "[Infinity]",
    "[-Infinity]",
    "[0x10]",
    '["\\x"]',
    '["\\u12"]',
    '["\t"]',
    '["a',
    "[1",
    '{"a":',
    "",
    " ",
    "nul",
    "truee",
    "[1]]",
    "{}{}",
    "\uFEFF{}",
    '["\\u00zz"]',
    "[1,\n",
    '{"a":1\u0000}',
    "[]",
    "{}",
    "[[],[{}]]",
    "0",
    "-0",
    "1e400",
    "-1E-2",
    "1.5e+3",
    '"\\u0000"',
    '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
    " [ 1 ] ",
    '"\\ud83d\\ude00"',
    "123456789012345678901234567890",
    "[true,false,null]",
    '\r\n\t {"":{"":[]}}',
  ]) {
    it(`judges ${JSON.stringify(text)} as JSON.parse does`, () => {
      const accepted = !(parseJson(Buffer.from(text)) instanceof JsonFault);
      assert.equal(accepted, jsonParseAccepts(text));
    });
  }

  it("keeps whole numbers exact", () => {
    assert.equal(parseJson(Buffer.from("9007199254740993")), 9007199254740993n);
    assert.equal(parseJson(Buffer.from("-18446744073709551616")), -18446744073709551616n);
    assert.equal(parseJson(Buffer.from("9007199254740991")), 9007199254740991);
  });

  it("keeps the bytes of text that is no UTF-8", () => {
    const text = parseJson(Buffer.from([0x22, 0x61, 0xff, 0x22]));
    assert.ok(text instanceof BrokenText);
    assert.equal(text.text, "a\ufffd");
    assert.deepEqual([...text.bytes], [0x61, 0xff]);
  });

  it("shows a lone surrogate as one U+FFFD", () => {
    const text = parseJson(Buffer.from('"a\\ud800b"'));
    assert.ok(text instanceof BrokenText);
    assert.equal(text.text, "a\ufffdb");
    assert.deepEqual([...text.bytes], [0x61, 0xed, 0xa0, 0x80, 0x62]);
  });

  it("refuses 10,000 levels without a crash", () => {
    const fault = parseJson(Buffer.from("[".repeat(10_000) + "]".repeat(10_000)));
    assert.ok(fault instanceof JsonFault);
    assert.equal(fault.code, "too-deep");
  });

  it("refuses NUL in a key", () => {
    const fault = parseJson(Buffer.from('{"a\\u0000b":1}'));
    assert.ok(fault instanceof JsonFault);
    assert.equal(fault.code, "nul-in-key");
  });
});

function plain(text: string): unknown {
  const value = parseJson(Buffer.from(text));
  if (value instanceof JsonFault) throw new Error(value.message);
  return plainOf(value);
}

/** Whole numbers as JSON.parse rounds them. */
function rounded(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(rounded);
  if (typeof value !== "object" || value === null) return value;
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [key, inner] of Object.entries(value)) copy[key] = rounded(inner);
  return copy;
}

/** Objects without a prototype, as ours are, so that `__proto__` is a key like any other. */
function toNull(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toNull);
  if (typeof value !== "object" || value === null) return value;
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [key, inner] of Object.entries(value)) copy[key] = toNull(inner);
  return copy;
}

/** Keys with NUL are refused by us on purpose: not a matter of these texts. */
function jsonParseAccepts(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return !JSON.stringify(value).includes('\\u0000":');
  } catch {
    return false;
  }
}
