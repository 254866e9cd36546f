import { Binary, type Collection, MongoBulkWriteError } from "mongodb";
import type { Reject } from "../../schemas/reject.js";

/** A document of `<dump>.rejects`. The line's number is its identity, so that a resumed import adds none twice. */
export type RejectDocument = {
  readonly _id: number;
  readonly line: number;
  readonly byte_offset: number;
  readonly code: string;
  readonly path: string;
  readonly message: string;
  readonly raw: Binary;
};

/** Stores rejects; those that are there already stay as they are. */
export async function storeRejects(
  collection: Collection<RejectDocument>,
  rejects: readonly Reject[],
): Promise<void> {
  for (let from = 0; from < rejects.length; from += 500) {
    const documents = rejects.slice(from, from + 500).map((reject) => ({
      _id: reject.lineNumber,
      line: reject.lineNumber,
      byte_offset: reject.byteOffset,
      code: reject.code,
      path: reject.path,
      message: reject.message,
      raw: new Binary(reject.raw),
    }));
    try {
      await collection.insertMany(documents, { ordered: false, writeConcern: { j: true } });
    } catch (error) {
      const duplicatesOnly =
        error instanceof MongoBulkWriteError &&
        [error.writeErrors].flat().every((one) => one.code === 11000);
      if (!duplicatesOnly) throw error;
    }
  }
}
