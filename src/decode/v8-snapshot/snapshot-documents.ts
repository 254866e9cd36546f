import { BsonWriter, writeDecimal } from "../../bson-writer.js";
import {
  blockRoom,
  type ComputedFields,
  type DocumentBlock,
} from "../../../schemas/document-block.js";
import { closeDocument, openDocument } from "../split-document.js";
import { isNamedByConstructor, stringTypes } from "./class-names.js";
import type { SnapshotRedactor } from "./redact-snapshot.js";
import type { Snapshot } from "./read-snapshot.js";

export type SnapshotDocumentOptions = {
  readonly computed: ComputedFields;
  /** Nodes before this one are left out: they were loaded already. */
  readonly nodeFirst?: number;
  /** Longest text kept of a string or name. Default: 1024. Unit: bytes. */
  readonly stringBytesMax?: number;
  /** Replaces what a string of the heap says. */
  readonly redact?: SnapshotRedactor;
};

/** Longest text kept of a string or name, where nobody says another. Unit: bytes. */
export const stringBytesMaxDefault = 1024;
/** A block is closed at this size. Unit: bytes. */
const blockBytes = 6 << 20;
const blockDocumentsMax = 50_000;
/** Above this, a document's own fields are split: MongoDB takes 16 MiB. Unit: bytes. */
const documentBytesMax = 15 << 20;

/** Gives one document a node, in the order of the dump: the same blocks each time. */
export function* snapshotDocuments(
  snapshot: Snapshot,
  options: SnapshotDocumentOptions,
): Generator<DocumentBlock> {
  const { nodeCount, nodeTypes, typeOf, nameOf, selfSize, strings } = snapshot;
  const { computed, redact } = options;
  const stringBytesMax = options.stringBytesMax ?? stringBytesMaxDefault;
  const isString = nodeTypes.map((type) => stringTypes.has(type));
  const isClassName = nodeTypes.map(isNamedByConstructor);
  const references = referenceWriter(snapshot, redact);
  const writer = new BsonWriter(1 << 16, blockRoom);
  const locations = locationsInOrder(snapshot);
  let location = 0;
  let documentCount = 0;

  function writeName(node: number): void {
    const type = typeOf[node] as number;
    const text = nameOf[node] as number;
    if (isString[type] === true) {
      if (redact !== undefined) {
        const said = strings.text(text);
        const hidden = redact.text(said);
        writer.string("value", cut(hidden, stringBytesMax));
        if (hidden === said && strings.isLonger(text, stringBytesMax)) writeCut(text);
      } else if (strings.isLonger(text, stringBytesMax)) {
        writer.string("value", strings.text(text, stringBytesMax));
        writeCut(text);
      } else {
        writer.key(0x02, "value");
        strings.write(writer, text);
      }
      return;
    }
    // Of objects and native ones the class's name is the same.
    if (isClassName[type] === true) return;
    if (strings.isLonger(text, stringBytesMax)) {
      writer.string("name", strings.text(text, stringBytesMax));
      writeCut(text);
    } else if (strings.units(text) > 0) {
      writer.key(0x02, "name");
      strings.write(writer, text);
    }
  }

  function writeCut(text: number): void {
    writer.integer("length", strings.units(text));
    writer.boolean("cut", true);
  }

  function write(node: number): void {
    const open = openDocument(writer, computed, node);
    writeName(node);
    writer.integer("memsize", selfSize[node] as number);
    const detachedness = snapshot.detachednessOf?.[node] ?? 0;
    if (detachedness !== 0) writer.int32("detachedness", detachedness);
    const site = snapshot.sites.siteOf.get(snapshot.traceNodeOf?.[node] ?? 0);
    if (site !== undefined) {
      writer.string("file", snapshot.sites.files[site] as string);
      writer.integer("line", snapshot.sites.lines[site] as number);
    }
    writeLocation(node);
    references(writer, node);
    documentCount += closeDocument(writer, open, computed, node, documentBytesMax);
  }

  function writeLocation(node: number): void {
    const { order, numbers } = locations;
    while (location < order.length && (numbers[(order[location] as number) * 4] as number) < node)
      location++;
    const at = (order[location] ?? -1) * 4;
    if (at < 0 || numbers[at] !== node) return;
    const document = writer.beginDocument("location");
    writer.integer("script_id", numbers[at + 1] as number);
    writer.integer("line", numbers[at + 2] as number);
    writer.integer("column", numbers[at + 3] as number);
    writer.end(document);
  }

  for (let node = options.nodeFirst ?? 0; node < nodeCount; node++) {
    write(node);
    if (writer.offset < blockBytes && documentCount < blockDocumentsMax) continue;
    const bson = writer.take();
    yield { bson, documentCount, nodeEnd: node + 1, bytesDone: 0 };
    documentCount = 0;
  }
  if (documentCount > 0) {
    yield { bson: writer.take(1), documentCount, nodeEnd: nodeCount, bytesDone: Infinity };
  }
}

