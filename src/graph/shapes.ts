import type { HeapIds } from "../../schemas/document-block.js";
import type {
  HeapGraph,
  HeapLabels,
  HeapMeasures,
  HeapShapes,
  ShapeRow,
} from "../../schemas/heap-graph.js";

/** Steps of a path told one by one; beyond them it goes on with "…" and its last step. A leak is rarely that deep. */
const stepsMax = 60;
/** Any element of a list: which one it is says nothing of the way an object is held. */
const elementOf = "[…]";
const listTypes = new Set(["ARRAY", "array", "HASH"]);
/** As src/query/object-labels.ts has it. V8 puts a JavaScript array's elements below the array itself. */
const isList = (type: string, label: string): boolean =>
  listTypes.has(type) || (type === "object" && label === "Array");
/** A heap that is held in more ways has no shapes. A Rails-like one of 2.2 million objects has 2,000. */
const shapesMax = 50_000;
const arrow = " → ";
/** Stands for the path of what no root reaches. */
const unreached = -1;

/**
 * Groups the objects by how they are held: a shape is a class and the labels on the shortest path from a root, where
 * a step that is repeated is one step, so that a list of 150,000 is held in one way.
 *
 * Linear: three passes over the nodes, about 40 bytes a node while they run. Numbers shapes in breadth-first order:
 * the same dump gives the same numbers.
 */
export function shapesOf(
  graph: HeapGraph,
  measures: HeapMeasures,
  labels: HeapLabels,
  ids: HeapIds,
): HeapShapes | undefined {
  const { stepLabels } = labels;
  if (stepLabels === undefined) return undefined;
  const { nodeCount, shallowSize } = graph;
  const { parent, retainedSize, retainedCount } = measures;
  const order = byDepth(measures.depth);
  const kinds = kindsOf(labels);
  const steps = stepsOf(labels, stepLabels, kinds, ids);
  const paths = createPaths();
  /** Path of what a node holds; -1: not asked for yet. */
  const pathBelow = new Int32Array(nodeCount).fill(-1);
  const shapeOf = new Int32Array(nodeCount).fill(-1);
  const nameTo = namesToChildren(graph, measures, labels);
  const shapes = createPairs();
  const preorder = preorderOf(order, measures);
  const inside = insideOfOthers(order, preorder, labels, measures);
  const sums = createSums();
  const join = (node: number, path: number): void => {
    const shape = shapes.codeOf(path, kinds.codeOf(node));
    shapeOf[node] = shape;
    if (shape === sums.path.length) sums.begin(path, node);
    sums.count[shape] = (sums.count[shape] as number) + 1;
    sums.bytes[shape] = (sums.bytes[shape] as number) + (shallowSize[node] as number);
    sums.depthMax[shape] = measures.depth[node] as number;
    const others = inside[node] as number;
    const size = retainedSize[node] as number;
    const objects = retainedCount[node] as number;
    if ((others & ofItsClass) === 0) {
      sums.retainedBytes[shape] = (sums.retainedBytes[shape] as number) + size;
      sums.retainedCount[shape] = (sums.retainedCount[shape] as number) + objects;
    } else sums.insideClass[shape] = (sums.insideClass[shape] as number) + 1;
    if ((others & ofItsType) === 0) {
      sums.typeRetainedBytes[shape] = (sums.typeRetainedBytes[shape] as number) + size;
      sums.typeRetainedCount[shape] = (sums.typeRetainedCount[shape] as number) + objects;
    } else sums.insideType[shape] = (sums.insideType[shape] as number) + 1;
    const place = preorder[node] as number;
    if (place < (preorder[sums.first[shape] as number] as number)) sums.first[shape] = node;
    if (place > (sums.last[shape] as number)) sums.last[shape] = place;
  };
  for (const node of order) {
    const above = parent[node] as number;
    let path = 0;
    if (above >= 0) {
      const name = nameTo?.[node] ?? unnamed;
      path = name === unnamed ? (pathBelow[above] as number) : -1;
      if (path < 0) {
        const held = shapeOf[above] as number;
        path = paths.below(sums.path[held] as number, steps.codeOf(above, name));
        if (name === unnamed) pathBelow[above] = path;
      }
    }
    join(node, path);
    if (sums.path.length > shapesMax) return undefined;
  }
  if (order.length < nodeCount) {
    for (let node = 0; node < nodeCount; node++) if (shapeOf[node] === -1) join(node, unreached);
  }
  const texts = paths.texts(steps.texts);
  const rows = sums.path.map((path, shape): ShapeRow => {
    const sample = sums.sample[shape] as number;
    return {
      typeName: labels.typeNames[labels.typeOf[sample] as number] as string,
      className: labels.classNames[labels.classNameOf[sample] as number],
      path: texts[path],
      count: sums.count[shape] as number,
      bytes: sums.bytes[shape] as number,
      retainedBytes: sums.retainedBytes[shape] as number,
      retainedCount: sums.retainedCount[shape] as number,
      typeRetainedBytes: sums.typeRetainedBytes[shape] as number,
      typeRetainedCount: sums.typeRetainedCount[shape] as number,
      insideClass: sums.insideClass[shape] as number,
      insideType: sums.insideType[shape] as number,
      // Nodes come the nearest first.
      depthMin: measures.depth[sample] as number,
      depthMax: sums.depthMax[shape] as number,
      sample,
      dominator: commonDominator(sums.first[shape] as number, sums.last[shape] as number),
    };
  });
  return { shapeOf, rows };

  /** The nearest node that dominates all from the first to the last place: what it dominates stands in one stretch. */
  function commonDominator(first: number, lastPlace: number): number {
    let node = measures.dominator[first] as number;
    while (
      node >= 0 &&
      (preorder[node] as number) + (retainedCount[node] as number) - 1 < lastPlace
    ) {
      node = measures.dominator[node] as number;
    }
    return node;
  }
}

