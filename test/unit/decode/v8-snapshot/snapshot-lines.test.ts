import assert from "node:assert/strict";
import {
  snapshotLines,
  type SnapshotLinesOptions,
} from "../../../../src/decode/v8-snapshot/snapshot-lines.js";
import { HeapdumpError } from "../../../../src/errors.js";

/** root -> Session -> "secret" and, weakly, back; fields in another order than V8's of today. */
const small = {
  snapshot: {
    meta: {
      node_fields: ["name", "type", "id", "self_size", "trace_node_id", "edge_count"],
      node_types: [["synthetic", "object", "string"], "string"],
      edge_fields: ["to_node", "type", "name_or_index"],
      edge_types: [["element", "property", "weak"], "string_or_number"],
      trace_function_info_fields: ["function_id", "name", "script_name", "line"],
    },
    node_count: 3,
    edge_count: 3,
  },
  nodes: [0, 0, 1, 0, 0, 1, 1, 1, 4294967295, 48, 2, 1, 2, 2, 5, 24, 0, 1],
  edges: [6, 0, 1, 12, 1, 3, 6, 2, 4],
  trace_function_infos: [7, 0, 5, 12],
  trace_tree: [1, 0, 0, 0, [2, 0, 1, 48, []]],
  samples: [],
  locations: [],
  strings: ["", "Session", 'sec"ret ü 𝄞', "token", "back", "app.js"],
};

const header = { type: "HEADER", format: "heapdump-mongo", format_version: 1, runtime: "node" };

describe("snapshotLines", () => {
  it("gives a header, the root, the objects with named references, and the header with counts", () =>
    gives(small, {}, [
      { ...header, redacted: false },
      {
        ...{ type: "ROOT", root: "(root)" },
        ...{ references: ["0xffffffff"], reference_names: ["1"], reference_kinds: "e" },
      },
      {
        ...{ address: "0xffffffff", type: "object", class_name: "Session", memsize: 48 },
        ...{ file: "app.js", line: 12 },
        ...{ references: ["0x5"], reference_names: ["token"], reference_kinds: "p" },
      },
      {
        ...{ address: "0x5", type: "string", class_name: "(string)" },
        ...{ value: 'sec"ret ü 𝄞', memsize: 24 },
        ...{ references: ["0xffffffff"], reference_names: ["back"], reference_kinds: "w" },
      },
      { ...header, redacted: false, counts: { objects: 2, roots: 1 } },
    ]));

  it("cuts long strings and tells their length", async () =>
    assert.deepEqual(pick(await lines(small, { stringBytesMax: 4 }), "0x5"), {
      value: 'sec"',
      length: 12,
      cut: true,
    }));

  it("redacts what strings say, and equal ones alike", async () => {
    const options = { redact: { mode: "all", key: Buffer.from("k") } } as const;
    const [once, again] = [await lines(small, options), await lines(small, options)];
    const { value } = pick(once, "0x5") as { value: string };
    assert.match(value, /^redacted:15:[0-9a-f]{16}$/);
    assert.deepEqual(once, again);
  });

  it("gives the same however the bytes come in pieces", async () => {
    const whole = await lines(small, {});
    for (let size = 1; size < 40; size++) assert.deepEqual(await lines(small, {}, size), whole);
  });

  it("refuses a snapshot that is cut, wherever", async () => {
    const text = JSON.stringify(small);
    for (let length = 0; length < text.length; length += 7)
      await assert.rejects(linesOf(text.slice(0, length), {}, 1000), corrupt(/./));
  });

  for (const [what, change, reason] of [
    ["fewer nodes than announced", { nodes: small.nodes.slice(6) }, /nodes: 12 numbers, 18/],
    ["more edges than announced", { edges: [...small.edges, 0] }, /edges: more than the 9/],
    ["an edge to nowhere", { edges: [18, 0, 1, 12, 1, 3, 6, 2, 4] }, /edge 0: it leads to 18/],
    ["an edge into a node", { edges: [7, 0, 1, 12, 1, 3, 6, 2, 4] }, /edge 0: it leads to 7/],
    ["an edge of no kind", { edges: [6, 3, 1, 12, 1, 3, 6, 2, 4] }, /edge 0: a kind/],
    ["a missing string", { strings: ["", "Session"] }, /there is no string 2/],
    ["a negative number", { edges: [-6, 0, 1, 12, 1, 3, 6, 2, 4] }, /edges: expected a number/],
  ] as const) {
    it(`refuses ${what}, with the place`, () =>
      assert.rejects(lines({ ...small, ...change }, {}), corrupt(reason)));
  }
});

async function gives(
  snapshot: object,
  options: Partial<SnapshotLinesOptions>,
  expected: readonly object[],
): Promise<void> {
  assert.deepEqual(await lines(snapshot, options), expected);
}

function lines(
  snapshot: object,
  options: Partial<SnapshotLinesOptions>,
  chunkBytes = 1000,
): Promise<Record<string, unknown>[]> {
  return linesOf(JSON.stringify(snapshot), options, chunkBytes);
}

async function linesOf(
  text: string,
  options: Partial<SnapshotLinesOptions>,
  chunkBytes: number,
): Promise<Record<string, unknown>[]> {
  const bytes = Buffer.from(text);
  async function* chunks(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
  }
  const pieces: Buffer[] = [];
  for await (const piece of snapshotLines(chunks(), { path: "x.heapsnapshot", ...options }))
    pieces.push(piece);
  const parts = Buffer.concat(pieces).toString("utf8").trimEnd().split("\n");
  return parts.map((line) => JSON.parse(line) as Record<string, unknown>);
}

function pick(records: readonly Record<string, unknown>[], address: string): object {
  const { value, length, cut } = records.find((record) => record["address"] === address) ?? {};
  return { value, ...(length === undefined ? {} : { length, cut }) };
}

function corrupt(reason: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof HeapdumpError && error.code === "decode/corrupt" && reason.test(error.message);
}
