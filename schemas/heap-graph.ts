/**
 * The heap as a graph in typed arrays: what `decode/` and `graph/` give to `load/`.
 *
 * A node is an object of the dump, numbered 0..nodeCount-1 in the order of the dump; an edge is a
 * reference. -1 stands for "none" in every Int32Array.
 */
export type HeapGraph = {
  readonly nodeCount: number;
  /** Edges of node n are edgeTo[firstEdge[n]] … edgeTo[firstEdge[n + 1] - 1], in dump order. Length: nodeCount + 1. */
  readonly firstEdge: Uint32Array;
  readonly edgeTo: Uint32Array;
  /** Node of the object's class, or -1. It is an edge too (an object keeps its class alive), but not in `edgeTo`. */
  readonly classOf: Int32Array;
  /** One byte an edge, 1 = weak: stored, but retains nothing; any other value: strong. Absent: no weak edge. */
  readonly weakEdge: Uint8Array | undefined;
  /** Where the collector starts, in dump order. */
  readonly roots: Uint32Array;
  /** Shallow size in bytes; 0 where the dump does not say. */
  readonly shallowSize: Float64Array;
};

/** What the analysis finds for each node. */
export type HeapMeasures = {
  /** Edges from the nearest root (a root: 0); -1: unreachable. */
  readonly depth: Int32Array;
  /** The node before it on a shortest path from a root; -1: a root, or unreachable. */
  readonly parent: Int32Array;
  /** Immediate dominator; -1: unreachable, a root, or held by several roots with no object in common. */
  readonly dominator: Int32Array;
  /** Bytes freed with this object, itself included. Unreachable: its own size. */
  readonly retainedSize: Float64Array;
  /** Objects freed with this object, itself included. Unreachable: 1. */
  readonly retainedCount: Uint32Array;
  /** Incoming references, weak ones and those to the class not counted twice: one for each edge in `edgeTo`. */
  readonly referrerCount: Uint32Array;
};

/** What is counted where a heap is not analysed. */
export type ReferrerCounts = Pick<HeapMeasures, "referrerCount">;

/** Names of each node, as codes into lists of distinct names; -1: none. */
export type HeapLabels = {
  readonly typeNames: readonly string[];
  readonly typeOf: Uint16Array;
  readonly classNames: readonly string[];
  readonly classNameOf: Int32Array;
  /** Allocation sites, `file:line`. */
  readonly siteNames: readonly string[];
  readonly siteOf: Int32Array | undefined;
  /** The collector's generation in which the object was made. Absent: the dump does not say. */
  readonly generationOf: Int32Array | undefined;
  /**
   * What a node is called as a step of a path, where that is not its class's name, else its type's: the name of a
   * class object, `proc at app.rb:19`. Absent: a step takes more than the first pass reads, such as the edges' names.
   */
  readonly stepLabels?: ReadonlyMap<number, string> | undefined;
  /** Names of the edges; absent: they have none. */
  readonly edgeNames?: EdgeNames | undefined;
};

export type EdgeNames = {
  /** A number for the edge's name: edges of one number have one name. */
  readonly codeOf: (edge: number) => number;
  readonly textOf: (code: number) => string;
};

/** A text that several strings have. */
export type RepeatedText = {
  readonly count: number;
  /** Shallow bytes of all of them, and what all but one take. */
  readonly bytes: number;
  readonly wasted: number;
  /** The first of the strings. */
  readonly sample: number;
};

/** Objects of one class that are held in one way: the same labels on the shortest path from a root. */
export type ShapeRow = {
  readonly typeName: string;
  readonly className: string | undefined;
  /** Labels from the root down to the holder; "" for a root. Absent: no root reaches them. */
  readonly path: string | undefined;
  readonly count: number;
  /** Shallow bytes. */
  readonly bytes: number;
  /** Sums over the objects that no other one of their class dominates, whichever shape that has. */
  readonly retainedBytes: number;
  readonly retainedCount: number;
  /** Sums over the objects that no other one of their type dominates. */
  readonly typeRetainedBytes: number;
  readonly typeRetainedCount: number;
  /** Objects that another one of their class dominates; of their type. */
  readonly insideClass: number;
  readonly insideType: number;
  /** The nearest to a root, and the farthest. */
  readonly depthMin: number;
  readonly depthMax: number;
  /** One of the nodes. */
  readonly sample: number;
  /** The closest node that dominates all of them, or -1. */
  readonly dominator: number;
};

export type HeapShapes = {
  /** The node's shape. */
  readonly shapeOf: Int32Array;
  /** By the shape's number. */
  readonly rows: readonly ShapeRow[];
};

/** What heaps are counted by. */
export const summaryGroups = ["type", "class", "site", "generation"] as const;
export type SummaryGroup = (typeof summaryGroups)[number];

/** One line of a summary: all objects of one type, class, site or generation. */
export type SummaryRow = {
  readonly by: SummaryGroup;
  readonly name: string;
  readonly count: number;
  /** Of `count`, those with no path from a root. */
  readonly unreachable: number;
  /** Shallow bytes. */
  readonly bytes: number;
  /** Freed if all objects of the group went: members dominated by another member are not counted twice. */
  readonly retainedBytes: number;
  readonly retainedCount: number;
};
