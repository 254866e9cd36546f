import type { HeapIds } from "../../schemas/document-block.js";
import type { HeapGraph, HeapLabels } from "../../schemas/heap-graph.js";
import type { ScanBlock } from "../../schemas/scan-block.js";
import { createObjectIndex } from "./object-index.js";

/** Names that scan blocks refer to by number. */
export type NameLists = {
  readonly types: readonly string[];
  readonly sites: readonly string[];
  readonly classNames: readonly string[];
};

export type BuiltHeap = {
  readonly graph: HeapGraph;
  readonly labels: HeapLabels;
  readonly ids: HeapIds;
};

export type GraphBuilder = {
  /** Takes a block. Gives the positions whose id an earlier object has: they are not added. */
  add(block: ScanBlock): number[];
  /** Resolves ids to nodes: ids may be used before they are defined. The builder is empty afterwards. */
  finish(names: NameLists): BuiltHeap;
};

/** Candidates are kept in chunks, so that growing never copies. Unit: references. */
const chunkLength = 1 << 20;

/**
 * Builds the graph from scan blocks.
 *
 * Memory while building: about 60 bytes an object and 8 bytes a candidate, of which 4 a reference remain; chunks are
 * freed as they are resolved.
 */
export function createGraphBuilder(): GraphBuilder {
  const index = createObjectIndex();
  const columns = createColumns();
  let chunks: Float64Array[] = [];
  let weakChunks: Uint8Array[] | undefined;
  let candidateCount = 0;
  const otherCandidates = new Map<number, string | bigint>();
  const roots: number[] = [];
  const nameOf = new Map<number, string>();

  function candidate(id: number, weak: number): void {
    const within = candidateCount & (chunkLength - 1);
    const chunkIndex = (candidateCount - within) / chunkLength;
    if (within === 0) {
      chunks.push(new Float64Array(chunkLength));
      weakChunks?.push(new Uint8Array(chunkLength));
    }
    (chunks[chunkIndex] as Float64Array)[within] = id;
    if (weak === 1) {
      weakChunks ??= chunks.map(() => new Uint8Array(chunkLength));
      (weakChunks[chunkIndex] as Uint8Array)[within] = 1;
    }
    candidateCount++;
  }

  function add(block: ScanBlock): number[] {
    const duplicates: number[] = [];
    const { ids, otherIds, firstReference, references, weak } = block;
    for (let position = 0; position < block.objectCount; position++) {
      const integer = ids[position] as number;
      const node = index.add(Number.isNaN(integer) ? (otherIds.get(position) ?? "") : integer);
      if (node === -1) {
        duplicates.push(position);
        continue;
      }
      columns.push(block, position, candidateCount);
      const to = firstReference[position + 1] as number;
      for (let at = firstReference[position] as number; at < to; at++) {
        const id = references[at] as number;
        if (Number.isNaN(id)) {
          otherCandidates.set(candidateCount, block.otherReferences.get(at) ?? "");
        }
        candidate(id, weak === undefined ? 0 : (weak[at] as number));
      }
      const name = block.names.get(position);
      if (name !== undefined) nameOf.set(node, name);
    }
    const refused = new Set(duplicates);
    // Positions are dense but for the refused ones: the node is the position less those before it.
    for (const position of block.rootPositions) {
      if (refused.has(position)) continue;
      const before = duplicates.filter((duplicate) => duplicate < position).length;
      roots.push(index.count - (block.objectCount - duplicates.length) + position - before);
    }
    return duplicates;
  }

  function finish(names: NameLists): BuiltHeap {
    const nodeCount = index.count;
    const firstEdge = new Uint32Array(nodeCount + 1);
    let edgeTo = new Uint32Array(Math.max(16, candidateCount >>> 1));
    let weakEdge = weakChunks === undefined ? undefined : new Uint8Array(edgeTo.length);
    let edgeCount = 0;
    let at = 0;
    for (let node = 0; node < nodeCount; node++) {
      const end = node + 1 < nodeCount ? columns.firstCandidate(node + 1) : candidateCount;
      for (; at < end; at++) {
        const within = at & (chunkLength - 1);
        const chunkIndex = (at - within) / chunkLength;
        const id = (chunks[chunkIndex] as Float64Array)[within] as number;
        const target = index.nodeOf(Number.isNaN(id) ? (otherCandidates.get(at) ?? "") : id);
        if (target >= 0) {
          if (edgeCount === edgeTo.length) {
            edgeTo = enlarged(edgeTo, new Uint32Array(edgeCount * 2));
            if (weakEdge !== undefined)
              weakEdge = enlarged(weakEdge, new Uint8Array(edgeCount * 2));
          }
          edgeTo[edgeCount] = target;
          if (weakEdge !== undefined) {
            weakEdge[edgeCount] = (weakChunks?.[chunkIndex] as Uint8Array)[within] as number;
          }
          edgeCount++;
        }
        if (within === chunkLength - 1) chunks[chunkIndex] = new Float64Array(0);
      }
      firstEdge[node + 1] = edgeCount;
    }
    chunks = [];
    const classOf = columns.resolveClasses((id) => index.nodeOf(id));
    const integerOf = index.integers();
    const classNames = createClassNames(names.classNames, nameOf, integerOf);
    const classNameOf = new Int32Array(nodeCount);
    for (let node = 0; node < nodeCount; node++) {
      const code = columns.classNameCodes[node] as number;
      classNameOf[node] = code >= 0 ? code : classNames.codeOf(classOf[node] as number);
    }
    return {
      graph: {
        nodeCount,
        firstEdge,
        edgeTo: edgeTo.subarray(0, edgeCount),
        classOf,
        weakEdge: weakEdge?.subarray(0, edgeCount),
        roots: Uint32Array.from(roots),
        shallowSize: columns.sizes.slice(0, nodeCount),
      },
      labels: {
        typeNames: names.types,
        typeOf: columns.typeCodes.slice(0, nodeCount),
        classNames: classNames.names,
        classNameOf,
        siteNames: names.sites,
        siteOf: columns.siteCodes.slice(0, nodeCount),
        generationOf: columns.generations?.slice(0, nodeCount),
      },
      ids: { integerOf, other: index.other },
    };
  }

  return { add, finish };
}

