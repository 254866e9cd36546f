import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decompress } from "fzstd";
import fc from "fast-check";
import { gemFormat } from "../../../src/decode/format-gem.js";
import { objspaceFormat } from "../../../src/decode/format-objspace.js";
import type { LineFormat } from "../../../src/decode/line-format.js";
import { decodeDump, fieldsOf } from "../../support/decode-both.js";

const gemDump = Buffer.from(
  decompress(
    readFileSync(new URL("../../../../test/fixtures/gem-ruby200-A.json.zst", import.meta.url)),
  ),
);

/** Real lines, to be mutated: one of each basic type and a few more. */
const gemLines = sampleOf(gemDump.toString("latin1").split("\n"), 400);
const objspaceLines = [
  '{"address":"0x7f3d10504048", "type":"STRING", "class":"0x7f3d104ae440", "embedded":true, "bytesize":19, "value":"/usr/share/doc/ruby", "memsize":40, "flags":{"wb_protected":true, "old":true, "uncollectible":true, "marked":true}}',
  '{"address":"0x7f3d10504160", "type":"OBJECT", "class":"0x7f3d104e9ef0", "ivars":3, "references":["0x7f3d0cfa7fd0", "0x7f3d10504048"], "memsize":40, "file":"a.rb", "line":12, "method":"new", "generation":5, "flags":{"wb_protected":true}}',
  '{"address":"0x7f3d10504250", "type":"CLASS", "class":"0x7f3d104aa700", "superclass":"0x7f3d104aa6b0", "real_class_name":"Class", "singleton":true, "references":["0x7f3d104aa6b0", "0x7f3d10504250"], "memsize":688, "flags":{}}',
  '{"address":"0x7f3d105041b0", "type":"IMEMO", "class":"0x8", "imemo_type":"cref", "references":["0x7f3d105042a0"], "memsize":40}',
  '{"address":"0x7f3d105041b8", "type":"IMEMO", "class":"0x8", "imemo_type":"env", "references":["0x7f3d105042a0"], "memsize":40}',
  '{"address":"0x7f3d105041c0", "type":"DATA", "class":"0x7f3d104e9ef0", "struct":"proc", "memsize":80, "file":"a.rb", "line":19}',
  '{"address":"0x7f3d105041c8", "type":"DATA", "struct":"mutex", "memsize":80}',
  '{"address":"0x7f3d105041f0", "type":"DATA", "class":"0x7f3d104e9ef0", "struct":"proc", "references":["0x51"], "reference_names":["(environment)"], "memsize":80, "proc":{"file":"b.rb","line":7}}',
  '{"address":"0x7f3d105041f8", "type":"IMEMO", "imemo_type":"env", "memsize":80, "env_of":{"file":"b.rb","line":7}}',
  '{"address":"0x53", "type":"closure", "class_name":"(closure)", "references":["0x51"], "reference_names":["context"], "memsize":32, "name":"onRequest"}',
  '{"address":"0x7f3d105041d0", "type":"ICLASS", "class":"0x7f3d104e9ef0", "name":"Comparable", "memsize":80}',
  '{"address":"0x7f3d104b7220", "type":"FLOAT", "class":"0x7f3d104b74c8", "frozen":true, "value":"1.5", "memsize":40}',
  '{"type":"ROOT", "root":"vm", "references":["0x7f3d10504160", "0x7f3d10504048", "0x7f3d10504160"]}',
  '{"type":"ROOT", "root":"vm", "references":[]}',
  '{"address":"0x7f3d104aa700", "type":"MODULE", "name":"Kernel", "references":[], "memsize":632}',
  '{"address":"0x51", "type":"object", "class_name":"Session", "references":["0x7f3d10504160","0x51"], "reference_names":["a","b"], "reference_kinds":"pw", "memsize":40, "depth":7, "name":"S"}',
];

