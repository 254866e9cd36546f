import assert from "node:assert/strict";
import fc from "fast-check";
import type { HeapIds } from "../../../schemas/document-block.js";
import type { HeapGraph, HeapLabels, HeapShapes } from "../../../schemas/heap-graph.js";
import { measureHeap } from "../../../src/graph/graph.js";
import { shapesOf } from "../../../src/graph/shapes.js";
import { graphOf, heapOf, type DrawnHeap } from "../../support/heap.js";

describe("shapesOf", () => {
  it("groups objects by the labels above them, with the closest object that dominates all", () => {
    const heap = heapOf("root:vm > Shop > ARRAY > Order1 > Line1", "ARRAY > Order2 > Line2");
    const shapes = shapesOfDrawn(heap);
    const row = shapes.rows[shapes.shapeOf[heap.nodeOf("Line1")] as number];
    assert.equal(shapes.shapeOf[heap.nodeOf("Line1")], shapes.shapeOf[heap.nodeOf("Line2")]);
    assert.equal(row?.path, "root:vm → Shop → ARRAY[…] → Order");
    assert.equal(row?.count, 2);
    assert.equal(row?.dominator, heap.nodeOf("ARRAY"));
  });

  it("gives no dominator where one of the objects has none", () => {
    const heap = heapOf("root:vm > Order1 > Line1", "root:vm > Order2 > Line2", "root:vm > Line2");
    const both = heapOf("root:vm > A1 > Line1", "root:other > A2 > Line1");
    const { rows, shapeOf } = shapesOfDrawn(both);
    assert.equal(rows[shapeOf[both.nodeOf("Line1")] as number]?.dominator, -1);
    assert.equal(
      shapesOfDrawn(heap).rows.filter(({ className }) => className === "Line").length,
      2,
    );
  });

  it("holds a list of 500,000 in one way, and objects below 100 kinds of holders by the last one", () => {
    const length = 500_000;
    const edges = Array.from({ length: length - 1 }, (_, from) => ({ from, to: from + 1 }));
    const graph = graphOf(length, edges, [0]);
    const list = shapesOfNamed(graph, new Array<string>(length).fill("Node"));
    assert.deepEqual(
      list.rows.map(({ path, count, retainedCount }) => [path, count, retainedCount]),
      [
        ["", 1, length],
        ["Node", length - 1, 0],
      ],
    );
    const deep = graphOf(101, edges.slice(0, 100), [0]);
    const names = Array.from({ length: 101 }, (_, node) => `C${node}x`);
    const { rows, shapeOf } = shapesOfNamed(deep, names);
    assert.match(String(rows[shapeOf[100] as number]?.path), /^C0x → .* → C59x → … → C99x$/);
  });

  it("agrees with climbing from every node, on random graphs", () =>
    fc.assert(fc.property(randomHeap(), fc.boolean(), checkAgainstClimbing), { numRuns: 2000 }));
});

function shapesOfDrawn({ graph, names }: DrawnHeap): HeapShapes {
  return shapesOfNamed(graph, names);
}

/** The class of an object is its name without digits; "root:…" and "ARRAY" are types. */
function shapesOfNamed(graph: HeapGraph, names: readonly string[]): HeapShapes {
  const shapes = shapesOf(graph, measureHeap(graph), labelsOf(names), idsOf(names));
  assert.ok(shapes !== undefined);
  return shapes;
}

function labelsOf(names: readonly string[]): HeapLabels {
  const typeNames = ["ROOT", "ARRAY", "OBJECT"];
  const typeOf = names.map((name) => (name.startsWith("root:") ? 0 : name === "ARRAY" ? 1 : 2));
  const classes = names.map((name) => name.replace(/\d+$/, ""));
  const classNames = [...new Set(classes)];
  return {
    typeNames,
    typeOf: Uint16Array.from(typeOf),
    classNames,
    classNameOf: Int32Array.from(classes, (name, node) =>
      typeOf[node] === 2 ? classNames.indexOf(name) : -1,
    ),
    siteNames: [],
    siteOf: new Int32Array(names.length).fill(-1),
    generationOf: undefined,
    stepLabels: new Map(names.flatMap((name, node) => (name === "P1" ? [[node, "proc"]] : []))),
  };
}

function idsOf(names: readonly string[]): HeapIds {
  return {
    integerOf: new Float64Array(names.length).fill(NaN),
    other: new Map(names.map((name, node) => [node, name])),
  };
}

