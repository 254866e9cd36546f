import assert from "node:assert/strict";
import fc from "fast-check";
import type { HeapGraph, HeapLabels } from "../../../schemas/heap-graph.js";
import { measureHeap } from "../../../src/graph/graph.js";
import { summarise } from "../../../src/graph/summaries.js";
import { graphOf, heapOf } from "../../support/heap.js";

describe("measureHeap", () => {
  it("finds the dominator behind a fork", () => {
    const heap = heapOf("root:vm > a > b > d", "a > c > d", "root:vm ~> d", "lost > d");
    const { dominator, depth, parent, retainedCount, referrerCount } = measureHeap(heap.graph);
    const of = (name: string): number => heap.nodeOf(name);
    assert.equal(dominator[of("d")], of("a"));
    assert.equal(dominator[of("a")], of("root:vm"));
    assert.equal(depth[of("d")], 3);
    assert.equal(parent[of("b")], of("a"));
    assert.equal(retainedCount[of("a")], 4);
    assert.equal(referrerCount[of("d")], 4);
    assert.equal(depth[of("lost")], -1);
    assert.equal(dominator[of("lost")], -1);
    assert.equal(retainedCount[of("lost")], 1);
  });

  it("gives no dominator to what two roots hold", () => {
    const heap = heapOf("root:one > a", "root:two > a");
    const { dominator, depth } = measureHeap(heap.graph);
    assert.equal(dominator[heap.nodeOf("a")], -1);
    assert.equal(depth[heap.nodeOf("a")], 1);
  });

  it("agrees with removing each node and looking what is lost, on random graphs", () =>
    fc.assert(fc.property(randomGraph(), checkAgainstRemoval), { numRuns: 4000 }));

  it("measures a list of 500,000 objects", () => {
    const length = 500_000;
    const graph = graphOf(
      length,
      range(length - 1).map((from) => ({ from, to: from + 1 })),
      [0],
    );
    const { depth, dominator, retainedCount } = measureHeap(graph);
    assert.equal(depth[length - 1], length - 1);
    assert.equal(dominator[length - 1], length - 2);
    assert.equal(retainedCount[0], length);
  });

  it("measures a doubly linked list of 150,000 with a head that knows all", () => {
    const length = 150_000;
    const edges = range(length - 1).flatMap((from) => [
      { from, to: from + 1 },
      { from: from + 1, to: from },
      { from: length, to: from },
    ]);
    const { dominator, retainedCount } = measureHeap(graphOf(length + 1, edges, [length]));
    assert.equal(dominator[length - 2], length);
    assert.equal(retainedCount[length], length + 1);
  });

  it("measures an array of 2,000,000 elements", () => {
    const length = 2_000_000;
    const graph = graphOf(
      length + 1,
      range(length).map((to) => ({ from: length, to })),
      [length],
    );
    const { depth, retainedCount } = measureHeap(graph);
    assert.equal(depth[length - 1], 1);
    assert.equal(retainedCount[length], length + 1);
  });
});

describe("summarise", () => {
  it("counts what a group retains once, on random graphs", () =>
    fc.assert(
      fc.property(
        randomGraph(),
        fc.array(fc.nat(2), { minLength: 12, maxLength: 12 }),
        (graph, groups) => {
          const measures = measureHeap(graph);
          const labels = labelsOf(graph, groups);
          const rows = summarise(graph, measures, labels).filter((row) => row.by === "type");
          for (const [code, name] of labels.typeNames.entries()) {
            const members = range(graph.nodeCount).filter((node) => labels.typeOf[node] === code);
            const row = rows.find((one) => one.name === name);
            assert.equal(row?.count ?? 0, members.length);
            const tops = members.filter((node) => {
              for (
                let above = measures.dominator[node] as number;
                above >= 0;
                above = measures.dominator[above] as number
              ) {
                if (members.includes(above)) return false;
              }
              return true;
            });
            const retained = tops.reduce(
              (sum, node) => sum + (measures.retainedCount[node] as number),
              0,
            );
            assert.equal(row?.retainedCount ?? 0, retained);
            assert.equal(row?.retainedBytes ?? 0, retained);
            assert.equal(
              row?.unreachable ?? 0,
              members.filter((node) => measures.depth[node] === -1).length,
            );
          }
        },
      ),
      { numRuns: 1000 },
    ));
});

