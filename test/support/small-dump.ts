import { writeFileSync } from "node:fs";
import { randomOf } from "./mutate-lines.js";

/** What an oracle knows of a made dump. */
export type MadeDump = { readonly objects: number; readonly rejects: number };

/** Makes a dump in the form of ObjectSpace.dump_all, the same for the same seed, with some refused lines in it. */
export function makeDump(path: string, objectCount: number, seed = 1): MadeDump {
  const random = randomOf(seed);
  const lines: string[] = [];
  let rejects = 0;
  const address = (node: number): string => `"0x${(0x7f00_0000_0000 + node * 40).toString(16)}"`;
  for (let root = 0; root < 3; root++) {
    const references = [root, root + 10, root + 20].map(address);
    lines.push(`{"type":"ROOT","root":"r${root}","references":[${references.join(",")}]}`);
  }
  for (let node = 0; node < objectCount; node++) {
    const references = Array.from({ length: Math.floor(random() ** 4 * 20) }, () =>
      address(Math.floor(random() * objectCount)),
    );
    const text = `"value":"${"x".repeat(Math.floor(random() * 60))}", `;
    lines.push(
      `{"address":${address(node)}, "type":"${node % 3 === 0 ? "STRING" : "OBJECT"}", "class":${address(node % 50)}, ${text}"references":[${references.join(", ")}], "memsize":${40 + (node % 7) * 8}}`,
    );
    if (node % 997 === 0) {
      rejects++;
      lines.push(node % 2 === 0 ? `{"address":${address(node)}, "type":"ARR` : lines.at(-1)!);
    }
  }
  writeFileSync(path, `${lines.join("\n")}\n`, { mode: 0o600 });
  return { objects: objectCount + 3, rejects };
}