type RandomHeap = { readonly graph: HeapGraph; readonly names: readonly string[] };

function randomHeap(): fc.Arbitrary<RandomHeap> {
  return fc.integer({ min: 2, max: 14 }).chain((nodeCount) => {
    const node = fc.nat(nodeCount - 1);
    return fc
      .tuple(
        fc.array(fc.record({ from: node, to: node }), { maxLength: 30 }),
        fc.array(fc.constantFrom("A", "B", "P1", "ARRAY"), {
          minLength: nodeCount,
          maxLength: nodeCount,
        }),
      )
      .map(([edges, rest]) => ({
        graph: graphOf(nodeCount, edges, [0, 1]),
        names: ["root:one", "root:two", ...rest.slice(2)],
      }));
  });
}

function checkAgainstClimbing({ graph, names }: RandomHeap, isNamed: boolean): void {
  const measures = measureHeap(graph);
  // Names of edges by their number: some have none, or one that says nothing.
  const textOf = (code: number): string => ["", "@a", "@b", "7"][code] as string;
  const edgeNames = { codeOf: (edge: number) => edge % 4, textOf };
  const labels = isNamed ? { ...labelsOf(names), edgeNames } : labelsOf(names);
  const shapes = shapesOf(graph, measures, labels, idsOf(names));
  assert.ok(shapes !== undefined);
  const { rows, shapeOf } = shapes;
  const stepOf = (node: number, held: number): string => {
    if (names[node] === "ARRAY") return "ARRAY[…]";
    const label = names[node] === "P1" ? "proc" : (names[node] as string);
    const edge = graph.edgeTo.indexOf(held, graph.firstEdge[node]);
    const isOwn = edge >= 0 && edge < (graph.firstEdge[node + 1] as number);
    const name = isNamed && isOwn ? textOf(edge % 4) : "";
    if (name === "7") return `${label}[…]`;
    return name === "" ? label : `${label}.${name}`;
  };
  const groups = new Map<string, number[]>();
  for (let node = 0; node < graph.nodeCount; node++) {
    const steps: string[] = [];
    for (let at = node, above = measures.parent[at] as number; above >= 0;) {
      const step = stepOf(above, at);
      if (steps[0] !== step) steps.unshift(step);
      at = above;
      above = measures.parent[at] as number;
    }
    const path = measures.depth[node] === -1 ? undefined : steps.join(" → ");
    // "P1" is of class P: what it is called is its own affair.
    const kind = names[node] === "P1" ? "P" : names[node]?.replace(/^root:.*/, "ROOT");
    const key = `${path}|${kind}`;
    groups.set(key, [...(groups.get(key) ?? []), node]);
    assert.equal(rows[shapeOf[node] as number]?.path, path);
  }
  assert.equal(rows.length, groups.size);
  for (const members of groups.values()) {
    const shape = shapeOf[members[0] as number] as number;
    assert.ok(members.every((node) => shapeOf[node] === shape));
    const row = rows[shape];
    assert.equal(row?.count, members.length);
    // What a member dominates is counted with the outermost one of its class or type, whichever shape that has.
    const typeOf = (node: number): string =>
      names[node]?.replace(/^root:.*/, "ROOT").replace(/^[^RA].*|^A$/, "OBJECT") as string;
    const classOf = (node: number): string => names[node]?.replace(/^root:.*/, "ROOT") as string;
    for (const [kindOf, told] of [
      [classOf, row?.retainedCount],
      [typeOf, row?.typeRetainedCount],
    ] as const) {
      const outermost = members.filter(
        (node) =>
          !dominatorsOf(measures.dominator, node).some((above) => kindOf(above) === kindOf(node)),
      );
      const sum = outermost.reduce(
        (all, node) => all + (measures.retainedCount[node] as number),
        0,
      );
      assert.equal(told, sum);
    }
    assert.ok(members.includes(row?.sample as number));
    const chains = members.map((node) => dominatorsOf(measures.dominator, node));
    const common = chains[0]?.find((one) => chains.every((chain) => chain.includes(one)));
    assert.equal(row?.dominator, common ?? -1);
  }
}

/** All that dominate a node, the nearest first. */
function dominatorsOf(dominator: Int32Array, node: number): number[] {
  const chain: number[] = [];
  for (let at = dominator[node] as number; at >= 0; at = dominator[at] as number) chain.push(at);
  return chain;
}
