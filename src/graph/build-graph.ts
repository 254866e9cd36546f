import type { HeapIds } from "../../schemas/document-block.js";
import type { EdgeNames, HeapGraph, HeapLabels, RepeatedText } from "../../schemas/heap-graph.js";
import type { ScanBlock } from "../../schemas/scan-block.js";
import { createTextTally } from "./text-tally.js";
import { createObjectIndex } from "./object-index.js";

/** Names that scan blocks refer to by number. */
export type NameLists = {
  readonly types: readonly string[];
  readonly sites: readonly string[];
  readonly classNames: readonly string[];
  readonly references?: readonly string[];
};

export type BuiltHeap = {
  readonly graph: HeapGraph;
  readonly labels: HeapLabels;
  readonly ids: HeapIds;
  /** Texts that several strings have, the most wasteful first; undefined: the dump's texts were not read. */
  readonly repeatedTexts: readonly RepeatedText[] | undefined;
};

export type GraphBuilder = {
  /** Takes a block. Gives the positions whose id an earlier object has: they are not added. */
  add(block: ScanBlock): number[];
  /** Resolves ids to nodes: ids may be used before they are defined. The builder is empty afterwards. */
  finish(names: NameLists): BuiltHeap;
};

/** The candidates of one block, as the block had them. */
type Candidates = {
  readonly ids: Float64Array;
  /** Candidates of the block's n-th object: ids[first[n]] … ids[first[n + 1] - 1]. */
  readonly first: Uint32Array;
  readonly weak: Uint8Array | undefined;
  readonly names: Int32Array | undefined;
  readonly other: ReadonlyMap<number, string | bigint>;
};

/**
 * Builds the graph from scan blocks.
 *
 * Memory while building: 42 to 50 bytes an object (22 of them columns, the rest the index), 4 more for each of sites and
 * generations where the dump has them, up to 40 a text, and 8 a candidate; afterwards 30 to 38 bytes an object and 4 a
 * reference. A block is copied whole; columns are made larger than needed, as what is never written takes no memory.
 */