/** Gives a function that writes `reference_names` and `reference_kinds` of a node. */
function referenceWriter(
  snapshot: Snapshot,
  redact: SnapshotRedactor | undefined,
): (writer: BsonWriter, node: number) => void {
  const { firstEdge, edgeKind, edgeName, edgeLetters, strings } = snapshot;
  const letterOf = Uint8Array.from(Buffer.from(edgeLetters, "latin1"));
  const hasIndex = [...snapshot.edgeLetters].map((letter) => letter === "e" || letter === "h");
  const isProperty = [...snapshot.edgeLetters].map((letter) => letter === "p");
  // A reference's name is no place for data of a string's length: a cut one would be found by nobody.
  return (writer, node) => {
    const from = firstEdge[node] as number;
    const to = firstEdge[node + 1] as number;
    if (from === to) return;
    const names = writer.beginArray("reference_names");
    for (let edge = from; edge < to; edge++) {
      const kind = edgeKind[edge] as number;
      const name = edgeName[edge] as number;
      writer.indexKey(0x02, edge - from);
      if (hasIndex[kind] === true) {
        writer.reserve(20);
        const start = writer.offset;
        const end =
          name < 0x8000_0000
            ? writeDecimal(writer.bytes, start + 4, name)
            : start + 4 + writer.bytes.write(String(name), start + 4, "latin1");
        writer.bytes[end] = 0;
        writer.bytes.writeInt32LE(end - start - 3, start);
        writer.offset = end + 1;
      } else if (redact !== undefined && isProperty[kind] === true) {
        writer.stringValue(redact.property(strings.text(name)));
      } else strings.write(writer, name);
    }
    writer.end(names);
    writer.key(0x02, "reference_kinds");
    writer.reserve(to - from + 5);
    const { bytes } = writer;
    bytes.writeInt32LE(to - from + 1, writer.offset);
    let at = writer.offset + 4;
    for (let edge = from; edge < to; edge++) {
      bytes[at++] = letterOf[edgeKind[edge] as number] as number;
    }
    bytes[at++] = 0;
    writer.offset = at;
  };
}

/** Places of the locations, by node. */
export function locationsInOrder({ locations }: Snapshot): {
  order: Uint32Array;
  numbers: Float64Array;
} {
  const { numbers, count } = locations;
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  order.sort((a, b) => (numbers[a * 4] as number) - (numbers[b * 4] as number) || a - b);
  return { order, numbers };
}

/** The beginning of a text, in whole characters. */
export function cut(text: string, bytesMax: number): string {
  const utf8 = Buffer.from(text, "utf8");
  if (utf8.length <= bytesMax) return text;
  let end = bytesMax;
  while (end > 0 && ((utf8[end] as number) & 0xc0) === 0x80) end--;
  return utf8.toString("utf8", 0, end);
}
