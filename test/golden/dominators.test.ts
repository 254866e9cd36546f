import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decompress } from "fzstd";
import type { HeapMeasures } from "../../schemas/heap-graph.js";
import { beginScan, scanBlocks } from "../../src/decode/scan-dump.js";
import { lineFormatOf } from "../../src/decode/formats.js";
import { lineBlocks } from "../../src/decode/split-lines.js";
import { createGraphBuilder, type BuiltHeap } from "../../src/graph/build-graph.js";
import { measureHeap } from "../../src/graph/graph.js";

type MeasuredHeap = BuiltHeap & { readonly measures: HeapMeasures };

describe("measures of real dumps", () => {
  it("are those of networkx (dominators/make.py), for every object of dump A", async () => {
    const heap = await measuredHeap("A");
    const expected = unpacked("golden/dominators/gem-ruby200-A.tsv.zst").toString("latin1");
    const lines = expected.trimEnd().split("\n");
    assert.equal(heap.graph.nodeCount, 53_388);
    assert.equal(lines.length, heap.graph.nodeCount);
    for (const [node, line] of lines.entries()) assert.equal(lineOf(heap, node), line);
  });

  for (const [dump, leaked, retained] of [
    ["A", 100, 901],
    ["B", 300, 2701],
    ["C", 600, 5401],
  ] as const) {
    it(`name the array that holds all ${leaked} leaked objects of dump ${dump}`, async () => {
      const { graph, labels, measures } = await measuredHeap(dump);
      const code = labels.classNames.indexOf("Shop::RequestState");
      const instances: number[] = [];
      for (let node = 0; node < graph.nodeCount; node++) {
        if (labels.classNameOf[node] === code) instances.push(node);
      }
      assert.equal(instances.length, leaked);
      const holder = closestCommonDominator(measures, instances);
      assert.equal(labels.typeNames[labels.typeOf[holder] as number], "ARRAY");
      assert.equal(measures.retainedCount[holder], retained);
    });
  }
});

/** As make.py prints it. */
function lineOf({ ids, measures }: MeasuredHeap, node: number): string {
  const idOf = (one: number): string => {
    const integer = ids.integerOf[one] as number;
    return String(Number.isNaN(integer) ? ids.other.get(one) : integer);
  };
  const dominator = measures.dominator[node] as number;
  const depth = measures.depth[node] as number;
  return [
    idOf(node),
    dominator < 0 ? "-" : idOf(dominator),
    depth < 0 ? "-" : depth,
    measures.retainedCount[node],
    measures.retainedSize[node],
    measures.referrerCount[node],
  ].join("\t");
}

function closestCommonDominator({ dominator }: HeapMeasures, nodes: readonly number[]): number {
  const chains = nodes.map((node) => {
    const chain: number[] = [];
    for (let above = dominator[node] as number; above >= 0; above = dominator[above] as number) {
      chain.push(above);
    }
    return chain;
  });
  const [first = [], ...others] = chains;
  return first.find((one) => others.every((chain) => chain.includes(one))) ?? -1;
}

async function measuredHeap(dump: "A" | "B" | "C"): Promise<MeasuredHeap> {
  const scan = beginScan(lineFormatOf("heap-dump-gem"));
  const builder = createGraphBuilder();
  const bytes = unpacked(`fixtures/gem-ruby200-${dump}.json.zst`);
  // Small blocks, so that references lead forward and backward across them.
  const blocks = lineBlocks(chunksOf(bytes), { blockBytes: 100_000 });
  for await (const block of scanBlocks(blocks, scan, { file: dump })) {
    assert.deepEqual(builder.add(block.scan), []);
  }
  const { types, sites, classNames } = scan.names;
  const heap = builder.finish({
    types: types.names,
    sites: sites.names,
    classNames: classNames.names,
  });
  return { ...heap, measures: measureHeap(heap.graph) };
}

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) {
    yield await Promise.resolve(bytes.subarray(at, at + 65_536));
  }
}

function unpacked(path: string): Buffer {
  return Buffer.from(decompress(readFileSync(`test/${path}`)));
}
