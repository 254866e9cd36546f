import { JsonReader } from "./json-reader.js";
import { readTrace, traceSites, type Trace, type TraceSites } from "./trace-sites.js";
import type { TextPool } from "./text-pool.js";

/** V8's snapshot in columns. Node n has the edges firstEdge[n] … firstEdge[n + 1] - 1. */
export type Snapshot = {
  readonly nodeTypes: readonly string[];
  /** A letter for each kind of edge, by our number of it: c, e, p, i, h, s; `w` at 1 and nowhere else. */
  readonly edgeLetters: string;
  readonly nodeCount: number;
  readonly edgeCount: number;
  readonly typeOf: Uint16Array;
  readonly nameOf: Uint32Array;
  readonly idOf: Float64Array;
  readonly selfSize: Float64Array;
  readonly firstEdge: Uint32Array;
  /** Absent: the snapshot has no such field. */
  readonly detachednessOf: Uint8Array | undefined;
  /** Absent: allocations were not tracked. */
  readonly traceNodeOf: Float64Array | undefined;
  /** Number of the kind of each edge; 1: weak, as `HeapGraph.weakEdge` wants it. */
  readonly edgeKind: Uint8Array;
  /** A text's number, or for elements and hidden edges an index. */
  readonly edgeName: Uint32Array;
  /** Number of the node. */
  readonly edgeTo: Uint32Array;
  readonly strings: TextPool;
  /** Where functions and objects were defined, in the order of the dump. */
  readonly locations: Locations;
  readonly sites: TraceSites;
};

export type Locations = {
  readonly count: number;
  /** Four numbers each: node, script id, line, column. */
  readonly numbers: Float64Array;
};

/** V8's kinds of edges. One that is not here is refused: guessing would make retainers of weak ones. */
const kindLetters: Readonly<Record<string, string>> = {
  context: "c",
  element: "e",
  property: "p",
  internal: "i",
  hidden: "h",
  shortcut: "s",
  weak: "w",
};

/** Our number of the kind of edges that retain nothing. */
const weakKind = 1;

type Head = {
  readonly node: Fields;
  readonly nodeTypes: readonly string[];
  readonly edge: Fields;
  readonly edgeLetters: string;
  /** V8's number of a kind of edge → ours. */
  readonly edgeKinds: readonly number[];
  readonly location: Fields;
  readonly trace: Fields;
  readonly traceNode: Fields;
  readonly nodeCount: number;
  readonly edgeCount: number;
};

/** Positions of fields in a row, by name. */
type Fields = { readonly width: number; at(name: string): number; find(name: string): number };

/** More would not fit the typed arrays. */
const countMax = 2 ** 32 - 2;

/**
 * Reads a snapshot as a stream: no text of it is ever held whole.
 *
 * Memory: 34 bytes an object, 9 a reference, the string table's bytes and 17 a string.
 *
 * @throws {HeapdumpError} `decode/corrupt` with the byte's offset, where it is cut or malformed
 */
export async function readSnapshot(
  source: AsyncIterable<Uint8Array>,
  path: string,
): Promise<Snapshot> {
  const reader = new JsonReader(source, path);
  try {
    return await readParts(reader);
  } finally {
    await reader.close();
  }
}

async function readParts(reader: JsonReader): Promise<Snapshot> {
  let head: Head | undefined;
  let nodes: Nodes | undefined;
  let edges: Edges | undefined;
  let strings: TextPool | undefined;
  let locations: Locations = { count: 0, numbers: new Float64Array(0) };
  let functions: number[] = [];
  let trace: Trace | undefined;
  const known = (): Head => head ?? reader.fail('"snapshot" does not come first');
  const once = (what: unknown, key: string): void => {
    if (what !== undefined) reader.fail(`${key} is there twice`);
  };
  await reader.expect("{");
  do {
    const key = await reader.text();
    await reader.expect(":");
    if (key === "snapshot") {
      once(head, key);
      head = headOf(await reader.value(), reader);
    } else if (key === "nodes") {
      once(nodes, key);
      nodes = await readNodes(reader, known());
    } else if (key === "edges") {
      once(edges, key);
      edges = await readEdges(reader, known());
    } else if (key === "strings") {
      once(strings, key);
      strings = await reader.texts();
    } else if (key === "locations") locations = await readLocations(reader, known());
    else if (key === "trace_function_infos") functions = await readFunctions(reader, known());
    else if (key === "trace_tree") trace = await readTrace(reader);
    else await reader.skip();
  } while ((await reader.oneOf(",}")) === ",");
  await reader.end();
  if (nodes === undefined || edges === undefined || strings === undefined) {
    return reader.fail("nodes, edges or strings are missing");
  }
  const { nodeCount, edgeCount, nodeTypes, edgeLetters, trace: functionFields } = known();
  const snapshot = {
    ...{ nodeTypes, edgeLetters, nodeCount, edgeCount, ...nodes, ...edges, strings, locations },
    sites: traceSites(trace, functions, functionFields, strings),
  };
  checkTexts(snapshot, reader);
  checkIds(snapshot, reader);
  return withoutRepeats(snapshot);
}

