/**
 * How much memory does heapdump-import take, by the number of objects and by the size of the file?
 *
 *     node dist/bench/import-memory.js
 *
 * The same objects twice, with texts of 20 and of 2,000 bytes each: the peak must not follow the file. And the large dump
 * of the other benches.
 */
import { closeSync, existsSync, openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { benchDump, benchFolder } from "./shared/bench-dump.js";
import { benchServer } from "./shared/bench-mongod.js";
import { mebibyte, recordResult } from "./shared/record-result.js";
import { runApart } from "./shared/run-apart.js";

const objects = 500_000;
const importer = fileURLToPath(new URL("../bin/heapdump-import.js", import.meta.url));

/** A dump of the objects, each with a text of so many bytes. */
function dumpOfTexts(textBytes: number): string {
  const path = join(benchFolder, `texts-${objects}-${textBytes}.json`);
  if (existsSync(path)) return path;
  const file = openSync(path, "w", 0o600);
  const address = (node: number): string => `"0x${(0x7f00_0000_0000 + node * 40).toString(16)}"`;
  let lines = '{"type":"ROOT","root":"vm","references":["0x7f0000000000"]}\n';
  for (let node = 0; node < objects; node++) {
    const text = String(node).padEnd(textBytes, "x");
    const next = address((node * 7 + 1) % objects);
    lines += `{"address":${address(node)}, "type":"STRING", "value":"${text}", "references":[${next}], "memsize":40}\n`;
    if (lines.length < 1 << 22) continue;
    writeSync(file, lines);
    lines = "";
  }
  writeSync(file, lines);
  closeSync(file);
  return path;
}

for (const path of [dumpOfTexts(20), dumpOfTexts(2_000), benchDump().path]) {
  const server = await benchServer();
  try {
    const { peakMebibytes, stdout } = await runApart(process.execPath, [
      ...[importer, path, "--uri", server.uri, "--db", "bench", "-c", "memory", "--json"],
    ]);
    const { counters } = JSON.parse(stdout) as { counters: { objects: number } };
    recordResult({
      question: "import-memory",
      objects: counters.objects,
      mebibytes: statSync(path).size / mebibyte,
      peakMebibytes,
    });
  } finally {
    await server.stop();
  }
}