function labelsOf(graph: HeapGraph, groups: readonly number[]): HeapLabels {
  return {
    typeNames: ["A", "B", "C"],
    typeOf: Uint16Array.from({ length: graph.nodeCount }, (_, node) => groups[node] ?? 0),
    classNames: [],
    classNameOf: new Int32Array(graph.nodeCount).fill(-1),
    siteNames: [],
    siteOf: new Int32Array(graph.nodeCount).fill(-1),
    generationOf: undefined,
  };
}

/** Up to 12 nodes: loops, edges given twice, weak ones, classes, several roots and what no root reaches. */
function randomGraph(): fc.Arbitrary<HeapGraph> {
  return fc.integer({ min: 1, max: 12 }).chain((nodeCount) => {
    const node = fc.nat(nodeCount - 1);
    const edge = fc.record({ from: node, to: node, weak: fc.nat(5).map((one) => one === 0) });
    return fc
      .tuple(
        fc.array(edge, { maxLength: 30 }),
        fc.uniqueArray(node, { maxLength: 3 }),
        fc.array(fc.integer({ min: -4, max: nodeCount - 1 }), { maxLength: nodeCount }),
      )
      .map(([edges, roots, classes]) =>
        graphOf(
          nodeCount,
          edges,
          roots,
          classes.map((one) => Math.max(-1, one)),
        ),
      );
  });
}

/** The definition of a dominator, computed the slow way. */
function checkAgainstRemoval(graph: HeapGraph): void {
  const measures = measureHeap(graph);
  const all = reachable(graph, -1);
  const lostWithout = range(graph.nodeCount).map((node) => {
    const left = reachable(graph, node).distance;
    return range(graph.nodeCount).filter((other) => all.distance.has(other) && !left.has(other));
  });
  for (const node of range(graph.nodeCount)) {
    const distance = all.distance.get(node);
    assert.equal(measures.depth[node], distance ?? -1);
    if (distance === undefined) {
      assert.equal(measures.dominator[node], -1);
      assert.equal(measures.retainedCount[node], 1);
      continue;
    }
    assert.equal(measures.retainedCount[node], lostWithout[node]?.length);
    assert.equal(measures.retainedSize[node], lostWithout[node]?.length);
    // The immediate dominator is the strict dominator with the fewest nodes lost with it.
    const dominators = range(graph.nodeCount).filter(
      (other) => other !== node && lostWithout[other]?.includes(node),
    );
    const nearest = dominators.sort(
      (one, two) => (lostWithout[one]?.length ?? 0) - (lostWithout[two]?.length ?? 0),
    )[0];
    assert.equal(measures.dominator[node], nearest ?? -1);
    if (distance > 0) assert.equal(all.distance.get(measures.parent[node] as number), distance - 1);
    else assert.equal(measures.parent[node], -1);
  }
}

function reachable(graph: HeapGraph, removed: number): { distance: Map<number, number> } {
  const distance = new Map<number, number>();
  let front = [...graph.roots].filter((root) => root !== removed);
  for (let step = 0; front.length > 0; step++) {
    for (const node of front) if (!distance.has(node)) distance.set(node, step);
    const next = front.flatMap((node) => {
      const targets: number[] = [];
      for (
        let edge = graph.firstEdge[node] as number;
        edge < (graph.firstEdge[node + 1] as number);
        edge++
      ) {
        if (graph.weakEdge?.[edge] !== 1) targets.push(graph.edgeTo[edge] as number);
      }
      const classNode = graph.classOf[node] as number;
      return classNode >= 0 ? [...targets, classNode] : targets;
    });
    front = next.filter((node) => node !== removed && !distance.has(node));
  }
  return { distance };
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}
