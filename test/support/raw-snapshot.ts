import { readFile } from "node:fs/promises";

type Raw = {
  snapshot: {
    meta: {
      node_fields: string[];
      node_types: [string[], ...unknown[]];
      edge_fields: string[];
      edge_types: [string[], ...unknown[]];
    };
  };
  nodes: number[];
  edges: number[];
  strings: string[];
};

/**
 * What a small V8 snapshot says of the planted leak, by JSON.parse and plain loops: independent of our decoder.
 *
 * @returns how many LeakedSession objects there are, and of how many of them a context holds that is held by a closure
 * named onLeakedTick
 */
export async function leakInSnapshot(path: string): Promise<{ sessions: number; held: number }> {
  const { snapshot, nodes, edges, strings } = JSON.parse(await readFile(path, "utf8")) as Raw;
  const { node_fields, node_types, edge_fields } = snapshot.meta;
  const width = node_fields.length;
  const field = (node: number, name: string): number =>
    nodes[node * width + node_fields.indexOf(name)] as number;
  const nameOf = (node: number): string => strings[field(node, "name")] as string;
  const typeOf = (node: number): string => node_types[0][field(node, "type")] as string;
  const targets: number[][] = [];
  let edge = 0;
  for (let node = 0; node < nodes.length / width; node++) {
    const found: number[] = [];
    for (let n = field(node, "edge_count"); n > 0; n--, edge++)
      found.push(
        (edges[edge * edge_fields.length + edge_fields.indexOf("to_node")] as number) / width,
      );
    targets.push(found);
  }
  const all = [...targets.keys()];
  const isSession = (node: number): boolean =>
    typeOf(node) === "object" &&
    nameOf(node) === "LeakedSession" &&
    // The class's prototype bears the name as well; only instances have a map of their own constructor's making.
    !(targets[node] ?? []).some((to) => typeOf(to) === "closure" && nameOf(to) === "LeakedSession");
  const held = new Set<number>();
  for (const closure of all) {
    if (typeOf(closure) !== "closure" || nameOf(closure) !== "onLeakedTick") continue;
    for (const context of targets[closure] ?? [])
      for (const to of targets[context] ?? []) if (isSession(to)) held.add(to);
  }
  return { sessions: all.filter(isSession).length, held: held.size };
}