function headOf(value: unknown, reader: JsonReader): Head {
  const head = (value ?? {}) as Record<string, unknown>;
  const meta = (head["meta"] ?? {}) as Record<string, unknown>;
  const isTexts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every((one) => typeof one === "string");
  const fieldsOf = (name: string, isNeeded: boolean): Fields => {
    const list = meta[name] ?? (isNeeded ? undefined : []);
    if (!isTexts(list)) return reader.fail(`snapshot.meta does not tell the fields: ${name}`);
    return {
      width: list.length,
      find: (field) => list.indexOf(field),
      at: (field) => {
        const index = list.indexOf(field);
        return index === -1 ? reader.fail(`snapshot.meta.${name} has no field ${field}`) : index;
      },
    };
  };
  // The one list in it is the names of the types; the other fields' types are words.
  const typesOf = (name: string): string[] => {
    const types: unknown = meta[name];
    const list: unknown = Array.isArray(types) ? types.find(isTexts) : undefined;
    return isTexts(list) ? list : reader.fail(`snapshot.meta does not tell the types: ${name}`);
  };
  const countOf = (name: string): number => {
    const count = head[name];
    if (typeof count === "number" && Number.isInteger(count) && count >= 0 && count <= countMax)
      return count;
    return reader.fail(`snapshot.${name} is no count`);
  };
  const node = fieldsOf("node_fields", true);
  const edge = fieldsOf("edge_fields", true);
  const letters = typesOf("edge_types").map(
    (type) => kindLetters[type] ?? reader.fail(`references of an unknown kind, "${type}"`),
  );
  const strong = letters.map((letter) => (letter === "w" ? "" : letter)).join("");
  const edgeLetters = `${strong[0] ?? "-"}w${strong.slice(1)}`;
  const nodeCount = countOf("node_count");
  if (nodeCount === 0) reader.fail("the snapshot holds no object");
  return {
    ...{ node, edge, nodeCount, edgeCount: countOf("edge_count") },
    nodeTypes: typesOf("node_types"),
    edgeLetters,
    edgeKinds: letters.map((letter) => edgeLetters.indexOf(letter)),
    location: fieldsOf("location_fields", false),
    trace: fieldsOf("trace_function_info_fields", false),
    traceNode: fieldsOf("trace_node_fields", false),
  };
}

type Nodes = Pick<
  Snapshot,
  "typeOf" | "nameOf" | "idOf" | "selfSize" | "firstEdge" | "detachednessOf" | "traceNodeOf"
>;

