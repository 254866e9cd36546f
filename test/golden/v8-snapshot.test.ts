import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decompress } from "fzstd";
import { readSnapshot, type Snapshot } from "../../src/decode/v8-snapshot/read-snapshot.js";
import { snapshotHeap } from "../../src/decode/v8-snapshot/snapshot-heap.js";
import { measureHeap } from "../../src/graph/graph.js";

/** What v8-snapshot/make.mjs got from memlab. */
type Told = {
  readonly id: number;
  readonly type: string;
  readonly size: number;
  readonly retained: number;
  readonly dominator: number;
};

describe("measures of a real V8 snapshot", () => {
  let snapshot: Snapshot;
  let told: Told[];
  before(async () => {
    snapshot = await readSnapshot(chunks(unpacked("node-leak.heapsnapshot.zst")), "fixture");
    const lines = unpacked("node-leak.memlab.tsv.zst").toString("latin1").trimEnd().split("\n");
    told = lines.map((line) => {
      const [id, type, size, retained, dominator] = line.split("\t");
      return {
        ...{ id: Number(id), type: String(type), size: Number(size) },
        ...{ retained: Number(retained), dominator: Number(dominator) },
      };
    });
  });

  it("are those of memlab for every object, but that a WeakMap's value belongs to its key", () => {
    const { graph, ids } = snapshotHeap(snapshot);
    const { dominator, retainedSize } = measureHeap(graph);
    assert.equal(graph.nodeCount, told.length);
    const nodeOf = new Map(told.map(({ id }, node) => [id, node]));
    const keyOf = keysOfWeakMaps(snapshot);
    const expectedDominator = told.map(({ dominator: id }) => nodeOf.get(id) as number);
    const moved: string[] = [];
    for (const [node, { id, type, size }] of told.entries()) {
      assert.deepEqual(
        [ids.integerOf[node], snapshot.nodeTypes[snapshot.typeOf[node] as number]],
        [id, type],
      );
      assert.equal(graph.shallowSize[node], size);
      if (node === 0 || dominator[node] === expectedDominator[node]) continue;
      // memlab takes the table's reference for one that retains; Chrome DevTools and we do not.
      const key = keyOf.get(node);
      assert.equal(ids.integerOf[dominator[node] as number], key, `object ${id}`);
      expectedDominator[node] = nodeOf.get(key as number) as number;
      moved.push(snapshot.strings.text(snapshot.nameOf[node] as number));
    }
    assert.deepEqual(
      [moved.filter((name) => name === "Cached").length, moved.length],
      [30, 31],
      "the program's own 30 pairs, and one of Node's",
    );
    // The sums over memlab's tree, with these 31 objects moved in it.
    const expected = sums(
      expectedDominator,
      told.map(({ size }) => size),
    );
    assert.deepEqual(Array.from(retainedSize), expected);
    const different = told.filter(({ retained }, node) => retained !== expected[node]);
    assert.equal(different.length, 34);
  });

  it("has as many objects of each class as the program made", () => {
    const { labels } = snapshotHeap(snapshot);
    const totals = new Map<string, number>();
    for (const [node, { type }] of told.entries()) {
      if (type !== "object") continue;
      const name = labels.classNames[labels.classNameOf[node] as number] as string;
      totals.set(name, (totals.get(name) ?? 0) + 1);
    }
    for (const [name, count] of [
      ["LeakedSession", 250],
      ["Line", 750],
      ["Cached", 40 + 20 + 1 + 1 + 1 + 30],
      ["Watched", 30],
    ] as const)
      assert.equal(totals.get(name), count, name);
  });
});

/** By node: the id of the key, where the node is a WeakMap's value. Told by the names that V8 gives such references. */
function keysOfWeakMaps({ edgeName, edgeTo, strings }: Snapshot): Map<number, number> {
  const keys = new Map<number, number>();
  for (const [edge, to] of edgeTo.entries()) {
    const text = strings.text(edgeName[edge] as number);
    const key = /part of key \(.* @(\d+)\) -> value .* pair in WeakMap/s.exec(text)?.[1];
    if (key !== undefined) keys.set(to, Number(key));
  }
  return keys;
}

/** Sizes summed up along a tree, each node's before its parent's. */
function sums(parents: readonly number[], sizes: readonly number[]): number[] {
  const result = [...sizes];
  const childrenLeft = new Uint32Array(parents.length);
  for (const [node, parent] of parents.entries())
    if (node !== 0) childrenLeft[parent] = (childrenLeft[parent] as number) + 1;
  const ready = [...parents.keys()].filter((node) => childrenLeft[node] === 0);
  for (let node = ready.pop(); node !== undefined; node = ready.pop()) {
    const parent = parents[node] as number;
    if (node === 0) continue;
    result[parent] = (result[parent] as number) + (result[node] as number);
    childrenLeft[parent] = (childrenLeft[parent] as number) - 1;
    if (childrenLeft[parent] === 0) ready.push(parent);
  }
  return result;
}

async function* chunks(bytes: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(bytes);
}

function unpacked(name: string): Buffer {
  const path = new URL(`../../../test/golden/v8-snapshot/${name}`, import.meta.url);
  return Buffer.from(decompress(readFileSync(path)));
}
