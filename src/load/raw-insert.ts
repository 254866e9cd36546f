import { createRequire } from "node:module";
import { BSON, Db, type WriteConcernSettings } from "mongodb";

/** What the server answers to an insert. */
export type InsertAnswer = {
  readonly n: number;
  readonly writeErrors?: readonly {
    readonly index: number;
    readonly code: number;
    readonly errmsg: string;
  }[];
  readonly writeConcernError?: { readonly code: number; readonly errmsg: string };
};

type Sequence = { push(document: object, bytes: Uint8Array): number; toBin(): Uint8Array };
type SequenceClass = new (field: string) => Sequence;

/** Bytes of a message's section before its documents: kind, length, field and NUL. @see OP_MSG, section kind 1 */
const sectionRoom = 1 + 4 + "documents".length + 1;

/**
 * The driver's own carrier of serialised documents. It is internal: this file alone knows it, and does without it
 * where a later driver has changed it.
 *
 * @see node_modules/mongodb/lib/cmap/commands.js
 */
const sequenceClass = findSequenceClass();

function findSequenceClass(): SequenceClass | undefined {
  try {
    const commands = createRequire(import.meta.url)("mongodb/lib/cmap/commands.js") as {
      DocumentSequence?: SequenceClass;
    };
    const found = commands.DocumentSequence;
    if (found === undefined) return undefined;
    const probe = new found("documents") as unknown as { chunks?: unknown; documents?: unknown };
    return Array.isArray(probe.chunks) && Array.isArray(probe.documents) ? found : undefined;
  } catch {
    return undefined;
  }
}

/** Sections in memory that has room in front of them, and how much. Unit: bytes. */
const roomBefore = new WeakMap<Uint8Array, number>();

/** Whether the driver joins the parts of a message around a section without a copy of it. Settled by the first insert. */
let isInPlace: boolean | undefined;

/**
 * The driver would copy the documents into a section, and this into a message: two times four megabytes, of new memory
 * each time. Its function that joins bytes gets another one in front, which writes what stands before a section of ours
 * into the room there. Of all other bytes, the driver's own makes what it always did.
 *
 * @see extractDocumentSequences in node_modules/mongodb/lib/cmap/commands.js, writeCommand in connection.js
 */
function joinInPlace(): boolean {
  if (sequenceClass === undefined) return false;
  try {
    const { ByteUtils: bytes } = createRequire(import.meta.url)("mongodb/lib/bson.js") as {
      ByteUtils: { concat(parts: readonly Uint8Array[]): Uint8Array };
    };
    const concat = bytes.concat.bind(bytes);
    const memory = Buffer.concat([Buffer.alloc(sectionRoom), BSON.serialize({ _id: 1 })]);
    const theirs = new sequenceClass("documents");
    theirs.push({}, memory.subarray(sectionRoom));
    if (!sectionInPlace(memory).equals(theirs.toBin())) return false;
    bytes.concat = (parts) => joinedInPlace(parts) ?? concat(parts);
    return true;
  } catch {
    return false;
  }
}

/** The parts as one, in the last one's memory. Undefined: that is none of ours, or has no room for the others. */
function joinedInPlace(parts: readonly Uint8Array[]): Buffer | undefined {
  const section = parts.at(-1);
  const room = section === undefined ? undefined : roomBefore.get(section);
  if (section === undefined || room === undefined) return undefined;
  const before = parts.slice(0, -1);
  const bytesBefore = before.reduce((sum, part) => sum + part.length, 0);
  if (bytesBefore > room) return undefined;
  const start = section.byteOffset - bytesBefore;
  const joined = Buffer.from(section.buffer, start, bytesBefore + section.length);
  let at = 0;
  for (const part of before) {
    joined.set(part, at);
    at += part.length;
  }
  // A section alone may be joined with a message's head next.
  roomBefore.set(joined, room - bytesBefore);
  return joined;
}

/** Fills the room before the documents. */
function sectionInPlace(section: Buffer): Buffer {
  section[0] = 1;
  section.writeInt32LE(section.length - 1, 1);
  section.write("documents\0", 5, "latin1");
  return section;
}

/** The documents as the driver takes them; in place, where there is room for their section's head and the message's. */
function sequenceOf(sequence: SequenceClass, bson: Buffer, room: number): Sequence {
  const documents = new sequence("documents");
  documents.push({}, bson);
  isInPlace ??= joinInPlace();
  if (!isInPlace || room < sectionRoom) return documents;
  const start = bson.byteOffset - sectionRoom;
  const section = sectionInPlace(Buffer.from(bson.buffer, start, sectionRoom + bson.length));
  roomBefore.set(section, room - sectionRoom);
  documents.toBin = () => section;
  return documents;
}

/**
 * Inserts documents that are BSON already, one behind the other, unordered. Pooling, authentication and TLS are the
 * driver's; no document is parsed or serialised again.
 *
 * @param room - bytes before the documents, in the same memory, that may be overwritten
 */
export async function rawInsert(
  db: Db,
  collection: string,
  bson: Buffer,
  writeConcern: WriteConcernSettings,
  room = 0,
): Promise<InsertAnswer> {
  let documents: unknown;
  // A program's own copy of the driver knows no class of ours.
  if (sequenceClass === undefined || !(db instanceof Db)) {
    // The exact values: 64-bit integers as Long, doubles as Double.
    documents = documentsIn(bson).map((bytes) =>
      BSON.deserialize(bytes, { promoteValues: false, promoteLongs: false }),
    );
  } else {
    documents = sequenceOf(sequenceClass, bson, room);
  }
  const answer = await db.command({ insert: collection, documents, ordered: false, writeConcern });
  return answer as unknown as InsertAnswer;
}

/** The documents of a block, each a view. */
export function documentsIn(bson: Buffer): Buffer[] {
  const documents: Buffer[] = [];
  for (let at = 0; at < bson.length;) {
    const length = bson.readInt32LE(at);
    documents.push(bson.subarray(at, at + length));
    at += length;
  }
  return documents;
}