async function readNodes(reader: JsonReader, head: Head): Promise<Nodes> {
  const { nodeCount, edgeCount, node: fields, nodeTypes } = head;
  const typeAt = fields.at("type");
  const nameAt = fields.at("name");
  const idAt = fields.at("id");
  const sizeAt = fields.at("self_size");
  const edgeCountAt = fields.at("edge_count");
  const traceAt = fields.find("trace_node_id");
  const detachedAt = fields.find("detachedness");
  const width = fields.width;
  const columns = allocated(reader, "nodes", () => ({
    typeOf: new Uint16Array(nodeCount),
    nameOf: new Uint32Array(nodeCount),
    idOf: new Float64Array(nodeCount),
    selfSize: new Float64Array(nodeCount),
    firstEdge: new Uint32Array(nodeCount + 1),
    detachednessOf: detachedAt === -1 ? undefined : new Uint8Array(nodeCount),
  }));
  const { typeOf, nameOf, idOf, selfSize, firstEdge, detachednessOf } = columns;
  let traceNodeOf: Float64Array | undefined;
  let edges = 0;
  await reader.rows("nodes", width, nodeCount, (numbers, rowFirst, rowCount) => {
    for (let row = 0; row < rowCount; row++) {
      const at = row * width;
      const node = rowFirst + row;
      const type = numbers[at + typeAt] as number;
      if (type >= nodeTypes.length) reader.fail(`node ${node}: a type out of range`);
      typeOf[node] = type;
      const name = numbers[at + nameAt] as number;
      if (name > countMax) reader.fail(`node ${node}: there is no string ${name}`);
      nameOf[node] = name;
      idOf[node] = numbers[at + idAt] as number;
      selfSize[node] = numbers[at + sizeAt] as number;
      edges += numbers[at + edgeCountAt] as number;
      if (edges > edgeCount) reader.fail(`node ${node}: its references are beyond the last`);
      firstEdge[node + 1] = edges;
      if (detachednessOf !== undefined) detachednessOf[node] = numbers[at + detachedAt] as number;
      if (traceAt === -1) continue;
      const trace = numbers[at + traceAt] as number;
      if (trace === 0) continue;
      traceNodeOf ??= new Float64Array(nodeCount);
      traceNodeOf[node] = trace;
    }
  });
  if (edges !== edgeCount) reader.fail(`${edgeCount - edges} references belong to nobody`);
  return { ...columns, traceNodeOf };
}

type Edges = Pick<Snapshot, "edgeKind" | "edgeName" | "edgeTo">;

async function readEdges(reader: JsonReader, head: Head): Promise<Edges> {
  const { nodeCount, edgeCount, edge: fields, edgeKinds } = head;
  const typeAt = fields.at("type");
  const nameAt = fields.at("name_or_index");
  const toAt = fields.at("to_node");
  const width = fields.width;
  const nodeWidth = head.node.width;
  const columns = allocated(reader, "edges", () => ({
    edgeKind: new Uint8Array(edgeCount),
    edgeName: new Uint32Array(edgeCount),
    edgeTo: new Uint32Array(edgeCount),
  }));
  const { edgeKind, edgeName, edgeTo } = columns;
  const kindCount = edgeKinds.length;
  await reader.rows("edges", width, edgeCount, (numbers, rowFirst, rowCount) => {
    for (let row = 0; row < rowCount; row++) {
      const at = row * width;
      const edge = rowFirst + row;
      const kind = numbers[at + typeAt] as number;
      if (kind >= kindCount) reader.fail(`edge ${edge}: a kind out of range`);
      edgeKind[edge] = edgeKinds[kind] as number;
      const name = numbers[at + nameAt] as number;
      if (name > countMax) reader.fail(`edge ${edge}: there is no string ${name}`);
      edgeName[edge] = name;
      const to = numbers[at + toAt] as number;
      const node = Math.floor(to / nodeWidth);
      if (node * nodeWidth !== to || node >= nodeCount) {
        reader.fail(`edge ${edge}: it leads to ${to}, where no node begins`);
      }
      edgeTo[edge] = node;
    }
  });
  return columns;
}

async function readLocations(reader: JsonReader, head: Head): Promise<Locations> {
  const { location: fields, node, nodeCount } = head;
  if (fields.width === 0) {
    await reader.skip();
    return { count: 0, numbers: new Float64Array(0) };
  }
  const positions = ["object_index", "script_id", "line", "column"].map((name) => fields.at(name));
  let numbers = new Float64Array(1 << 12);
  const count = await reader.rows(
    "locations",
    fields.width,
    undefined,
    (given, rowFirst, rowCount) => {
      const needed = (rowFirst + rowCount) * 4;
      if (needed > numbers.length) {
        const bigger = new Float64Array(needed * 2);
        bigger.set(numbers);
        numbers = bigger;
      }
      for (let row = 0; row < rowCount; row++) {
        for (const [field, position] of positions.entries()) {
          numbers[(rowFirst + row) * 4 + field] = given[row * fields.width + position] as number;
        }
        const object = (numbers[(rowFirst + row) * 4] as number) / node.width;
        if (!Number.isInteger(object) || object >= nodeCount) {
          reader.fail(`location ${rowFirst + row}: it is of no node`);
        }
        numbers[(rowFirst + row) * 4] = object;
      }
    },
  );
  return { count, numbers: numbers.subarray(0, count * 4) };
}

