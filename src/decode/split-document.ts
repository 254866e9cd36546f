import { BsonWriter } from "../bson-writer.js";
import type { ComputedFields } from "../../schemas/document-block.js";

/** A value above this size is taken out of its document when that has become too large. Unit: bytes. */
const largeBytes = 512 * 1024;
/** Of the pieces: well below MongoDB's 16 MB, with room for names. */
const pieceBytes = 4 << 20;
/** Elements of an array in one piece, as for references. */
const pieceElementsMax = 10_000;

/** Where a document begins, and where the record's own fields do, behind the computed ones. */
export type OpenDocument = { readonly start: number; readonly ownFrom: number };

/** Begins a node's document with its computed fields: the record's own come next. */
export function openDocument(
  writer: BsonWriter,
  computed: ComputedFields,
  node: number,
): OpenDocument {
  const start = writer.begin();
  computed.begin(writer, node);
  return { start, ownFrom: writer.offset };
}

/**
 * Ends a document, and writes what one document cannot hold into continuation documents.
 *
 * @param documentBytesMax - a document above it is split
 * @returns how many documents were written, this one included
 */
export function closeDocument(
  writer: BsonWriter,
  { start, ownFrom }: OpenDocument,
  computed: ComputedFields,
  node: number,
  documentBytesMax: number,
): number {
  writer.end(start);
  const isTooLarge = writer.offset - start > documentBytesMax;
  const parts = isTooLarge ? splitDocument(writer, start, ownFrom, computed.idOf(node)) : 0;
  return 1 + parts + computed.continue(writer, node, parts + 1);
}

/**
 * Splits the document that begins at `start`, too large for MongoDB: its large fields (behind `ownFrom`) go to
 * continuation documents behind it, in pieces under the same name; the head keeps the first piece.
 *
 * A continuation document has `part_of`, `part`, `field` (dotted path) and `first`: the index of the piece's first
 * element, or the offset of its first byte. Nothing is lost: the pieces in order are the value.
 *
 * @returns how many continuation documents were written
 */
function splitDocument(
  writer: BsonWriter,
  start: number,
  ownFrom: number,
  id: number | string | bigint,
): number {
  const own = Buffer.from(writer.bytes.subarray(ownFrom, writer.offset - 1));
  const pieces: Piece[] = [];
  writer.offset = ownFrom;
  for (const element of elementsOf(own)) {
    const name = own.toString("utf8", element.nameAt, element.valueAt - 1);
    if (element.end - element.at <= largeBytes) copy(writer, own.subarray(element.at, element.end));
    else splitElement(writer, own, element, name, pieces);
  }
  const fields = [...new Set(pieces.map((piece) => piece.field))];
  const list = writer.beginArray("split_fields");
  fields.forEach((field, index) => {
    writer.indexKey(0x02, index);
    writer.stringValue(field);
  });
  writer.end(list);
  writer.end(start);
  pieces.forEach((piece, index) => {
    const document = writer.begin();
    writer.string("_id", `${id}#${index + 1}`);
    writer.id("part_of", id);
    writer.integer("part", index + 1);
    writer.string("field", piece.field);
    writer.integer("first", piece.first);
    copy(writer, piece.element);
    writer.end(document);
  });
  return pieces.length;
}

type Piece = { readonly field: string; readonly first: number; readonly element: Buffer };

type Element = {
  readonly type: number;
  readonly at: number;
  readonly nameAt: number;
  readonly valueAt: number;
  readonly end: number;
};

/** Writes the first piece of a large element into the head; the others go to `pieces`. */
function splitElement(
  writer: BsonWriter,
  bytes: Buffer,
  element: Element,
  path: string,
  pieces: Piece[],
): void {
  const name = bytes.toString("utf8", element.nameAt, element.valueAt - 1);
  const piecesOfThis =
    element.type === 0x02
      ? stringPieces(bytes, element, name)
      : element.type === 0x03 || element.type === 0x04
        ? containerPieces(bytes, element, name, path, pieces)
        : [{ first: 0, element: bytes.subarray(element.at, element.end) }];
  piecesOfThis.forEach((piece, index) => {
    if (index === 0) copy(writer, piece.element);
    else pieces.push({ field: path, ...piece });
  });
}

function stringPieces(
  bytes: Buffer,
  element: Element,
  name: string,
): { first: number; element: Buffer }[] {
  const from = element.valueAt + 4;
  const to = element.end - 1;
  const result = [];
  for (let at = from; at < to;) {
    let end = Math.min(to, at + pieceBytes);
    // Never within a character.
    while (end < to && ((bytes[end] as number) & 0xc0) === 0x80) end--;
    const piece = new BsonWriter(end - at + 64);
    piece.stringBytes(name, bytes.subarray(at, end));
    result.push({ first: at - from, element: piece.take(0) });
    at = end;
  }
  return result;
}

/** Slices of an array or of a document's entries; a member that is itself too large is split in its turn. */
function containerPieces(
  bytes: Buffer,
  element: Element,
  name: string,
  path: string,
  pieces: Piece[],
): { first: number; element: Buffer }[] {
  const inside = bytes.subarray(element.valueAt + 4, element.end - 1);
  const result: { first: number; element: Buffer }[] = [];
  let piece = new BsonWriter(1 << 16);
  let start = begin(piece);
  let count = 0;
  let first = 0;
  let index = 0;
  function begin(writer: BsonWriter): number {
    writer.key(element.type, name);
    return writer.begin();
  }
  function close(): void {
    piece.end(start);
    result.push({ first, element: piece.take(0) });
    piece = new BsonWriter(1 << 16);
    start = begin(piece);
    first = index;
    count = 0;
  }
  for (const member of elementsOf(inside)) {
    const memberBytes = member.end - member.at;
    if (count > 0 && (count === pieceElementsMax || piece.offset + memberBytes > pieceBytes))
      close();
    const memberName = inside.toString("utf8", member.nameAt, member.valueAt - 1);
    if (memberBytes > pieceBytes) {
      splitElement(piece, inside, member, `${path}.${memberName}`, pieces);
    } else if (element.type === 0x04) {
      piece.indexKey(member.type, count);
      copy(piece, inside.subarray(member.valueAt, member.end));
    } else copy(piece, inside.subarray(member.at, member.end));
    count++;
    index++;
  }
  if (count > 0 || result.length === 0) close();
  return result;
}

/** The elements of a document's or array's inside. Only the types that `decode/` writes. */
function* elementsOf(bytes: Buffer): Generator<Element> {
  for (let at = 0; at < bytes.length;) {
    const type = bytes[at] as number;
    const nameAt = at + 1;
    const valueAt = bytes.indexOf(0, nameAt) + 1;
    const end = valueAt + valueBytes(bytes, type, valueAt);
    yield { type, at, nameAt, valueAt, end };
    at = end;
  }
}

function valueBytes(bytes: Buffer, type: number, at: number): number {
  switch (type) {
    case 0x01: // double
    case 0x12: // int64
      return 8;
    case 0x02: // string
      return 4 + bytes.readInt32LE(at);
    case 0x03: // document
    case 0x04: // array
      return bytes.readInt32LE(at);
    case 0x05: // binary
      return 5 + bytes.readInt32LE(at);
    case 0x08: // boolean
      return 1;
    case 0x0a: // null
      return 0;
    case 0x10: // int32
      return 4;
    default:
      throw new Error(`BSON type ${type} is not one that decode/ writes`);
  }
}

function copy(writer: BsonWriter, bytes: Uint8Array): void {
  writer.reserve(bytes.length);
  writer.bytes.set(bytes, writer.offset);
  writer.offset += bytes.length;
}