describe("the fast path", () => {
  it("gives of a real gem dump what the plain path gives, byte for byte", async () =>
    agree(gemFormat, gemDump));

  for (const [format, lines] of [
    [gemFormat, gemLines],
    [objspaceFormat, objspaceLines],
  ] as const) {
    it(`gives of mutated ${format.name} lines what the plain path gives`, () =>
      fc.assert(
        fc.asyncProperty(fc.array(mutated(lines), { minLength: 1, maxLength: 12 }), async (dump) =>
          agree(format, Buffer.from(dump.join("\n"), "latin1")),
        ),
        { numRuns: 1500 },
      ));

    it(`gives of generated ${format.name} records what the plain path gives`, () =>
      fc.assert(
        fc.asyncProperty(fc.array(generated(format), { maxLength: 10 }), async (records) =>
          agree(format, Buffer.from(records.join("\n"))),
        ),
        { numRuns: 800 },
      ));
  }

  it("knows a text by the hash that the plain path gives it, as dump_all escapes it", () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: "binary" }), { maxLength: 8 }), async (texts) => {
        const lines = texts.map((value, at) =>
          JSON.stringify({ address: `0x${(at + 1).toString(16)}`, type: "STRING", value }),
        );
        const dump = Buffer.from(lines.join("\n"));
        const [fast, plain] = await Promise.all(
          [false, true].map((isPlain) => decodeDump(objspaceFormat, dump, { plain: isPlain })),
        );
        assert.deepEqual(fast?.textHashes, plain?.textHashes);
        assert.ok(plain?.textHashes.every((hash) => hash === hash));
        assert.equal(new Set(plain?.textHashes).size, new Set(texts).size);
      }),
      { numRuns: 300 },
    ));
});