export function createGraphBuilder(): GraphBuilder {
  let index = createObjectIndex();
  let columns = createColumns();
  const sizeOf = (node: number): number => columns.sizeOf(node);
  let blocks: (Candidates | undefined)[] = [];
  let candidateCount = 0;
  let anyWeak = false;
  const roots: number[] = [];
  const nameOf = new Map<number, string>();
  const labelOf = new Map<number, string>();
  let anyName = false;
  let edgeName = new Int32Array(0);
  let texts = createTextTally(sizeOf);

  function add(block: ScanBlock): number[] {
    const duplicates: number[] = [];
    const nodeFirst = index.count;
    const { ids, otherIds } = block;
    for (let position = 0; position < block.objectCount; position++) {
      const integer = ids[position] as number;
      const id = integer === integer ? integer : (otherIds.get(position) ?? "");
      if (index.add(id) === -1) duplicates.push(position);
    }
    append(duplicates.length === 0 ? block : withoutObjects(block, duplicates), nodeFirst);
    return duplicates;
  }

  function append(block: ScanBlock, nodeFirst: number): void {
    const { objectCount, firstReference, weak } = block;
    const end = firstReference[objectCount] as number;
    columns.append(block);
    const { textHashes, sizes } = block;
    if (textHashes !== undefined) {
      for (let position = 0; position < objectCount; position++) {
        const hash = textHashes[position] as number;
        if (hash === hash) texts.add(hash, nodeFirst + position, sizes[position] as number);
      }
    }
    blocks.push({
      ids: block.references.slice(0, end),
      first: firstReference.slice(0, objectCount + 1),
      weak: weak?.slice(0, end),
      names: block.referenceNames?.slice(0, end),
      other: new Map(block.otherReferences),
    });
    candidateCount += end;
    anyWeak ||= weak !== undefined;
    for (const position of block.rootPositions) roots.push(nodeFirst + position);
    for (const [position, name] of block.names) nameOf.set(nodeFirst + position, name);
    for (const [position, label] of block.labels) labelOf.set(nodeFirst + position, label);
    anyName ||= block.referenceNames !== undefined;
  }

  /** Follows the candidates: those that are ids of the dump become edges, in the order of the dump. */
  function resolveEdges(): Pick<HeapGraph, "firstEdge" | "edgeTo" | "weakEdge"> {
    const firstEdge = new Uint32Array(index.count + 1);
    const edgeTo = new Uint32Array(candidateCount);
    const weakEdge = anyWeak ? new Uint8Array(candidateCount) : undefined;
    edgeName = new Int32Array(anyName ? candidateCount : 0).fill(-1);
    let edgeCount = 0;
    let node = 0;
    for (const [which, block] of blocks.entries()) {
      if (block === undefined) continue;
      const { ids, first, weak, names, other } = block;
      for (let position = 0; position + 1 < first.length; position++) {
        const end = first[position + 1] as number;
        for (let at = first[position] as number; at < end; at++) {
          const integer = ids[at] as number;
          const id = integer === integer ? integer : (other.get(at) ?? "");
          const target = index.nodeOf(id);
          if (target < 0) continue;
          if (weakEdge !== undefined && weak !== undefined)
            weakEdge[edgeCount] = weak[at] as number;
          if (names !== undefined) edgeName[edgeCount] = names[at] as number;
          edgeTo[edgeCount++] = target;
        }
        firstEdge[++node] = edgeCount;
      }
      blocks[which] = undefined;
    }
    return {
      firstEdge,
      edgeTo: edgeTo.subarray(0, edgeCount),
      weakEdge: weakEdge?.subarray(0, edgeCount),
    };
  }

  function finish(names: NameLists): BuiltHeap {
    const nodeCount = index.count;
    const repeatedTexts = texts.repeated();
    texts = createTextTally(sizeOf); // Up to 40 bytes a text, which nobody needs any more.
    const edges = resolveEdges();
    const { typeOf, siteOf, generationOf, shallowSize, classIds, classNameOf } = columns.finish();
    const classOf = new Int32Array(nodeCount);
    for (let node = 0; node < nodeCount; node++) {
      const id = classIds[node] as number;
      classOf[node] = id === id ? index.nodeOf(id) : -1;
    }
    const integerOf = index.integers();
    const { other } = index;
    const classNames = createClassNames(names.classNames, nameOf, integerOf);
    for (let node = 0; node < nodeCount; node++) {
      if ((classNameOf[node] as number) >= 0) continue;
      classNameOf[node] = classNames.codeOf(classOf[node] as number);
    }
    blocks = [];
    index = createObjectIndex();
    columns = createColumns();
    return {
      graph: { nodeCount, ...edges, classOf, roots: Uint32Array.from(roots), shallowSize },
      labels: {
        typeNames: names.types,
        typeOf,
        classNames: classNames.names,
        classNameOf,
        siteNames: names.sites,
        siteOf,
        generationOf,
        stepLabels: labelOf,
        edgeNames: anyName ? edgeNamesOf(edgeName, names.references ?? []) : undefined,
      },
      ids: { integerOf, other },
      repeatedTexts,
    };
  }

  return { add, finish };
}

function edgeNamesOf(edgeName: Int32Array, names: readonly string[]): EdgeNames {
  return {
    codeOf: (edge) => edgeName[edge] as number,
    textOf: (code) => names[code] as string,
  };
}

