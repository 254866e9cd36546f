import { putInt32, putInt64, writeDecimal, type BsonWriter } from "../bson-writer.js";
import { putWords, wordSlack, wordsOf, type Words } from "../word-bytes.js";
import type { ComputedFields, HeapIds } from "../../schemas/document-block.js";
import type {
  HeapGraph,
  HeapLabels,
  HeapMeasures,
  ReferrerCounts,
} from "../../schemas/heap-graph.js";

/**
 * References that the head document holds at most: 17 bytes each at most are 6.8 MB, which leaves room for the
 * record's own fields within MongoDB's 16 MB.
 */
const headReferencesMax = 400_000;
/** References of a continuation document. */
const partReferencesMax = 10_000;
/** Of a reference in BSON: type, seven digits, NUL, eight bytes. */
const referenceBytesMax = 17;

const typeKey = element(0x02, "type");
const classNameKey = element(0x02, "class_name");
const idKey = idKeyOf("_id");
const parentKey = idKeyOf("parent");
const dominatorKey = idKeyOf("dominator");
const referencesKey = wordsOf(element(0x04, "references"));
const depthKey = wordsOf(element(0x10, "depth"));
const retainedSizeKey = wordsOf(element(0x12, "retained_size"));
const retainedCountKey = wordsOf(element(0x12, "retained_count"));
const referrerCountKey = wordsOf(element(0x10, "referrer_count"));
/** Room for the id and the measures where ids are integers. */
const measuresBytes = 256;

/**
 * Writes the fields that are the same for every format, in front of the record's own: a server reads a document from its
 * beginning, each time it looks for a field to index or to filter by.
 *
 * @param measures - without the analysis, documents have no depth, dominator or retained size
 */
export function computedFields(
  graph: HeapGraph,
  measures: HeapMeasures | ReferrerCounts,
  labels: HeapLabels,
  ids: HeapIds,
): ComputedFields {
  // Names repeat millions of times: written once, copied from then on.
  const types = labels.typeNames.map((name) => wordsOf(textElement(typeKey, name)));
  const classNames = labels.classNames.map((name) => wordsOf(textElement(classNameKey, name)));
  const { firstEdge, edgeTo } = graph;
  const { integerOf, other } = ids;
  const { referrerCount } = measures;
  const analysis = "depth" in measures ? measures : undefined;

  const idOf = (node: number): number | string | bigint => {
    const id = integerOf[node] as number;
    return Number.isNaN(id) ? (other.get(node) ?? "") : id;
  };

  /** An id under a name. Room for an integer must be reserved, and is again when it was none. */
  function putId(writer: BsonWriter, at: number, key: IdKey, node: number): number {
    const integer = integerOf[node] as number;
    if (!Number.isNaN(integer)) {
      return putInt64(writer.view, putWords(writer.view, at, key.words), integer);
    }
    const id = idOf(node);
    writer.offset = at;
    writer.id(key.name, id);
    writer.reserve(measuresBytes);
    return writer.offset;
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

  function begin(writer: BsonWriter, node: number): void {
    const type = types[labels.typeOf[node] as number] as Words;
    const className = classNames[labels.classNameOf[node] as number];
    writer.reserve(measuresBytes);
    writer.offset = putId(writer, writer.offset, idKey, node);
    writer.reserve(type.length + (className?.length ?? 0) + wordSlack + measuresBytes);
    let at = putWords(writer.view, writer.offset, type);
    if (className !== undefined) at = putWords(writer.view, at, className);
    writer.offset = at;
    putAllReferences(writer, node);
    writer.reserve(measuresBytes);
    if (analysis !== undefined) putAnalysis(writer, node, analysis);
    at = putWords(writer.view, writer.offset, referrerCountKey);
    writer.offset = putInt32(writer.view, at, referrerCount[node] as number);
  }

  function putAnalysis(writer: BsonWriter, node: number, measures: HeapMeasures): void {
    let at = writer.offset;
    const depth = measures.depth[node] as number;
    const parent = measures.parent[node] as number;
    const dominator = measures.dominator[node] as number;
    if (depth >= 0) {
      at = putInt32(writer.view, putWords(writer.view, at, depthKey), depth);
      if (parent >= 0) at = putId(writer, at, parentKey, parent);
      if (dominator >= 0) at = putId(writer, at, dominatorKey, dominator);
    }
    const { view } = writer;
    at = putWords(view, at, retainedSizeKey);
    at = putInt64(view, at, measures.retainedSize[node] as number);
    at = putWords(view, at, retainedCountKey);
    writer.offset = putInt64(view, at, measures.retainedCount[node] as number);
  }

  function putAllReferences(writer: BsonWriter, node: number): void {
    const from = firstEdge[node] as number;
    const to = firstEdge[node + 1] as number;
    putReferences(writer, from, Math.min(to, from + headReferencesMax));
    const parts = Math.ceil(Math.max(0, to - from - headReferencesMax) / partReferencesMax);
    if (parts > 0) writer.integer("parts", parts);
  }

  function continueNode(writer: BsonWriter, node: number, partFirst: number): number {
    const from = (firstEdge[node] as number) + headReferencesMax;
    const to = firstEdge[node + 1] as number;
    let part = partFirst;
    for (let slice = from; slice < to; slice += partReferencesMax) {
      const start = writer.begin();
      writer.string("_id", `${idOf(node)}#${part}`);
      writer.id("part_of", idOf(node));
      writer.integer("part", part);
      putReferences(writer, slice, Math.min(to, slice + partReferencesMax));
      writer.end(start);
      part++;
    }
    return part - partFirst;
  }

  return { idOf, begin, continue: continueNode };
}

type IdKey = { readonly name: string; readonly words: Words };

function idKeyOf(name: string): IdKey {
  return { name, words: wordsOf(element(0x12, name)) };
}

function textElement(key: Buffer, text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  const length = Buffer.alloc(4);
  length.writeInt32LE(bytes.length + 1);
  return Buffer.concat([key, length, bytes, Buffer.from([0])]);
}

function element(type: number, name: string): Buffer {
  return Buffer.concat([Buffer.from([type]), Buffer.from(`${name}\0`)]);
}
