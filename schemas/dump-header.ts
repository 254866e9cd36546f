import { z } from "zod";

/** The first line of a dump by our own producers. The last line is the same, with `counts`. */
export const dumpHeader = z.looseObject({
  type: z.literal("HEADER"),
  format: z.literal("heapdump-mongo"),
  format_version: z.literal(1),
  producer: z.string().optional(),
  runtime: z.string().optional(),
  runtime_version: z.string().optional(),
  pid: z.int().nonnegative().optional(),
  host: z.string().optional(),
  command: z.string().optional(),
  /** ISO 8601. */
  taken_at: z.iso.datetime({ offset: true }).optional(),
  process_started_at: z.iso.datetime({ offset: true }).optional(),
  counts: z
    .looseObject({
      objects: z.int().nonnegative().optional(),
      roots: z.int().nonnegative().optional(),
    })
    .optional(),
});
export type DumpHeader = z.infer<typeof dumpHeader>;