/** The nodes that roots reach, the nearest first, each behind its parent. */
function byDepth(depth: Int32Array): Int32Array {
  let deepest = -1;
  for (const one of depth) if (one > deepest) deepest = one;
  const next = new Uint32Array(deepest + 2);
  for (const one of depth) if (one >= 0) next[one + 1] = (next[one + 1] as number) + 1;
  for (let level = 1; level < next.length; level++) {
    next[level] = (next[level] as number) + (next[level - 1] as number);
  }
  const order = new Int32Array(next[deepest + 1] as number);
  for (let node = 0; node < depth.length; node++) {
    const level = depth[node] as number;
    if (level < 0) continue;
    const place = next[level] as number;
    next[level] = place + 1;
    order[place] = node;
  }
  return order;
}

/** Places in a walk of the dominator tree: what a node dominates has the places right behind its own. */
function preorderOf(order: Int32Array, { dominator, retainedCount }: HeapMeasures): Int32Array {
  const place = new Int32Array(dominator.length).fill(-1);
  /** Where the next child goes. */
  const next = new Int32Array(dominator.length);
  let top = 0;
  // A dominator is nearer to the root than what it dominates.
  for (const node of order) {
    const above = dominator[node] as number;
    const own = above < 0 ? top : (next[above] as number);
    if (above < 0) top += retainedCount[node] as number;
    else next[above] = own + (retainedCount[node] as number);
    place[node] = own;
    next[node] = own + 1;
  }
  return place;
}

/** What dominates a node: another one of its class, of its type. */
const ofItsClass = 1;
const ofItsType = 2;

/**
 * By node: whether another one of its class or type dominates it. What it retains, that one retains, and is counted
 * there: a list of 1,000 links would seem to retain 500 times itself. As src/graph/summaries.ts counts.
 */
function insideOfOthers(
  order: Int32Array,
  preorder: Int32Array,
  { typeNames, typeOf, classNames, classNameOf }: HeapLabels,
  { retainedCount }: HeapMeasures,
): Uint8Array {
  const inside = new Uint8Array(preorder.length);
  const nodeAt = new Int32Array(order.length);
  for (const node of order) nodeAt[preorder[node] as number] = node;
  const classCount = classNames.length;
  /** Behind the places of what the last outermost node of each class and type dominates. */
  const classTo = new Int32Array(classCount + typeNames.length);
  const typeTo = new Int32Array(typeNames.length);
  for (let place = 0; place < nodeAt.length; place++) {
    const node = nodeAt[place] as number;
    const behind = place + (retainedCount[node] as number);
    const type = typeOf[node] as number;
    const className = classNameOf[node] as number;
    const itsClass = className >= 0 ? className : classCount + type;
    if (place < (classTo[itsClass] as number)) inside[node] = ofItsClass;
    else classTo[itsClass] = behind;
    if (place < (typeTo[type] as number)) inside[node] = (inside[node] as number) | ofItsType;
    else typeTo[type] = behind;
  }
  return inside;
}

