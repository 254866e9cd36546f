import { z } from "zod";
import { wholeNumber, sizeBytes } from "./record-fields.js";

/**
 * A record of the `heap_dump` gem: one object of the heap.
 *
 * Only what the product relies on is declared; every other field is data and kept as it is. Any integer in it that is
 * the id of an object of the dump is a reference.
 */
export const gemRecord = z
  .looseObject({
    /** The object's id; `_ROOTS_` in the record that lists the roots. */
    id: z.union([wholeNumber, z.string().min(1)]),
    /** Basic type: `T_OBJECT`, `T_STRING` … Absent in `_ROOTS_` only. */
    bt: z
      .string()
      .regex(/^T_[A-Z]{1,30}$/, "expected a basic type like T_OBJECT")
      .optional(),
    /** Id of the class object. */
    class: z.union([wholeNumber, z.null(), z.string()]).optional(),
    /** Of `T_DATA`: memory of the C struct, in bytes. */
    size: z.union([sizeBytes, z.null()]).optional(),
  })
  .refine((record) => record.bt !== undefined || record.id === "_ROOTS_", {
    path: ["bt"],
    message: "expected a basic type like T_OBJECT, found nothing",
  });
