import { z } from "zod";
import { address, sizeBytes } from "./record-fields.js";

/** One letter a reference: context, element, property, internal, hidden, shortcut, weak. */
export const referenceKinds = z
  .string()
  .regex(/^[cepihsw]*$/, "expected a letter of c e p i h s w for each reference");

/**
 * A record of Ruby's `ObjectSpace.dump_all`, and of our own producers, which add the fields said to be ours.
 *
 * Only what the product relies on is declared; every other field is data and kept as it is.
 */
export const objspaceRecord = z
  .looseObject({
    /** Absent in ROOT lines only. */
    address: address.optional(),
    /** Basic type: `OBJECT`, `STRING`, `ROOT` …; V8's node type in dumps of Node. */
    type: z.string().min(1).max(64),
    /** Of ROOT lines: the name of the root. */
    root: z.string().min(1).optional(),
    /** Address of the class object; an internal word on IMEMO lines. */
    class: address.optional(),
    references: z.array(address).optional(),
    /** Shallow size. Unit: bytes. */
    memsize: sizeBytes.optional(),
    /** Where the object was allocated, if allocations were traced. */
    file: z.string().optional(),
    line: z.int().nonnegative().optional(),
    /** The collector's run in which it was allocated. */
    generation: z.int().nonnegative().optional(),
    /** Ours: the resolved name of the class. */
    class_name: z.string().min(1).optional(),
    /** Ours: names of the edges, parallel to `references`. */
    reference_names: z.array(z.string()).optional(),
    /** Ours: kinds of the edges, a letter for each of `references`. */
    reference_kinds: referenceKinds.optional(),
  })
  .refine((record) => record.address !== undefined || record.type === "ROOT", {
    path: ["address"],
    message: "expected an address, found nothing",
  })
  .refine((record) => record.address !== undefined || record.root !== undefined, {
    path: ["root"],
    message: "expected the root's name, found nothing",
  })
  .refine(
    (record) =>
      record.reference_names === undefined ||
      record.reference_names.length === (record.references?.length ?? 0),
    { path: ["reference_names"], message: "expected one name for each of references" },
  )
  .refine(
    (record) =>
      record.reference_kinds === undefined ||
      record.reference_kinds.length === (record.references?.length ?? 0),
    { path: ["reference_kinds"], message: "expected one letter for each of references" },
  );
export type ObjspaceRecord = z.infer<typeof objspaceRecord>;