/** The block without some of its objects: rare, so it may cost. */
function withoutObjects(block: ScanBlock, refused: readonly number[]): ScanBlock {
  const out = new Set(refused);
  const kept = Array.from({ length: block.objectCount }, (_, position) => position).filter(
    (position) => !out.has(position),
  );
  const newPosition = new Map(kept.map((position, index) => [position, index]));
  const moved = <T>(map: ReadonlyMap<number, T>): Map<number, T> =>
    new Map(
      [...map].flatMap(([position, value]) => {
        const to = newPosition.get(position);
        return to === undefined ? [] : [[to, value]];
      }),
    );
  const firstReference = new Uint32Array(kept.length + 1);
  /** Old places of the candidates that stay. */
  const places: number[] = [];
  for (const [index, position] of kept.entries()) {
    const end = block.firstReference[position + 1] as number;
    for (let at = block.firstReference[position] as number; at < end; at++) places.push(at);
    firstReference[index + 1] = places.length;
  }
  const at = <T extends Float64Array | Uint16Array | Int32Array | Uint8Array>(column: T): T =>
    column.slice(0, kept.length).map((_, index) => column[kept[index] as number] as number) as T;
  return {
    objectCount: kept.length,
    ids: at(block.ids),
    otherIds: moved(block.otherIds),
    classIds: at(block.classIds),
    sizes: at(block.sizes),
    typeCodes: at(block.typeCodes),
    siteCodes: at(block.siteCodes),
    generations: at(block.generations),
    classNameCodes: at(block.classNameCodes),
    ...(block.textHashes === undefined ? {} : { textHashes: at(block.textHashes) }),
    firstReference,
    references: Float64Array.from(places, (place) => block.references[place] as number),
    otherReferences: new Map(
      places.flatMap((place, index) => {
        const id = block.otherReferences.get(place);
        return id === undefined ? [] : [[index, id]];
      }),
    ),
    weak:
      block.weak === undefined
        ? undefined
        : Uint8Array.from(places, (place) => block.weak?.[place] as number),
    rootPositions: block.rootPositions.flatMap((position) => newPosition.get(position) ?? []),
    names: moved(block.names),
    labels: moved(block.labels),
    referenceNames:
      block.referenceNames === undefined
        ? undefined
        : Int32Array.from(places, (place) => block.referenceNames?.[place] as number),
  };
}

/** What is known of each node before ids are resolved. */
type FinishedColumns = {
  readonly shallowSize: Float64Array;
  readonly typeOf: Uint16Array;
  readonly siteOf: Int32Array | undefined;
  readonly generationOf: Int32Array | undefined;
  readonly classIds: Float64Array;
  /** Only what records say themselves. */
  readonly classNameOf: Int32Array;
};

type Columns = {
  append(block: ScanBlock): void;
  sizeOf(node: number): number;
  finish(): FinishedColumns;
};

/** Growth steps. The second one makes room for an ordinary dump at once: pages never written take no memory. */
const capacities = [1 << 14, 1 << 23] as const;

function createColumns(): Columns {
  let capacity: number = capacities[0];
  let count = 0;
  let classIds = new Float64Array(capacity);
  let sizes = new Float64Array(capacity);
  let types = new Uint16Array(capacity);
  let classNames = new Int32Array(capacity);
  const sites = createRareColumn();
  const generations = createRareColumn();

  function reserve(needed: number): void {
    if (needed <= capacity) return;
    capacity = Math.max(capacities[1], capacity * 2, needed);
    classIds = enlarged(classIds, new Float64Array(capacity));
    sizes = enlarged(sizes, new Float64Array(capacity));
    types = enlarged(types, new Uint16Array(capacity));
    classNames = enlarged(classNames, new Int32Array(capacity));
  }

  return {
    append: (block) => {
      const { objectCount } = block;
      reserve(count + objectCount);
      classIds.set(block.classIds.subarray(0, objectCount), count);
      sizes.set(block.sizes.subarray(0, objectCount), count);
      types.set(block.typeCodes.subarray(0, objectCount), count);
      sites.append(block.siteCodes.subarray(0, objectCount), count, capacity);
      classNames.set(block.classNameCodes.subarray(0, objectCount), count);
      generations.append(block.generations.subarray(0, objectCount), count, capacity);
      count += objectCount;
    },
    sizeOf: (node) => sizes[node] as number,
    finish: () => ({
      shallowSize: sizes.subarray(0, count),
      typeOf: types.subarray(0, count),
      siteOf: sites.finish(count),
      generationOf: generations.finish(count),
      classIds: classIds.subarray(0, count),
      classNameOf: classNames.subarray(0, count),
    }),
  };
}

type RareColumn = {
  append(values: Int32Array, at: number, capacity: number): void;
  /** undefined: no object has a value. */
  finish(count: number): Int32Array | undefined;
};

/** A column of what most dumps do not say: -1 is none, and it takes memory from the first value on. */
function createRareColumn(): RareColumn {
  let column: Int32Array | undefined;
  return {
    append: (values, at, capacity) => {
      if (column === undefined) {
        if (values.every((one) => one < 0)) return;
        column = new Int32Array(capacity).fill(-1, 0, at);
      } else if (column.length < capacity) column = enlarged(column, new Int32Array(capacity));
      column.set(values, at);
    },
    finish: (count) => column?.subarray(0, count),
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