type Kinds = { codeOf(node: number): number };

/** What an object is: its type and its class's name. */
function kindsOf({ typeOf, classNameOf, classNames }: HeapLabels): Kinds {
  const stride = classNames.length + 1;
  return {
    codeOf: (node) => (typeOf[node] as number) * stride + (classNameOf[node] as number) + 1,
  };
}

/** Stands for an edge without a name. */
const unnamed = -1;
/** References looked through for a name: larger holders are lists, whose edges are indexes. src/query/holders.ts too. */
const namedReferencesMax = 64;

/** The name, by its code, of the edge by which each node's parent holds it; undefined: edges have no names. */
function namesToChildren(
  { nodeCount, firstEdge, edgeTo }: HeapGraph,
  { parent }: HeapMeasures,
  { edgeNames }: HeapLabels,
): Int32Array | undefined {
  if (edgeNames === undefined) return undefined;
  const nameTo = new Int32Array(nodeCount).fill(unnamed);
  for (let node = 0; node < nodeCount; node++) {
    const from = firstEdge[node] as number;
    const to = Math.min(firstEdge[node + 1] as number, from + namedReferencesMax);
    // From the last one: of several references to one object, the first one names it.
    for (let edge = to - 1; edge >= from; edge--) {
      const target = edgeTo[edge] as number;
      if (parent[target] === node) nameTo[target] = edgeNames.codeOf(edge);
    }
  }
  return nameTo;
}

/** Names that say no more than the holder's label does. */
const silentNames = new Set(["", "envval", "(environment)"]);

/** A holder and how it holds: an index is any, as in a list. */
function namedStep(label: string, name: string): string {
  if (silentNames.has(name) || label.endsWith(elementOf)) return label;
  return /^\d+$/.test(name) ? `${label}${elementOf}` : `${label}.${name}`;
}

type Steps = { codeOf(node: number, name: number): number; readonly texts: readonly string[] };

/** How each holder is called on a path: most by their kind, classes and closures by a name of their own. */
function stepsOf(
  labels: HeapLabels,
  stepLabels: ReadonlyMap<number, string>,
  kinds: Kinds,
  ids: HeapIds,
): Steps {
  const { typeNames, typeOf, classNames, classNameOf } = labels;
  const texts: string[] = [];
  const codeOfText = new Map<string, number>();
  const codeOfKind = new Map<number, number>();
  const rootType = typeNames.indexOf("ROOT");
  const coded = (text: string): number => {
    let code = codeOfText.get(text);
    if (code === undefined) {
      code = texts.push(text) - 1;
      codeOfText.set(text, code);
    }
    return code;
  };
  const { edgeNames } = labels;
  const pairs = createPairs();
  /** Step of each pair of a label and a name. */
  const codeOfPair: number[] = [];
  const named = (label: number, name: number): number => {
    const pair = pairs.codeOf(label, name);
    if (pair === codeOfPair.length) {
      const text = edgeNames?.textOf(name) ?? "";
      codeOfPair.push(coded(namedStep(texts[label] as string, text)));
    }
    return codeOfPair[pair] as number;
  };
  const labelCodeOf = (node: number): number => {
    const type = typeOf[node] as number;
    const id = ids.integerOf[node] as number;
    if (type === rootType) return coded(String(Number.isNaN(id) ? ids.other.get(node) : id));
    const own = stepLabels.get(node);
    if (own !== undefined) return coded(own);
    const kind = kinds.codeOf(node);
    let code = codeOfKind.get(kind);
    if (code === undefined) {
      const typeName = typeNames[type] as string;
      const label = classNames[classNameOf[node] as number] ?? typeName;
      code = coded(isList(typeName, label) ? `${label}${elementOf}` : label);
      codeOfKind.set(kind, code);
    }
    return code;
  };
  return {
    codeOf: (node, name) => {
      const label = labelCodeOf(node);
      return name === unnamed ? label : named(label, name);
    },
    texts,
  };
}

type Paths = {
  /** The path that goes on by a step. Path 0 has none. */
  below(path: number, step: number): number;
  texts(stepTexts: readonly string[]): string[];
};

