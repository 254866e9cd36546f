import assert from "node:assert/strict";
import { once } from "node:events";
import { Readable } from "node:stream";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { BSON } from "mongodb";
import { readSnapshot, type Snapshot } from "../../../../src/decode/v8-snapshot/read-snapshot.js";
import { snapshotDocuments } from "../../../../src/decode/v8-snapshot/snapshot-documents.js";
import { snapshotHeap } from "../../../../src/decode/v8-snapshot/snapshot-heap.js";
import { HeapdumpError } from "../../../../src/errors.js";
import { measureHeap } from "../../../../src/graph/graph.js";
import { computedFields } from "../../../../src/load/document.js";

const lone = "\ud83d";
const long = `${"ä".repeat(700)}\n"𝄞"`;
/** Root -> Table and Key; the table and the key both name the pair's value; a bound function has a shortcut. */
const pair = "1 / part of key (Key @5) -> value (Value @4000000007) pair in WeakMap (table @3)";
const small = {
  snapshot: {
    meta: {
      node_fields: ["type", "name", "id", "self_size", "edge_count", "detachedness"],
      node_types: [["synthetic", "object", "string", "closure", "native"], "string"],
      edge_fields: ["type", "name_or_index", "to_node"],
      edge_types: [["property", "internal", "weak", "shortcut", "element"], "string_or_number"],
      location_fields: ["object_index", "script_id", "line", "column"],
      trace_function_info_fields: ["function_id", "name", "script_name", "script_id", "line"],
    },
    node_count: 6,
    edge_count: 9,
  },
  // type, name, id, size, edges, detachedness
  nodes: [
    ...[0, 0, 1, 0, 3, 0],
    ...[1, 1, 3, 16, 1, 0],
    ...[1, 2, 5, 32, 2, 0],
    ...[1, 3, 4_000_000_007, 64, 1, 2],
    ...[2, 4, 9, 128, 0, 0],
    ...[3, 5, 11, 256, 2, 0],
  ],
  edges: [
    ...[0, 1, 6, 0, 2, 12, 3, 5, 30],
    ...[1, 6, 18],
    ...[1, 6, 18, 2, 1, 6],
    ...[4, 0, 24],
    ...[3, 2, 12, 0, 7, 24],
  ],
  trace_function_infos: [],
  trace_tree: [],
  locations: [30, 17, 4, 2],
  strings: ["", "Table", "Key", "Value", long, "onTick", pair, lone],
};

