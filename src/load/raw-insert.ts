import { createRequire } from "node:module";
import { BSON, type Db, type WriteConcernSettings } from "mongodb";

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

/** Whether a section that is made in place is the one that the driver makes. */
const canBeInPlace = isInPlaceSame();

function isInPlaceSame(): boolean {
  if (sequenceClass === undefined) return false;
  try {
    const memory = Buffer.concat([Buffer.alloc(sectionRoom), BSON.serialize({ _id: 1 })]);
    const theirs = new sequenceClass("documents");
    theirs.push({}, memory.subarray(sectionRoom));
    return sectionInPlace(memory).equals(theirs.toBin());
  } catch {
    return false;
  }
}

/** Fills the room before the documents. */
function sectionInPlace(section: Buffer): Buffer {
  section[0] = 1;
  section.writeInt32LE(section.length - 1, 1);
  section.write("documents\0", 5, "latin1");
  return section;
}

/** The driver would copy the documents into the section: four megabytes, of new memory each time. */
function sequenceOf(sequence: SequenceClass, bson: Buffer, room: number): Sequence {
  const documents = new sequence("documents");
  documents.push({}, bson);
  if (!canBeInPlace || room < sectionRoom) return documents;
  const start = bson.byteOffset - sectionRoom;
  const section = sectionInPlace(Buffer.from(bson.buffer, start, sectionRoom + bson.length));
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
  if (sequenceClass === undefined) {
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
