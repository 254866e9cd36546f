import { putInt32, putInt64, writeDecimal, type BsonWriter } from "../bson-writer.js";
import { putWords, wordSlack, wordsOf } from "../word-bytes.js";
import type { ComputedFields, HeapIds } from "../../schemas/document-block.js";
import type { HeapGraph, HeapLabels, HeapMeasures } from "../../schemas/heap-graph.js";

/**
 * References that the head document holds at most: 17 bytes each at most are 6.8 MB, which leaves room for the
 * record's own fields within MongoDB's 16 MB.
 */
const headReferencesMax = 400_000;
/** References of a continuation document. */
const partReferencesMax = 10_000;
/** Of a reference in BSON: type, seven digits, NUL, eight bytes. */
const referenceBytesMax = 17;

const classNameKey = element(0x02, "class_name");
const referencesKey = wordsOf(element(0x04, "references"));
const depthKey = wordsOf(element(0x10, "depth"));
const retainedSizeKey = wordsOf(element(0x12, "retained_size"));
const retainedCountKey = wordsOf(element(0x12, "retained_count"));
const referrerCountKey = wordsOf(element(0x10, "referrer_count"));
/** Room for the three measures at the end. */
const measuresBytes = 96;

/** Writes the fields that the analysis found, the same for every format. */
export function computedFields(
  graph: HeapGraph,
  measures: HeapMeasures,
  labels: HeapLabels,
  ids: HeapIds,
): ComputedFields {
  // Names repeat millions of times: written once, copied from then on.
  const classNames = labels.classNames.map((name) => {
    const bytes = Buffer.from(name, "utf8");
    const length = Buffer.alloc(4);
    length.writeInt32LE(bytes.length + 1);
    return wordsOf(Buffer.concat([classNameKey, length, bytes, Buffer.from([0])]));
  });
  const { firstEdge, edgeTo } = graph;
  const { integerOf, other } = ids;

  const idOf = (node: number): number | string | bigint => {
    const id = integerOf[node] as number;
    return Number.isNaN(id) ? (other.get(node) ?? "") : id;
  };

  function putId(writer: BsonWriter, name: string, node: number): void {
    const id = idOf(node);
    if (typeof id === "string") writer.string(name, id);
    else writer.int64(name, id);
  }

  function putReferences(writer: BsonWriter, from: number, to: number): void {
    writer.reserve((to - from) * referenceBytesMax + 64);
    let { bytes: out, view } = writer;
    let at = putWords(view, writer.offset, referencesKey);
    const start = at;
    at += 4;
    for (let edge = from; edge < to; edge++) {
      const target = edgeTo[edge] as number;
      const integer = integerOf[target] as number;
      if (!Number.isNaN(integer)) {
        out[at++] = 0x12;
        at = writeDecimal(out, at, edge - from);
        out[at++] = 0;
        at = putInt64(view, at, integer);
        continue;
      }
      writer.offset = at;
      const id = idOf(target);
      writer.indexKey(typeof id === "string" ? 0x02 : 0x12, edge - from);
      if (typeof id === "string") writer.stringValue(id);
      else writer.int64Value(id);
      writer.reserve((to - edge) * referenceBytesMax + 64);
      ({ bytes: out, view } = writer);
      at = writer.offset;
    }
    out[at++] = 0;
    putInt32(view, start, at - start);
    writer.offset = at;
  }

  function append(writer: BsonWriter, node: number): void {
    const className = classNames[labels.classNameOf[node] as number];
    if (className !== undefined) {
      writer.reserve(className.length + wordSlack);
      writer.offset = putWords(writer.view, writer.offset, className);
    }
    const from = firstEdge[node] as number;
    const to = firstEdge[node + 1] as number;
    putReferences(writer, from, Math.min(to, from + headReferencesMax));
    const parts = Math.ceil(Math.max(0, to - from - headReferencesMax) / partReferencesMax);
    if (parts > 0) writer.integer("parts", parts);
    const depth = measures.depth[node] as number;
    if (depth >= 0) {
      writer.reserve(measuresBytes);
      const at = putWords(writer.view, writer.offset, depthKey);
      writer.offset = putInt32(writer.view, at, depth);
      const parent = measures.parent[node] as number;
      if (parent >= 0) putId(writer, "parent", parent);
      const dominator = measures.dominator[node] as number;
      if (dominator >= 0) putId(writer, "dominator", dominator);
    }
    writer.reserve(measuresBytes);
    const { view } = writer;
    let at = putWords(view, writer.offset, retainedSizeKey);
    at = putInt64(view, at, measures.retainedSize[node] as number);
    at = putWords(view, at, retainedCountKey);
    at = putInt64(view, at, measures.retainedCount[node] as number);
    at = putWords(view, at, referrerCountKey);
    writer.offset = putInt32(view, at, measures.referrerCount[node] as number);
  }

  function continueNode(writer: BsonWriter, node: number, partFirst: number): number {
    const from = (firstEdge[node] as number) + headReferencesMax;
    const to = firstEdge[node + 1] as number;
    let part = partFirst;
    for (let slice = from; slice < to; slice += partReferencesMax) {
      const start = writer.begin();
      writer.string("_id", `${idOf(node)}#${part}`);
      putId(writer, "part_of", node);
      writer.integer("part", part);
      putReferences(writer, slice, Math.min(to, slice + partReferencesMax));
      writer.end(start);
      part++;
    }
    return part - partFirst;
  }

  return { append, continue: continueNode };
}

function element(type: number, name: string): Buffer {
  return Buffer.concat([Buffer.from([type]), Buffer.from(`${name}\0`)]);
}
