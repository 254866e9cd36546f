import assert from "node:assert/strict";
import fc from "fast-check";
import type { ScanBlock } from "../../../schemas/scan-block.js";
import { createGraphBuilder, type BuiltHeap } from "../../../src/graph/build-graph.js";

type Id = number | string | bigint;

/** An object as a test writes it down. */
type Drawn = {
  readonly id: Id;
  readonly references?: readonly Id[];
  /** One flag a reference. */
  readonly weak?: readonly boolean[];
  readonly classId?: number;
  readonly className?: number;
  readonly name?: string;
  readonly isRoot?: boolean;
  readonly size?: number;
};

const names = { types: ["OBJECT", "CLASS"], sites: ["app.rb:1"], classNames: ["Said"] };

describe("createGraphBuilder", () => {
  it("follows ids that are used before they are defined, in a later block too", () => {
    const { graph } = built([[{ id: 1, references: [2, 3] }], [{ id: 2 }], [{ id: 3 }]]);
    assert.deepEqual(edgesOf(graph), [[1, 2], [], []]);
  });

  it("takes for references only what the dump holds; keeps their order and repetitions", () => {
    const { graph } = built([[{ id: 8, references: [9, 7, 9, 8, 5] }, { id: 9 }]]);
    assert.deepEqual(edgesOf(graph), [[1, 1, 0], []]);
  });

  it("knows ids beside the safe integers", () => {
    const beyond = 2n ** 63n - 1n;
    const { graph, ids } = built([
      [
        { id: "root:vm", references: [beyond], isRoot: true },
        { id: beyond, references: ["root:vm", "nobody", 4n] },
      ],
    ]);
    assert.deepEqual(edgesOf(graph), [[1], [0]]);
    assert.deepEqual([...graph.roots], [0]);
    assert.deepEqual(
      [...ids.other],
      [
        [0, "root:vm"],
        [1, beyond],
      ],
    );
    assert.ok(ids.integerOf.every(Number.isNaN));
  });

  it("tells integers apart that differ in their upper half only", () => {
    const far = 2 ** 52;
    const { graph } = built([
      [{ id: 8, references: [far + 8, 2 ** 32 + 8] }, { id: 2 ** 32 + 8 }, { id: far + 8 }],
    ]);
    assert.deepEqual(edgesOf(graph), [[2, 1], [], []]);
  });

  it("refuses a second object of an id, with its references, its name and its being a root", () => {
    const builder = createGraphBuilder();
    assert.deepEqual(builder.add(blockOf([{ id: 1, references: [2], size: 10 }])), []);
    const refused = builder.add(
      blockOf([
        { id: 2, references: [3] },
        { id: 1, references: [2, 2, "x"], name: "Wrong", isRoot: true, size: 99 },
        { id: 3, references: [1, "x"], isRoot: true, size: 30 },
        { id: 2 },
        { id: "x" },
        { id: "x" },
      ]),
    );
    assert.deepEqual(refused, [1, 3, 5]);
    const { graph, ids } = builder.finish(names);
    assert.deepEqual(edgesOf(graph), [[1], [2], [0, 3], []]);
    assert.deepEqual([...graph.roots], [2]);
    assert.deepEqual([...graph.shallowSize], [10, 0, 30, 0]);
    assert.deepEqual([...ids.other], [[3, "x"]]);
  });

  it("keeps weak edges apart, though other blocks have none", () => {
    const { graph } = built([
      [{ id: 1, references: [3, 2] }],
      [{ id: 2, references: [9, 1, 3], weak: [true, false, true] }],
      [{ id: 3, references: [1] }],
    ]);
    assert.deepEqual(edgesOf(graph), [[2, 1], [0, 2], [0]]);
    assert.deepEqual([...(graph.weakEdge ?? [])], [0, 0, 0, 1, 0]);
  });

  it("names classes: as the record says, else as the class object is called, else as Ruby prints it", () => {
    const { graph, labels } = built([
      [
        { id: 1, classId: 10, className: 0 },
        { id: 2, classId: 10 },
        { id: 3, classId: 0xab },
        { id: 4, classId: 404 },
        { id: 5 },
        { id: 10, name: "Shop::Broker" },
        { id: 0xab },
      ],
    ]);
    const named = [...labels.classNameOf].map((code) => labels.classNames[code]);
    assert.deepEqual(named.slice(0, 5), [
      "Said",
      "Shop::Broker",
      "#<Class:0xab>",
      undefined,
      undefined,
    ]);
    assert.deepEqual([...graph.classOf].slice(0, 5), [5, 5, 6, -1, -1]);
  });

  it("gives the same heap however the objects fall into blocks", () =>
    fc.assert(
      fc.property(fc.array(drawn(), { maxLength: 40 }), fc.integer({ min: 1, max: 9 }), sameHeap),
    ));

  it("grows past its first room", () => {
    const length = 40_000;
    const objects = Array.from({ length }, (_, index) => ({
      id: 0x7f00_0000_0000 + index * 40,
      references: [0x7f00_0000_0000 + ((index * 7919) % length) * 40],
      size: index,
    }));
    const { graph } = built(slices(objects, 900));
    assert.equal(graph.nodeCount, length);
    for (let node = 0; node < length; node++) {
      assert.equal(graph.edgeTo[node], (node * 7919) % length);
      assert.equal(graph.shallowSize[node], node);
    }
  });
});

