import type { HeapGraph } from "../../schemas/heap-graph.js";

/** A heap of named objects, drawn in a line: "root:vm > a > b". What begins with "root:" is a root. */
export type DrawnHeap = {
  readonly graph: HeapGraph;
  readonly names: readonly string[];
  nodeOf(name: string): number;
};

/** Draws a heap: each path names objects, ">" is a reference, "~>" a weak one. Every object has 1 byte. */
export function heapOf(...paths: readonly string[]): DrawnHeap {
  const names: string[] = [];
  const nodeOf = (name: string): number => {
    const known = names.indexOf(name);
    return known >= 0 ? known : names.push(name) - 1;
  };
  const edges: { from: number; to: number; weak: boolean }[] = [];
  for (const path of paths) {
    const parts = path.split(/\s*(~?>)\s*/);
    nodeOf((parts[0] ?? "").trim());
    for (let index = 2; index < parts.length; index += 2) {
      edges.push({
        from: nodeOf((parts[index - 2] ?? "").trim()),
        to: nodeOf((parts[index] ?? "").trim()),
        weak: parts[index - 1] === "~>",
      });
    }
  }
  const roots = names.flatMap((name, node) => (name.startsWith("root:") ? [node] : []));
  return { graph: graphOf(names.length, edges, roots), names, nodeOf };
}

/** A graph from a list of edges; every object has 1 byte. */
export function graphOf(
  nodeCount: number,
  edges: readonly { from: number; to: number; weak?: boolean }[],
  roots: readonly number[],
  classOf: readonly number[] = [],
): HeapGraph {
  const firstEdge = new Uint32Array(nodeCount + 1);
  const sorted = edges
    .map((edge, index) => ({ ...edge, index }))
    .sort((one, two) => one.from - two.from || one.index - two.index);
  for (const { from } of sorted) firstEdge[from + 1] = (firstEdge[from + 1] as number) + 1;
  for (let node = 0; node < nodeCount; node++) {
    firstEdge[node + 1] = (firstEdge[node + 1] as number) + (firstEdge[node] as number);
  }
  const anyWeak = sorted.some(({ weak }) => weak === true);
  return {
    nodeCount,
    firstEdge,
    edgeTo: Uint32Array.from(sorted.map(({ to }) => to)),
    classOf: Int32Array.from({ length: nodeCount }, (_, node) => classOf[node] ?? -1),
    weakEdge: anyWeak
      ? Uint8Array.from(sorted.map(({ weak }) => (weak === true ? 1 : 0)))
      : undefined,
    roots: Uint32Array.from(roots),
    shallowSize: new Float64Array(nodeCount).fill(1),
  };
}
