import { writeFileSync } from "node:fs";
import { z } from "zod";
import { dumpHeader } from "./dump-header.js";
import { gemRecord } from "./gem-record.js";
import { objspaceRecord } from "./objspace-record.js";

/** What people who write producers of their own need: one JSON Schema a kind of line. */
export const jsonSchemas = {
  "gem-record": schemaOf(gemRecord, "A record of the heap_dump gem"),
  "objspace-record": schemaOf(
    objspaceRecord,
    "A record of ObjectSpace.dump_all or of our producers",
  ),
  "dump-header": schemaOf(dumpHeader, "First and last line of a dump by our producers"),
} as const;

function schemaOf(schema: z.ZodType, title: string): string {
  const json = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    // A bigint stands for an integer beyond 2^53: JSON Schema's integers have no bound.
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema._zod.def.type === "bigint")
        Object.assign(jsonSchema, { type: "integer", minimum: 0 });
    },
  });
  return `${JSON.stringify({ title, ...json }, undefined, 2)}\n`;
}

/** `npm run schemas` writes them beside their zod sources. */
if (process.argv[2] === "--write") {
  for (const [name, text] of Object.entries(jsonSchemas)) {
    writeFileSync(new URL(`../../schemas/${name}.json`, import.meta.url), text);
  }
}
