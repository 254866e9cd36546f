import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const source = new URL("../bin/mongosh/heap.js", import.meta.url);
const target = new URL("../mongosh/heap.js", import.meta.url);

/**
 * Makes one file of the queries that mongosh can load: it knows no imports.
 *
 * `npm run build` writes dist/mongosh/heap.js, so that it is never older than the queries.
 */
export async function writeMongoshScript(file = fileURLToPath(target)): Promise<void> {
  await build({
    entryPoints: [fileURLToPath(source)],
    outfile: file,
    bundle: true,
    format: "iife",
    // mongosh rewrites what it loads, and takes `none?.call()` for a call: older syntax has no such thing.
    target: "es2019",
    // Readable: who loads a script may want to see what it does.
    minify: false,
    charset: "utf8",
    legalComments: "inline",
    logLevel: "error",
    banner: {
      js: "// heapdump-mongo: its queries for mongosh. heap.help() lists them. Made by npm run build.",
    },
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeMongoshScript();
