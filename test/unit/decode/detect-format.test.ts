import assert from "node:assert/strict";
import { HeapdumpError } from "../../../src/errors.js";
import { detectFormat } from "../../../src/decode/detect-format.js";

const bson = Buffer.from("16000000075f696400000102030405060708090a0b00", "hex");
const tar = Buffer.alloc(512);
tar.write("app.json");
tar.write("ustar", 257);

describe("telling what an input is", () => {
  const foreign: readonly (readonly [string, string | Buffer, RegExp])[] = [
    ["HPROF 1.0.1", "JAVA PROFILE 1.0.1\0\0\0\0\x04", /a Java heap dump \(HPROF\)/],
    ["HPROF 1.0.2", "JAVA PROFILE 1.0.2\0\0\0\0\x04", /a Java heap dump \(HPROF\)/],
    ["HTML", "<!DOCTYPE html>\n<html>", /an HTML page/],
    ["HTML without a type", "<html><body>503</body>", /an HTML page/],
    ["XML", '<?xml version="1.0"?><a/>', /XML/],
    ["PDF", "%PDF-1.7\n%\xe2\xe3", /a PDF/],
    ["PNG", Buffer.from("89504e470d0a1a0a", "hex"), /a PNG image/],
    ["a core file", Buffer.from("7f454c4602010100", "hex"), /core file \(ELF\)/],
    ["zip", Buffer.from("504b030414000000", "hex"), /a zip archive/],
    ["xz", Buffer.from("fd377a585a000004", "hex"), /an xz file: unpack it first/],
    ["bzip2", "BZh91AY&SY", /a bzip2 file: unpack it first/],
    ["tar", tar, /a tar archive/],
    ["SQLite", "SQLite format 3\0", /an SQLite database/],
    ["UTF-16 with its mark", Buffer.from("\ufeff{}", "utf16le"), /UTF-16/],
    ["UTF-16 without", Buffer.from('{"address":1}', "utf16le"), /UTF-16/],
    ["perf.data", "PERFILE2\0\0\0\0", /perf record/],
    ["a minidump", "MDMP\x93\xa7", /a Windows minidump/],
    ["BSON", bson, /BSON/],
    ["a script", "#!/bin/sh\necho", /a script/],
    ["CSV", "id,type,size\n1,OBJECT,40\n", /a CSV table/],
    ["text", "It grows at night.\n", /plain text/],
    ["pprof, unpacked", Buffer.from("0a04080110021204080310040a", "hex"), /a binary file/],
    ["a CPU profile", '{"nodes":[{"id":1,"callFrame":{}}]}', /a CPU profile of V8/],
    ["a heap profile", '{"head":{"callFrame":{},"selfSize":0}}', /\.heapprofile/],
    ["a trace", '{"traceEvents":[]}', /a Chrome trace/],
    ["other JSON", '{"name":"app","version":"1"}', /another shape, with the keys name, version/],
    ["an array of numbers", "[1,2,3]", /JSON of another shape/],
  ];
  for (const [name, content, seems] of foreign) {
    it(`refuses ${name}, and says what it seems to be`, () => {
      const bytes = typeof content === "string" ? Buffer.from(content, "latin1") : content;
      assert.throws(
        () => detectFormat(bytes, "dir/input", undefined),
        (error) =>
          error instanceof HeapdumpError &&
          error.code === "decode/unknown-format" &&
          error.message.startsWith("dir/input: ") &&
          seems.test(error.message),
      );
    });
  }

  const dumps: readonly (readonly [string, string, string, string])[] = [
    [
      "a gem dump",
      '[{"id":"_ROOTS_","stack":[]}\n,{"id":1,"bt":"T_OBJECT"}\n]\n',
      "heap-dump-gem",
      "lines",
    ],
    [
      "a pretty-printed one",
      '[\n  {\n    "id": 1,\n    "bt": "T_OBJECT"\n  }\n]\n',
      "heap-dump-gem",
      "array",
    ],
    [
      "one on a single line",
      '[{"id":"_ROOTS_","stack":["}]"]},{"id":1,"bt":"T_OBJECT"}]\n',
      "heap-dump-gem",
      "array",
    ],
    [
      "a single line with blanks",
      '[ {"address":"0x10","type":"X"}, {"address":"0x20","type":"X"} ]\n',
      "objspace",
      "array",
    ],
    [
      "one whose first record does not end in what is looked at",
      `[{"id":"_ROOTS_","stack":["${"x".repeat(70_000)}`,
      "heap-dump-gem",
      "array",
    ],
    ["dump_all", '{"address":"0x10","type":"OBJECT"}\n', "objspace", "lines"],
    [
      "dump_all behind blank lines and a mark",
      '\ufeff\n\n{"type":"ROOT","root":"vm"}\n',
      "objspace",
      "lines",
    ],
    [
      "dump_all whose first line is broken",
      '{"add\n{"address":"0x10","type":"X"}\n',
      "objspace",
      "lines",
    ],
    ["one of ours", '{"type":"HEADER","format":"heapdump-mongo"}\n', "heapdump-mongo", "lines"],
    ["a V8 snapshot", '{"snapshot":{"meta":{"node_fields":[]}}}', "v8-snapshot", "snapshot"],
  ];
  for (const [name, content, format, layout] of dumps) {
    it(`knows ${name}`, () =>
      assert.deepEqual(detectFormat(Buffer.from(content), "input", undefined), { format, layout }));
  }

  it("tells emptiness from strangeness", () => {
    for (const content of ["", "\n\n \n", "[", "[]", "[\n]\n"]) {
      assert.throws(
        () => detectFormat(Buffer.from(content), "input", undefined),
        (error) => error instanceof HeapdumpError && error.code === "decode/empty",
        JSON.stringify(content),
      );
    }
  });
});
