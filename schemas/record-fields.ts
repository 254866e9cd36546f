import { z } from "zod";

/** An object's identity where it is a whole number: exact, as a bigint beyond 2^53. */
export const wholeNumber = z.union([z.int().nonnegative(), z.bigint().nonnegative()]);

/** An address as `ObjectSpace.dump_all` writes it: at most 64 bits, lower case. */
export const address = z
  .string()
  .regex(/^0x[0-9a-f]{1,16}$/, "expected an address like 0x7f3d104d7c78");

/** Shallow size. Unit: bytes. */
export const sizeBytes = z.int().nonnegative();