describe("readSnapshot", () => {
  it("gives a heap whose weak references retain nothing: shortcuts, and the table's of a pair", async () => {
    const documents = documentsOf(await read(small));
    const byId = new Map(documents.map((one) => [Number(one["_id"]), one]));
    assert.deepEqual(
      documents.map((one) => one["reference_kinds"]),
      ["pps", "w", "iw", "e", undefined, "wp"],
    );
    // By hand: the key holds the value (64); the string is held by value and closure.
    assert.deepEqual(
      documents.map((one) => Number(one["retained_size"])),
      [496, 16, 96, 64, 128, 256],
    );
    assert.deepEqual(byId.get(4_000_000_007), {
      _id: 4_000_000_007,
      type: "object",
      memsize: 64,
      detachedness: 2,
      reference_names: ["0"],
      reference_kinds: "e",
      class_name: "Value",
      references: [9],
      ...{ depth: 2, parent: 5, dominator: 5 },
      ...{ retained_size: 64, retained_count: 1, referrer_count: 2 },
    });
    assert.deepEqual(byId.get(11)?.["reference_names"], ["Key", "\ufffd"]);
    assert.deepEqual(byId.get(11)?.["location"], { script_id: 17, line: 4, column: 2 });
    assert.equal(byId.get(11)?.["name"], "onTick");
    assert.equal(byId.get(11)?.["class_name"], "(closure)");
  });

  it("cuts what strings say within no character, and tells the whole length", async () => {
    const documents = documentsOf(await read(small), 1023);
    const { value, length, cut } = documents[4] ?? {};
    assert.deepEqual({ value, length, cut }, { value: "ä".repeat(511), length: 705, cut: true });
    assert.equal(documentsOf(await read(small), 5000)[4]?.["value"], long);
  });

  it("goes on at any node with the same documents", async () => {
    const snapshot = await read(small);
    assert.deepEqual(documentsOf(snapshot, 1024, 3), documentsOf(snapshot, 1024).slice(3));
  });

  it("gives the same however the bytes come in pieces", async () => {
    const whole = documentsOf(await read(small));
    for (let size = 1; size < 60; size++) {
      assert.deepEqual(documentsOf(await read(small, size)), whole);
    }
    const bytes = Buffer.from(JSON.stringify(small));
    for (let at = 1; at < bytes.length; at++) {
      const parts = [bytes.subarray(0, at), bytes.subarray(at)];
      assert.deepEqual(documentsOf(await readSnapshot(from(parts), "x")), whole);
    }
  });

  it("finds the nearest function with a file, however deep the tree", async () => {
    const depth = 20_000;
    const meta = {
      ...small.snapshot.meta,
      node_fields: [...small.snapshot.meta.node_fields.slice(0, 5), "trace_node_id"],
    };
    const strings = [...small.strings, "/app/a.js"];
    // Function 0: built-in, without a file; function 1: line 7 of a.js.
    const functions = [1, 0, 0, 0, 0, 2, 0, 8, 17, 7];
    let tree = `[${depth + 2},0,1,1,[]]`;
    for (let id = depth + 1; id > 2; id--) tree = `[${id},0,0,0,${tree}]`;
    const nodes = small.nodes.map((number, at) =>
      at % 6 === 5 ? (at === 17 ? depth + 2 : 0) : number,
    );
    const text = JSON.stringify({
      ...{ ...small, snapshot: { ...small.snapshot, meta }, nodes, strings },
      ...{ trace_function_infos: functions, trace_tree: "TREE" },
    }).replace('"TREE"', () => `[1,0,0,0,[2,1,0,0,${tree}]]`);
    const [, , key] = documentsOf(await readSnapshot(from([Buffer.from(text)]), "x"));
    assert.deepEqual([key?.["file"], key?.["line"]], ["/app/a.js", 7]);
  });

  for (const [what, text, reason] of [
    ["two snapshots in one file", `${JSON.stringify(small)}${JSON.stringify(small)}`, /follows/],
    ["an empty file", "", /cut/],
    ["other JSON", '{"a":1}', /missing/],
    ["nodes before their description", '{"nodes":[]}', /does not come first/],
    ["a missing field", changed({ node_fields: ["type", "name"] }), /node_fields has no field id/],
    ["an unknown kind of edge", changed({ edge_types: [["magic"]] }), /unknown kind, "magic"/],
    ["a huge count", JSON.stringify(small).replace('t":6', 't":4294967290'), /nodes: /],
    ["references of nobody", JSON.stringify(small).replace('t":9', 't":10'), /belong to nobody/],
    ["an id twice", JSON.stringify(small).replace("0,0,1,0,3", "0,0,3,0,3"), /two nodes .* id 3/],
    ["a location of no node", JSON.stringify(small).replace("[30,17", "[31,17"), /location 0/],
    ["a number that is none", JSON.stringify(small).replace("[30,17", "[3.5,17"), /a number/],
  ] as const) {
    it(`refuses ${what}, with the place`, () =>
      assert.rejects(
        readSnapshot(from([Buffer.from(text)]), "x"),
        (error) =>
          error instanceof HeapdumpError &&
          error.code === "decode/corrupt" &&
          /^x: byte \d+: /.test(error.message) &&
          reason.test(error.message),
      ));
  }

  it("never fails otherwise, whatever byte is damaged", async () => {
    const bytes = Buffer.from(JSON.stringify(small));
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), async (at, byte) => {
        const damaged = Buffer.from(bytes);
        damaged[at] = byte;
        try {
          documentsOf(await readSnapshot(from([damaged]), "x"));
        } catch (error) {
          assert.ok(error instanceof HeapdumpError, String((error as Error).stack));
          assert.equal(error.code, "decode/corrupt");
        }
      }),
      { numRuns: 400 },
    );
  });

  it("agrees with JSON.parse and plain loops on a real heap", async function () {
    this.timeout(60_000);
    const parts = await snapshotOfWorker();
    const snapshot = await readSnapshot(Readable.from(parts), "x");
    const { graph, labels, ids } = snapshotHeap(snapshot);
    const raw = JSON.parse(Buffer.concat(parts).toString()) as Raw;
    const width = raw.snapshot.meta.node_fields.length;
    assert.equal(graph.nodeCount, raw.snapshot.node_count);
    assert.equal(graph.edgeTo.length, raw.snapshot.edge_count);
    assert.ok(graph.nodeCount > 20_000, "the heap is large enough to tell something");
    const nameAt = raw.snapshot.meta.node_fields.indexOf("name");
    for (let node = 0; node < graph.nodeCount; node++) {
      const text = raw.nodes[node * width + nameAt] as number;
      same(ids.integerOf[node], raw.nodes[node * width + 2], "id", node);
      same(snapshot.nameOf[node], text, "name", node);
      const type = labels.typeNames[labels.typeOf[node] as number];
      same(type, typeOf(raw, node, width), "type", node);
    }
    for (let text = 0; text < raw.strings.length; text++) {
      const expected = raw.strings[text] as string;
      same(snapshot.strings.text(text), expected, "string", text);
      same(snapshot.strings.units(text), expected.length, "length", text);
    }
    for (let edge = 0; edge < graph.edgeTo.length; edge++) {
      same((graph.edgeTo[edge] as number) * width, raw.edges[edge * 3 + 2], "edge", edge);
    }
    const texts = new Set(raw.strings);
    for (const planted of ["ä ♥ \n", "onTickOfWorker", "WorkerSession"])
      assert.ok(texts.has(planted));
  });
});