describe("decoding", () => {
  const cases: [string, LineFormat, string, Record<string, unknown>][] = [
    [
      "an id beyond 2^53",
      gemFormat,
      '{"id":9007199254740993,"bt":"T_OBJECT"}',
      { _id: 9007199254740993n, type: "OBJECT" },
    ],
    [
      "an id beyond 2^63",
      gemFormat,
      '{"id":9223372036854775808,"bt":"T_OBJECT"}',
      { _id: "9223372036854775808", type: "OBJECT" },
    ],
    [
      "an own field named type",
      gemFormat,
      '{"id":1,"bt":"T_DATA","type":"block"}',
      { _id: 1n, type: "DATA", dump_type: "block" },
    ],
    [
      "a size of the gem",
      gemFormat,
      '{"id":1000,"bt":"T_DATA","size":72}',
      { _id: 1000n, type: "DATA", size: 72, memsize: 72 },
    ],
    [
      "keys with $ and .",
      gemFormat,
      '{"id":1,"bt":"T_HASH","val":{"$a":1,"b.c":2,"":3,"__proto__":4}}',
      {
        _id: 1n,
        type: "HASH",
        val: { $a: 1, "b.c": 2, "": 3, ["__proto__"]: 4 },
        reference_names: ["$a"],
      },
    ],
    [
      "what looks like Extended JSON",
      gemFormat,
      '{"id":9,"bt":"T_HASH","val":{"$oid":5}}',
      { _id: 9n, type: "HASH", val: { $oid: 5 } },
    ],
    [
      "a key given twice",
      gemFormat,
      '{"id":9,"bt":"T_HASH","val":{"a":9,"a":8}}',
      {
        _id: 9n,
        type: "HASH",
        val: { a: 8 },
        reference_names: ["a"],
        duplicate_keys: [{ path: "val.a", value: 9 }],
      },
    ],
    [
      "broken text",
      gemFormat,
      '{"id":9,"bt":"T_STRING","val":"a\xff"}',
      { _id: 9n, type: "STRING", val: "a\ufffd", val_bytes: Buffer.from("a\xff", "latin1") },
    ],
    [
      "broken text in a list",
      gemFormat,
      '{"id":9,"bt":"T_ARRAY","val":["x",["\\ud800"]]}',
      {
        _id: 9n,
        type: "ARRAY",
        val: ["x", ["\ufffd"]],
        val_bytes: { "1.0": Buffer.from([0xed, 0xa0, 0x80]) },
      },
    ],
    [
      "a whole number beyond 64 bits",
      gemFormat,
      '{"id":9,"bt":"T_ARRAY","val":[18446744073709551616]}',
      { _id: 9n, type: "ARRAY", val: ["18446744073709551616"] },
    ],
    [
      "a hash key that is an object",
      gemFormat,
      '{"id":9,"bt":"T_HASH","val":{"__id_9":true}}',
      { _id: 9n, type: "HASH", val: { __id_9: true } },
    ],
    [
      "a class",
      objspaceFormat,
      '{"address":"0xff","type":"OBJECT","class":"0x10"}',
      { _id: 255n, type: "OBJECT", class: 16n },
    ],
    [
      "a reference to nothing",
      objspaceFormat,
      '{"address":"0xff","type":"OBJECT","references":["0xff","0x1"]}',
      { _id: 255n, type: "OBJECT", dangling_references: [1n] },
    ],
  ];
  for (const [what, format, line, expected] of cases) {
    it(`stores ${what}`, async () => {
      const bytes = Buffer.from(line, "latin1");
      await agree(format, bytes);
      const { documents, rejects } = await decodeDump(format, bytes);
      assert.deepEqual(rejects, []);
      const fields = fieldsOf(documents[0] as Buffer);
      assert.deepEqual(JSON.stringify(shown(fields)), JSON.stringify(shown(expected)));
    });
  }

  const refused: [LineFormat, string, string, RegExp][] = [
    [gemFormat, '{"id":1,"bt":"T_ST', "not-json", /string without end/],
    [gemFormat, '{"id":-1,"bt":"T_OBJECT"}', "schema", /^id: /],
    [gemFormat, '{"id":1.5,"bt":"T_OBJECT"}', "schema", /^id: /],
    [gemFormat, '{"id":null,"bt":"T_OBJECT"}', "schema", /^id: /],
    [gemFormat, '{"bt":"T_OBJECT"}', "schema", /^id: /],
    [gemFormat, '{"id":1}', "schema", /^bt: /],
    [gemFormat, "5", "not-an-object", /expected an object/],
    [gemFormat, '{"id":1,"bt":"T_ARRAY","val":[NaN]}', "not-json", /expected a value/],
    [gemFormat, '{"id":1,"bt":"T_ARRAY","val":[1,]}', "not-json", /expected a value/],
    [
      gemFormat,
      `{"id":1,"bt":"T_ARRAY","val":${"[".repeat(500)}${"]".repeat(500)}}`,
      "too-deep",
      /nested deeper/,
    ],
    [gemFormat, '{"id":1,"bt":"T_HASH","val":{"a\\u0000":1}}', "nul-in-key", /NUL/],
    [objspaceFormat, '{"address":"0xZZ","type":"ARRAY"}', "schema", /^address: /],
    [
      objspaceFormat,
      '{"address":"0x1","type":"ARRAY","references":"0x2"}',
      "schema",
      /^references: /,
    ],
    [
      objspaceFormat,
      '{"address":"0x1","type":"ARRAY","references":[2]}',
      "schema",
      /^references\.0: /,
    ],
    [objspaceFormat, '{"address":"0x1","type":"ARRAY","memsize":-1}', "schema", /^memsize: /],
    [objspaceFormat, '{"type":"STRING"}', "schema", /^address: /],
    [
      objspaceFormat,
      '{"address":"0x1","type":"A","reference_names":["a"]}',
      "schema",
      /^reference_names: /,
    ],
  ];
  for (const [format, line, code, message] of refused) {
    it(`refuses ${line.slice(0, 60)}`, async () => {
      const { documents, rejects, ledger } = await decodeDump(format, Buffer.from(line));
      assert.equal(documents.length, 0);
      assert.equal(rejects.length, 1);
      assert.equal(rejects[0]?.code, code);
      assert.match(rejects[0]?.message ?? "", message);
      assert.deepEqual(ledger, { lines: 1, objects: 0, rejected: 1, repaired: 0, blank: 0 });
    });
  }

  it("refuses the second record of an id, and keeps the first", async () => {
    const dump = '{"id":2,"bt":"T_ARRAY","val":[1]}\n{"id":2,"bt":"T_HASH"}\n';
    const { documents, rejects } = await decodeDump(gemFormat, Buffer.from(dump));
    assert.equal(documents.length, 1);
    assert.deepEqual(
      rejects.map(({ lineNumber, byteOffset, code }) => ({ lineNumber, byteOffset, code })),
      [{ lineNumber: 2, byteOffset: 34, code: "duplicate-id" }],
    );
  });
});