async function readFunctions(reader: JsonReader, head: Head): Promise<number[]> {
  const functions: number[] = [];
  await reader.rows(
    "trace_function_infos",
    Math.max(1, head.trace.width),
    undefined,
    (numbers, _first, rowCount) => {
      const length = rowCount * Math.max(1, head.trace.width);
      for (let at = 0; at < length; at++) functions.push(numbers[at] as number);
    },
  );
  return functions;
}

/** A count out of a damaged file must not end the process. */
function allocated<T>(reader: JsonReader, name: string, allocate: () => T): T {
  try {
    return allocate();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return reader.fail(`${name}: no memory for as many as are announced`);
  }
}

function checkTexts(snapshot: Omit<Snapshot, "sites">, reader: JsonReader): void {
  const { nameOf, edgeName, edgeKind, edgeLetters, strings } = snapshot;
  const textCount = strings.count;
  for (let node = 0; node < nameOf.length; node++) {
    if ((nameOf[node] as number) >= textCount) {
      reader.fail(`node ${node}: there is no string ${nameOf[node]}`);
    }
  }
  const hasIndex = [...edgeLetters].map((letter) => letter === "e" || letter === "h");
  for (let edge = 0; edge < edgeName.length; edge++) {
    if ((edgeName[edge] as number) >= textCount && hasIndex[edgeKind[edge] as number] !== true) {
      reader.fail(`edge ${edge}: there is no string ${edgeName[edge]}`);
    }
  }
}

/** Ids are the documents' keys: two objects of one id would be one. */
function checkIds({ idOf }: Omit<Snapshot, "sites">, reader: JsonReader): void {
  let idMax = 0;
  for (const id of idOf) if (id > idMax) idMax = id;
  const twice = (id: number): never => reader.fail(`two nodes have the id ${id}`);
  if (idMax / 64 <= idOf.length + 1024) {
    const seen = new Uint32Array(Math.floor(idMax / 32) + 1);
    for (const id of idOf) {
      const word = Math.floor(id / 32);
      const bit = 1 << (id % 32);
      if (((seen[word] as number) & bit) !== 0) twice(id);
      seen[word] = (seen[word] as number) | bit;
    }
    return;
  }
  const sorted = idOf.slice().sort();
  for (let at = 1; at < sorted.length; at++) {
    if (sorted[at] === sorted[at - 1]) twice(sorted[at] as number);
  }
}

/** V8's name for both references to a value in a WeakMap: the key's, and the table's. */
const pairInWeakMap = /part of key \(.* pair in WeakMap \(table @(\d+)\)$/s;

/**
 * Makes weak what retains nothing though V8 lists it: shortcuts but those of the root, and a WeakMap's reference to a
 * value, which lives as long as its key does.
 *
 * @see Chrome DevTools, front_end/entrypoints/heap_snapshot_worker/HeapSnapshot.ts, isEssentialEdge()
 */
function withoutRepeats(snapshot: Snapshot): Snapshot {
  const { edgeKind, edgeName, edgeLetters, firstEdge, idOf, strings, nodeCount } = snapshot;
  const shortcut = edgeLetters.indexOf("s");
  const internal = edgeLetters.indexOf("i");
  /** By text: 0 not looked at, 1 no such name, 2 one of a pair. */
  const known = new Uint8Array(strings.count);
  const tableOf = new Map<number, number>();
  const isOfTable = (name: number, id: number): boolean => {
    if (known[name] === 0) {
      const table = pairInWeakMap.exec(strings.text(name))?.[1];
      known[name] = table === undefined ? 1 : 2;
      if (table !== undefined) tableOf.set(name, Number(table));
    }
    return known[name] === 2 && tableOf.get(name) === id;
  };
  for (let node = 0; node < nodeCount; node++) {
    const to = firstEdge[node + 1] as number;
    for (let edge = firstEdge[node] as number; edge < to; edge++) {
      const kind = edgeKind[edge];
      if (kind === internal) {
        if (isOfTable(edgeName[edge] as number, idOf[node] as number)) edgeKind[edge] = weakKind;
      } else if (kind === shortcut && node !== 0) edgeKind[edge] = weakKind;
    }
  }
  return snapshot;
}