/** Of a heap of its own: this process holds all that the tests before this one left. */
async function snapshotOfWorker(): Promise<Buffer[]> {
  const program = `
    class WorkerSession { constructor(n) { this.n = n; this[n] = ["ä ♥ \\n", n / 2, BigInt(n)]; } }
    const key = {};
    globalThis.held = {
      sessions: Array.from({ length: 2000 }, (_, n) => new WorkerSession(n)),
      lone: "\\ud83d" + process.pid, long: "x".repeat(5000), pattern: /a(b)/u, symbol: Symbol("s"),
      weak: [new WeakMap([[key, held => held]]), new WeakRef(key), new WeakSet([key])],
      bound: function onTickOfWorker() { return key; }.bind(key), bytes: new Float64Array(1000),
      map: new Map([[1, { deep: { deeper: {} } }]]), proxy: new Proxy({}, {}), made: function* () {}(),
    };
    const { parentPort } = require("node:worker_threads");
    parentPort.once("message", () => {});
    parentPort.postMessage("ready");`;
  const worker = new Worker(program, { eval: true });
  await once(worker, "message");
  const parts: Buffer[] = [];
  for await (const part of await worker.getHeapSnapshot()) {
    parts.push(Buffer.from(part as Uint8Array));
  }
  await worker.terminate();
  return parts;
}

/** assert.equal, hundreds of thousands of times. */
function same(actual: unknown, expected: unknown, what: string, index: number): void {
  if (actual !== expected) assert.equal(actual, expected, `${what} ${index}`);
}

type Raw = {
  snapshot: {
    node_count: number;
    edge_count: number;
    meta: { node_fields: string[]; node_types: [string[]] };
  };
  nodes: number[];
  edges: number[];
  strings: string[];
};

function typeOf(raw: Raw, node: number, width: number): string | undefined {
  return raw.snapshot.meta.node_types[0][raw.nodes[node * width] as number];
}

function changed(meta: object): string {
  const { snapshot } = small;
  return JSON.stringify({
    ...small,
    snapshot: { ...snapshot, meta: { ...snapshot.meta, ...meta } },
  });
}

function read(snapshot: object, chunkBytes = 1000): Promise<Snapshot> {
  const bytes = Buffer.from(JSON.stringify(snapshot));
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    parts.push(bytes.subarray(at, at + chunkBytes));
  }
  return readSnapshot(from(parts), "x");
}

async function* from(parts: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* parts;
}

function documentsOf(
  snapshot: Snapshot,
  stringBytesMax = 1024,
  nodeFirst = 0,
): Record<string, unknown>[] {
  const { graph, labels, ids } = snapshotHeap(snapshot);
  const computed = computedFields(graph, measureHeap(graph), labels, ids);
  const documents: Record<string, unknown>[] = [];
  for (const block of snapshotDocuments(snapshot, { computed, stringBytesMax, nodeFirst })) {
    for (let at = 0; at < block.bson.length;) {
      const length = block.bson.readInt32LE(at);
      documents.push(BSON.deserialize(block.bson.subarray(at, at + length)));
      at += length;
    }
  }
  return documents;
}
