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

type Sequence = { push(document: object, bytes: Uint8Array): number };
type SequenceClass = new (field: string) => Sequence;

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

/**
 * Inserts documents that are BSON already, one behind the other, unordered. Pooling, authentication and TLS are the
 * driver's; no document is parsed or serialised again.
 */
export async function rawInsert(
  db: Db,
  collection: string,
  bson: Buffer,
  writeConcern: WriteConcernSettings,
): Promise<InsertAnswer> {
  let documents: unknown;
  if (sequenceClass === undefined) {
    // The exact values: 64-bit integers as Long, doubles as Double.
    documents = documentsIn(bson).map((bytes) =>
      BSON.deserialize(bytes, { promoteValues: false, promoteLongs: false }),
    );
  } else {
    const sequence = new sequenceClass("documents");
    sequence.push({}, bson);
    documents = sequence;
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