/** Both paths give the same documents (byte for byte), rejects, counts and graph; the ledger adds up. */
async function agree(format: LineFormat, bytes: Buffer): Promise<void> {
  const [fast, plain] = await Promise.allSettled([
    decodeDump(format, bytes),
    decodeDump(format, bytes, { plain: true }),
  ]);
  if (fast.status === "rejected" || plain.status === "rejected") {
    // Two dumps glued together: both must say so.
    assert.equal(
      String((fast as PromiseRejectedResult).reason),
      String((plain as PromiseRejectedResult).reason),
    );
    return;
  }
  assert.deepEqual(fast.value.rejects, plain.value.rejects);
  assert.deepEqual(fast.value.ledger, plain.value.ledger);
  assert.deepEqual(fast.value.scanned, plain.value.scanned);
  assert.equal(fast.value.documents.length, plain.value.documents.length);
  for (const [index, document] of fast.value.documents.entries()) {
    const other = plain.value.documents[index] as Buffer;
    if (document.equals(other)) continue;
    assert.deepEqual(fieldsOf(document), fieldsOf(other));
    assert.fail(
      `the same fields, but not the same bytes: ${JSON.stringify(shown(fieldsOf(other)))}`,
    );
  }
  const { lines, objects, rejected, blank } = fast.value.ledger;
  assert.equal(lines, objects + rejected + blank);
}

function shown(value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Uint8Array) return `hex ${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value).map(([key, inner]) => [key, shown(inner)]);
}

/** The lines, evenly taken, with all the rare long ones left out. */
function sampleOf(lines: readonly string[], count: number): string[] {
  const step = Math.max(1, Math.floor(lines.length / count));
  return lines.filter((line, index) => index % step === 0 && line.length < 4000);
}

function mutated(lines: readonly string[]): fc.Arbitrary<string> {
  const line = fc.constantFrom(...lines);
  const flip = fc.tuple(line, fc.nat(), fc.nat(255)).map(([text, at, byte]) => {
    const place = at % Math.max(1, text.length);
    return text.slice(0, place) + String.fromCharCode(byte) + text.slice(place + 1);
  });
  const insert = fc
    .tuple(
      line,
      fc.nat(),
      fc.constantFrom(
        '"',
        "\\",
        ",",
        "{",
        "}",
        "[",
        "]",
        ":",
        " ",
        "0",
        "-",
        ".",
        "e",
        "\\u0041",
        "\\ud800",
        "\xc3\xa9",
        "null",
        '"id":5,',
        '"type":"X",',
        '"address":"0x51",',
        '"references":[],',
        "12345678901234567890",
        "__id_",
      ),
    )
    .map(([text, at, more]) => {
      const place = at % Math.max(1, text.length);
      return text.slice(0, place) + more + text.slice(place);
    });
  const cut = fc
    .tuple(line, fc.nat())
    .map(([text, at]) => text.slice(0, at % Math.max(1, text.length)));
  const splice = fc
    .tuple(line, line, fc.nat(), fc.nat())
    .map(
      ([one, two, from, to]) =>
        one.slice(0, from % Math.max(1, one.length)) + two.slice(to % Math.max(1, two.length)),
    );
  return fc.oneof(line, flip, insert, cut, splice);
}

function generated(format: LineFormat): fc.Arbitrary<string> {
  const extra = fc.dictionary(
    fc.oneof(
      fc.string(),
      fc.constantFrom(
        "val",
        "ivs",
        "__id_3",
        "size",
        "type",
        "class",
        "name",
        "depth",
        "memsize",
        "file",
        "line",
        "generation",
      ),
    ),
    fc.jsonValue(),
    { maxKeys: 4 },
  );
  const id = fc.oneof(fc.nat(20), fc.maxSafeNat());
  return fc
    .tuple(id, extra, fc.array(fc.nat(20)), fc.nat(2))
    .map(([number, fields, references, indent]) =>
      JSON.stringify(
        format.name === "heap-dump-gem"
          ? { id: number, bt: "T_DATA", val: references, ...fields }
          : {
              address: `0x${number.toString(16)}`,
              type: "DATA",
              references: references.map((one) => `0x${one.toString(16)}`),
              ...fields,
            },
        undefined,
        indent === 2 ? " " : undefined,
      ).replaceAll("\n", " "),
    );
}
