import type { Document } from "mongodb";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import type { StoredId } from "./define-query.js";

/**
 * The condition on objects that refer to one, served by the index on references.
 *
 * That leaves out objects that refer to none, which a server only sees for numbers: a text it would look for in every
 * object. Where no text is referred to, none is found, and it is enough to look at the object itself.
 */
export function refersTo(id: StoredId, { number_references }: DumpEntry): Document {
  return typeof id === "string" && number_references === true
    ? { _id: id, references: id }
    : { references: id };
}
