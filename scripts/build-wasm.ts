import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { main } from "assemblyscript/asc";

/** What is compiled to WebAssembly. It is AssemblyScript: TypeScript's syntax, with the machine's own types. */
const modules = ["scan-records", "transcode-records"];

const sources = new URL("../../src/decode/wasm/", import.meta.url);
const targets = new URL("../src/decode/wasm/", import.meta.url);

/** Compiles src/decode/wasm. `npm run build` calls it. */
async function buildWasm(): Promise<void> {
  mkdirSync(targets, { recursive: true });
  for (const name of modules) {
    const { error, stderr } = await main([
      ...[fileURLToPath(new URL(`${name}.ts`, sources))],
      ...["-o", fileURLToPath(new URL(`${name}.wasm`, targets))],
      // No allocator, no collector, no checks: memory is laid out by who calls it.
      ...["--runtime", "stub", "--noAssert", "--use", "abort=", "--enable", "simd"],
      ...["-O3", "--converge"],
    ]);
    if (error !== null) throw new Error(`${name}.ts: ${stderr.toString()}`, { cause: error });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildWasm();