function drawn(): fc.Arbitrary<Drawn> {
  const id = fc.oneof(
    fc.nat(30),
    fc.nat(5).map((number) => number * 2 ** 40),
    fc.constantFrom("root:vm", "root:global", 2n ** 60n),
  );
  return fc.record({
    id,
    references: fc.array(id, { maxLength: 5 }),
    weak: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    isRoot: fc.boolean(),
    classId: fc.nat(30),
    size: fc.nat(100),
  });
}

/** What the definition says, with a Map. */
function sameHeap(objects: readonly Drawn[], perBlock: number): void {
  const nodeOf = new Map<Id, number>();
  const kept: Drawn[] = [];
  const duplicates: number[] = [];
  for (const [position, object] of objects.entries()) {
    if (nodeOf.has(object.id)) duplicates.push(position);
    else {
      nodeOf.set(object.id, kept.length);
      kept.push(object);
    }
  }
  const builder = createGraphBuilder();
  const refused = slices(objects, perBlock).flatMap((part, index) =>
    builder.add(blockOf(part)).map((position) => index * perBlock + position),
  );
  assert.deepEqual(refused, duplicates);
  const { graph } = builder.finish(names);
  const found = kept.map(({ references = [] }) =>
    references.flatMap((reference) => nodeOf.get(reference) ?? []),
  );
  assert.deepEqual(edgesOf(graph), found);
  const weak = kept.flatMap((object) =>
    (object.references ?? []).flatMap((reference, index) =>
      nodeOf.has(reference) ? [object.weak?.[index] === true ? 1 : 0] : [],
    ),
  );
  assert.deepEqual([...(graph.weakEdge ?? weak.map(() => 0))], weak);
  assert.deepEqual(
    [...graph.roots],
    kept.flatMap(({ isRoot }, node) => (isRoot === true ? [node] : [])),
  );
  assert.deepEqual(
    [...graph.classOf],
    kept.map(({ classId }) => (classId === undefined ? -1 : (nodeOf.get(classId) ?? -1))),
  );
  assert.deepEqual(
    [...graph.shallowSize],
    kept.map(({ size }) => size ?? 0),
  );
}

function built(blocks: readonly (readonly Drawn[])[]): BuiltHeap {
  const builder = createGraphBuilder();
  for (const block of blocks) assert.deepEqual(builder.add(blockOf(block)), []);
  return builder.finish(names);
}

/** The block that says so, with arrays longer than needed, as a scanner's are. */
function blockOf(objects: readonly Drawn[]): ScanBlock {
  const references = objects.flatMap((object) => object.references ?? []);
  const spare = 3;
  const column = <T extends Float64Array | Int32Array | Uint16Array | Uint8Array>(
    array: T,
    values: readonly number[],
  ): T => {
    array.fill(77);
    array.set(values);
    return array;
  };
  const length = objects.length + spare;
  const firstReference = [0];
  for (const object of objects) {
    firstReference.push((firstReference.at(-1) ?? 0) + (object.references?.length ?? 0));
  }
  const others = (ids: readonly Id[]): Map<number, string | bigint> =>
    new Map(ids.flatMap((id, index) => (typeof id === "number" ? [] : [[index, id]])));
  const integers = (ids: readonly Id[]): number[] =>
    ids.map((id) => (typeof id === "number" ? id : NaN));
  const ids = objects.map(({ id }) => id);
  const weak = objects.flatMap((object) =>
    (object.references ?? []).map((_, index) => (object.weak?.[index] === true ? 1 : 0)),
  );
  return {
    objectCount: objects.length,
    ids: column(new Float64Array(length), integers(ids)),
    otherIds: others(ids),
    classIds: column(
      new Float64Array(length),
      objects.map(({ classId }) => classId ?? NaN),
    ),
    sizes: column(
      new Float64Array(length),
      objects.map(({ size }) => size ?? 0),
    ),
    typeCodes: column(
      new Uint16Array(length),
      objects.map(() => 0),
    ),
    siteCodes: column(
      new Int32Array(length),
      objects.map(() => -1),
    ),
    generations: column(
      new Int32Array(length),
      objects.map(() => -1),
    ),
    classNameCodes: column(
      new Int32Array(length),
      objects.map(({ className }) => className ?? -1),
    ),
    firstReference: Uint32Array.from(firstReference),
    references: column(new Float64Array(references.length + spare), integers(references)),
    otherReferences: others(references),
    weak: weak.includes(1) ? column(new Uint8Array(weak.length + spare), weak) : undefined,
    labels: new Map(),
    rootPositions: objects.flatMap(({ isRoot }, index) => (isRoot === true ? [index] : [])),
    names: new Map(
      objects.flatMap(({ name }, index) => (name === undefined ? [] : [[index, name]])),
    ),
  };
}

function edgesOf({ nodeCount, firstEdge, edgeTo }: BuiltHeap["graph"]): number[][] {
  return Array.from({ length: nodeCount }, (_, node) => [
    ...edgeTo.subarray(firstEdge[node], firstEdge[node + 1]),
  ]);
}

function slices<T>(list: readonly T[], length: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / length) }, (_, index) =>
    list.slice(index * length, (index + 1) * length),
  );
}