type Columns = {
  push(block: ScanBlock, position: number, firstCandidate: number): void;
  firstCandidate(node: number): number;
  resolveClasses(nodeOf: (id: number) => number): Int32Array;
  readonly sizes: Float64Array;
  readonly typeCodes: Uint16Array;
  readonly siteCodes: Int32Array;
  readonly classNameCodes: Int32Array;
  readonly generations: Int32Array | undefined;
};

/** What is known of each node before ids are resolved, in columns that grow together. */
function createColumns(): Columns {
  let capacity = 1 << 15;
  let count = 0;
  let first = new Float64Array(capacity);
  let classIds = new Float64Array(capacity);
  let sizes = new Float64Array(capacity);
  let typeCodes = new Uint16Array(capacity);
  let siteCodes = new Int32Array(capacity);
  let classNameCodes = new Int32Array(capacity);
  let generations = new Int32Array(capacity);
  let anyGeneration = false;
  return {
    push: (block, position, firstCandidate) => {
      if (count === capacity) {
        capacity *= 2;
        first = enlarged(first, new Float64Array(capacity));
        classIds = enlarged(classIds, new Float64Array(capacity));
        sizes = enlarged(sizes, new Float64Array(capacity));
        typeCodes = enlarged(typeCodes, new Uint16Array(capacity));
        siteCodes = enlarged(siteCodes, new Int32Array(capacity));
        classNameCodes = enlarged(classNameCodes, new Int32Array(capacity));
        generations = enlarged(generations, new Int32Array(capacity));
      }
      first[count] = firstCandidate;
      classIds[count] = block.classIds[position] as number;
      sizes[count] = block.sizes[position] as number;
      typeCodes[count] = block.typeCodes[position] as number;
      siteCodes[count] = block.siteCodes[position] as number;
      classNameCodes[count] = block.classNameCodes[position] as number;
      const generation = block.generations[position] as number;
      if (generation >= 0) anyGeneration = true;
      generations[count++] = generation;
    },
    firstCandidate: (node) => first[node] as number,
    resolveClasses: (nodeOf) => {
      const classOf = new Int32Array(count);
      for (let node = 0; node < count; node++) {
        const id = classIds[node] as number;
        classOf[node] = Number.isNaN(id) ? -1 : nodeOf(id);
      }
      return classOf;
    },
    get sizes() {
      return sizes;
    },
    get typeCodes() {
      return typeCodes;
    },
    get siteCodes() {
      return siteCodes;
    },
    get classNameCodes() {
      return classNameCodes;
    },
    get generations() {
      return anyGeneration ? generations : undefined;
    },
  };
}

/** Names of classes by their node: what the dump calls them, else `#<Class:0x…>` as Ruby prints anonymous ones. */
function createClassNames(
  given: readonly string[],
  nameOf: ReadonlyMap<number, string>,
  integerOf: Float64Array,
): { codeOf(classNode: number): number; readonly names: string[] } {
  const names = [...given];
  const codeOfName = new Map(names.map((name, code) => [name, code]));
  const codeOfNode = new Map<number, number>();
  return {
    names,
    codeOf: (classNode) => {
      if (classNode < 0) return -1;
      let code = codeOfNode.get(classNode);
      if (code !== undefined) return code;
      const id = integerOf[classNode] as number;
      const name =
        nameOf.get(classNode) ?? `#<Class:0x${Number.isNaN(id) ? "?" : id.toString(16)}>`;
      code = codeOfName.get(name);
      if (code === undefined) {
        code = names.length;
        names.push(name);
        codeOfName.set(name, code);
      }
      codeOfNode.set(classNode, code);
      return code;
    },
  };
}

function enlarged<T extends Float64Array | Uint32Array | Int32Array | Uint16Array | Uint8Array>(
  old: T,
  bigger: T,
): T {
  bigger.set(old);
  return bigger;
}