function createPaths(): Paths {
  const pairs = createPairs();
  pairs.codeOf(-1, -1); // The path without steps.
  const above: number[] = [-1];
  const lastStep: number[] = [-1];
  const length: number[] = [0];
  const omitted = -2;
  const pushed = (path: number, step: number): number => {
    const code = pairs.codeOf(path, step);
    if (code === above.length) {
      above.push(path);
      lastStep.push(step);
      length.push((length[path] as number) + 1);
    }
    return code;
  };
  return {
    below: (path, step) => {
      if (lastStep[path] === step) return path;
      if ((length[path] as number) < stepsMax) return pushed(path, step);
      const isFull = length[path] === stepsMax;
      const gap = isFull ? pushed(path, omitted) : (above[path] as number);
      return pushed(gap, step);
    },
    texts: (stepTexts) => {
      const texts: string[] = [""];
      for (let path = 1; path < above.length; path++) {
        const before = texts[above[path] as number] as string;
        const step = lastStep[path] as number;
        const text = step === omitted ? "…" : (stepTexts[step] as string);
        texts.push(before === "" ? text : `${before}${arrow}${text}`);
      }
      return texts;
    },
  };
}

/** Sums of each shape, by its number. */
function createSums(): {
  readonly path: number[];
  readonly sample: number[];
  readonly count: number[];
  readonly bytes: number[];
  readonly retainedBytes: number[];
  readonly retainedCount: number[];
  readonly typeRetainedBytes: number[];
  readonly typeRetainedCount: number[];
  readonly insideClass: number[];
  readonly insideType: number[];
  readonly depthMax: number[];
  /** The member that comes first in the walk of the dominator tree, and the place of the last one. */
  readonly first: number[];
  readonly last: number[];
  begin(path: number, node: number): void;
} {
  const path: number[] = [];
  const sample: number[] = [];
  const count: number[] = [];
  const bytes: number[] = [];
  const retainedBytes: number[] = [];
  const retainedCount: number[] = [];
  const typeRetainedBytes: number[] = [];
  const typeRetainedCount: number[] = [];
  const insideClass: number[] = [];
  const insideType: number[] = [];
  const depthMax: number[] = [];
  const first: number[] = [];
  const last: number[] = [];
  const retained = { retainedBytes, retainedCount, typeRetainedBytes, typeRetainedCount };
  const more = { insideClass, insideType, depthMax };
  const zeroed = [count, bytes, ...Object.values(retained), ...Object.values(more)];
  return {
    ...{ path, sample, count, bytes, ...retained, ...more, first, last },
    begin: (itsPath, node) => {
      path.push(itsPath);
      sample.push(node);
      for (const sum of zeroed) sum.push(0);
      first.push(node);
      last.push(-1);
    },
  };
}

/** Numbers pairs of integers in the order of their first appearance. Open addressing, at most half full. */
function createPairs(): { codeOf(one: number, two: number): number } {
  let mask = (1 << 12) - 1;
  let slots = new Int32Array(mask + 1).fill(-1);
  let ones = new Int32Array(1 << 11);
  let twos = new Int32Array(1 << 11);
  let count = 0;
  const slotOf = (one: number, two: number): number => {
    let slot = hashOf(one, two) & mask;
    for (;;) {
      const code = slots[slot] as number;
      if (code === -1 || (ones[code] === one && twos[code] === two)) return slot;
      slot = (slot + 1) & mask;
    }
  };
  const grow = (): void => {
    mask = mask * 2 + 1;
    slots = new Int32Array(mask + 1).fill(-1);
    const [oldOnes, oldTwos] = [ones, twos];
    ones = new Int32Array(count * 2);
    twos = new Int32Array(count * 2);
    ones.set(oldOnes);
    twos.set(oldTwos);
    for (let code = 0; code < count; code++) {
      slots[slotOf(ones[code] as number, twos[code] as number)] = code;
    }
  };
  return {
    codeOf: (one, two) => {
      const slot = slotOf(one, two);
      const known = slots[slot] as number;
      if (known !== -1) return known;
      slots[slot] = count;
      ones[count] = one;
      twos[count] = two;
      count++;
      if (count === ones.length) grow();
      return count - 1;
    },
  };
}

/** @see MurmurHash3's finaliser */
function hashOf(one: number, two: number): number {
  let hash = Math.imul(one ^ Math.imul(two, 0x9e3779b1), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
