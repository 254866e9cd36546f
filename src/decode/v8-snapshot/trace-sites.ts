import type { JsonReader } from "./json-reader.js";
import type { TextPool } from "./text-pool.js";

/** V8's tree of calls: `[id, function, count, bytes, [children…], …]`. In the order of the dump, callers first. */
export type Trace = {
  readonly ids: number[];
  readonly functions: number[];
  /** Position of the caller; -1: none. */
  readonly callers: number[];
};

/** Where objects were made. */
export type TraceSites = {
  readonly files: readonly string[];
  readonly lines: readonly number[];
  /** By V8's number of the trace node: which of these. */
  readonly siteOf: ReadonlyMap<number, number>;
};

/** Reads the tree without recursion: it is as deep as the program's stack was. */
export async function readTrace(reader: JsonReader): Promise<Trace> {
  const trace: Trace = { ids: [], functions: [], callers: [] };
  const callers: number[] = [];
  let field = 0;
  await reader.nested("trace_tree", {
    number: (value) => {
      if (field === 0) {
        trace.ids.push(value);
        trace.callers.push(callers.at(-1) ?? -1);
      } else if (field === 1) trace.functions.push(value);
      else if (field > 3) reader.fail("trace_tree: expected a list of callees");
      field++;
    },
    open: () => {
      if (field !== 4) reader.fail("trace_tree: expected a number");
      callers.push(trace.ids.length - 1);
      field = 0;
    },
    close: () => {
      if (field !== 0) reader.fail("trace_tree: a node is not whole");
      callers.pop();
      field = 0;
    },
  });
  return trace;
}

/** The nearest function with a file: what a built-in makes is its caller's. */
export function traceSites(
  trace: Trace | undefined,
  functions: readonly number[],
  fields: { readonly width: number; find(name: string): number },
  strings: TextPool,
): TraceSites {
  const siteOf = new Map<number, number>();
  const files: string[] = [];
  const lines: number[] = [];
  const fileAt = fields.find("script_name");
  const lineAt = fields.find("line");
  if (trace === undefined || fileAt === -1 || lineAt === -1) return { files, lines, siteOf };
  const known = new Map<string, number>();
  const siteAt: number[] = [];
  for (const [position, id] of trace.ids.entries()) {
    const start = (trace.functions[position] ?? 0) * fields.width;
    const text = functions[start + fileAt] ?? -1;
    const file = text >= 0 && text < strings.count ? strings.text(text, 4096) : "";
    const line = functions[start + lineAt] ?? 0;
    let site = siteAt[trace.callers[position] ?? -1] ?? -1;
    if (file !== "") {
      const label = `${file}:${line}`;
      site = known.get(label) ?? files.length;
      if (site === files.length) {
        known.set(label, site);
        files.push(file);
        lines.push(line);
      }
    }
    siteAt.push(site);
    if (site >= 0) siteOf.set(id, site);
  }
  return { files, lines, siteOf };
}
