import type { HeapIds } from "../../../schemas/document-block.js";
import type { EdgeNames, HeapGraph, HeapLabels } from "../../../schemas/heap-graph.js";
import { classNameOf, isNamedByConstructor } from "./class-names.js";
import type { Snapshot } from "./read-snapshot.js";

/** Longest name of a class. Unit: bytes. */
export const classNameBytesMax = 1024;

export type SnapshotHeap = {
  readonly graph: HeapGraph;
  readonly labels: HeapLabels;
  readonly ids: HeapIds;
};

/**
 * The snapshot as a graph with one root, node 0. Shares the snapshot's columns.
 *
 * Labels are made when they are first asked for: not before the dominators, which take the most memory.
 */
export function snapshotHeap(snapshot: Snapshot): SnapshotHeap {
  const { nodeCount, edgeKind, nodeTypes, typeOf, sites } = snapshot;
  const none = new Int32Array(nodeCount).fill(-1);
  let classes: ReturnType<typeof classNamesOf> | undefined;
  let steps: Map<number, string> | undefined;
  return {
    graph: {
      nodeCount,
      firstEdge: snapshot.firstEdge,
      edgeTo: snapshot.edgeTo,
      classOf: none,
      weakEdge: edgeKind,
      roots: Uint32Array.of(0),
      shallowSize: snapshot.selfSize,
    },
    labels: {
      typeNames: nodeTypes,
      typeOf,
      get classNames() {
        return (classes ??= classNamesOf(snapshot)).classNames;
      },
      get classNameOf() {
        return (classes ??= classNamesOf(snapshot)).classNameOf;
      },
      siteNames: sites.files.map((file, site) => `${file}:${sites.lines[site]}`),
      siteOf: snapshot.traceNodeOf === undefined ? none : sitesOf(snapshot),
      generationOf: undefined,
      get stepLabels() {
        return (steps ??= closureLabels(snapshot));
      },
      edgeNames: edgeNamesOf(snapshot),
    },
    ids: { integerOf: snapshot.idOf, other: new Map() },
  };
}

function classNamesOf(snapshot: Snapshot): Pick<HeapLabels, "classNames" | "classNameOf"> {
  const { nodeTypes, typeOf, nameOf, strings, nodeCount } = snapshot;
  const classNames: string[] = [];
  const codes = new Map<string, number>();
  const codeOf = (name: string): number => {
    let code = codes.get(name);
    if (code === undefined) {
      code = classNames.length;
      classNames.push(name);
      codes.set(name, code);
    }
    return code;
  };
  const codeOfText = new Int32Array(strings.count).fill(-1);
  const codeOfType = nodeTypes.map((type) =>
    isNamedByConstructor(type) ? -1 : codeOf(classNameOf(type, "")),
  );
  const result = new Int32Array(nodeCount);
  for (let node = 0; node < nodeCount; node++) {
    const type = typeOf[node] as number;
    let code = codeOfType[type] as number;
    if (code === -1) {
      const text = nameOf[node] as number;
      code = codeOfText[text] as number;
      if (code === -1) {
        code = codeOf(
          classNameOf(nodeTypes[type] as string, strings.text(text, classNameBytesMax)),
        );
        codeOfText[text] = code;
      }
    }
    result[node] = code;
  }
  return { classNames, classNameOf: result };
}

/** As src/query/object-labels.ts calls closures that have a name. */
function closureLabels({
  nodeTypes,
  typeOf,
  nameOf,
  strings,
  nodeCount,
}: Snapshot): Map<number, string> {
  const labels = new Map<number, string>();
  const labelOfText = new Map<number, string>();
  const closureType = nodeTypes.indexOf("closure");
  for (let node = 0; node < nodeCount; node++) {
    if (typeOf[node] !== closureType) continue;
    const text = nameOf[node] as number;
    let label = labelOfText.get(text);
    if (label === undefined) {
      const name = strings.text(text, classNameBytesMax);
      label = name === "" ? "" : `closure ${name}()`;
      labelOfText.set(text, label);
    }
    if (label !== "") labels.set(node, label);
  }
  return labels;
}

/** Larger indexes are told as this one: their numbers must fit an Int32Array. */
const indexMax = 0x7fff_fff0;

/** Elements and hidden edges have an index for a name: told apart from texts by the sign. */
function edgeNamesOf({ edgeKind, edgeLetters, edgeName, strings }: Snapshot): EdgeNames {
  const hasIndex = [...edgeLetters].map((letter) => letter === "e" || letter === "h");
  return {
    codeOf: (edge) => {
      const name = edgeName[edge] as number;
      return hasIndex[edgeKind[edge] as number] === true ? -2 - Math.min(name, indexMax) : name;
    },
    textOf: (code) => (code < -1 ? String(-2 - code) : strings.text(code)),
  };
}

function sitesOf({ nodeCount, traceNodeOf, sites }: Snapshot): Int32Array {
  const siteOf = new Int32Array(nodeCount).fill(-1);
  if (traceNodeOf === undefined) return siteOf;
  for (let node = 0; node < nodeCount; node++) {
    siteOf[node] = sites.siteOf.get(traceNodeOf[node] as number) ?? -1;
  }
  return siteOf;
}
