import { z } from "zod";

/** Why a line was refused. Contract: never renamed. */
export const rejectCodes = [
  "not-json",
  "not-an-object",
  "schema",
  "too-deep",
  "nul-in-key",
  "too-long",
  "duplicate-id",
  "server",
] as const;

/** A refused line. */
export const reject = z.object({
  /** From 1. */
  lineNumber: z.number().int().positive(),
  /** Of the line's first byte in the (decompressed) dump, from 0. */
  byteOffset: z.number().int().nonnegative(),
  code: z.enum(rejectCodes),
  /** Dotted path of the offending value in the record; empty: the whole record. */
  path: z.string(),
  message: z.string(),
  /** Of a document that only the server refused (code `server`, line: behind all lines): its `_id`, as text. */
  object: z.string().optional(),
  /** The line's bytes, cut at 1 MiB. Of code `server`: the document's. */
  raw: z.custom<Uint8Array>((value) => value instanceof Uint8Array),
});
export type Reject = z.infer<typeof reject>;
