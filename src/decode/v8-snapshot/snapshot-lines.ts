import { createHmac, randomBytes } from "node:crypto";
import { HeapdumpError } from "../../errors.js";
import { readSnapshot, type RawSnapshot } from "./read-snapshot.js";

export type SnapshotLinesOptions = {
  /** For messages. */
  readonly path: string;
  /** Fields of the header line beyond those of the format itself. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** Replaces what strings say by length and keyed hash, as `redact.ts` writes them. */
  readonly redact?: boolean;
  /** Equal strings get equal hashes under one key. Default: a new random one. */
  readonly redactKey?: Buffer;
  /** The longest text kept of a string. Default: 1024. Unit: UTF-16 units. */
  readonly stringUnitsMax?: number;
};

const stringUnitsMaxDefault = 1024;
/** Lines are given out in pieces of about this size. Unit: bytes. */
const pieceUnits = 1 << 18;

/** V8's kinds of edges in our letters. A kind that is not here is refused: guessing would make retainers of weak ones. */
const kindLetters: Readonly<Record<string, string>> = {
  context: "c",
  element: "e",
  property: "p",
  internal: "i",
  hidden: "h",
  shortcut: "s",
  weak: "w",
};
/** Nodes whose name is what the object says. */
const stringTypes = new Set(["string", "concatenated string", "sliced string"]);

/**
 * Gives a V8 snapshot as lines of our own format: a header, a root, one record an object, the header with counts.
 *
 * The snapshot's numbers and texts are held in memory: 28 bytes an object, 12 a reference, and the string table.
 *
 * @throws {HeapdumpError} `decode/corrupt`, with the place
 */
export async function* snapshotLines(
  source: AsyncIterable<Uint8Array>,
  options: SnapshotLinesOptions,
): AsyncGenerator<Buffer> {
  const snapshot = await readSnapshot(source, options.path);
  const header = {
    type: "HEADER",
    format: "heapdump-mongo",
    format_version: 1,
    runtime: "node",
    redacted: options.redact === true,
    ...options.header,
  };
  const pieces: string[] = [`${JSON.stringify(header)}\n`];
  let units = 0;
  for (const line of recordLines(snapshot, options)) {
    pieces.push(line);
    units += line.length;
    if (units < pieceUnits) continue;
    yield Buffer.from(pieces.join(""), "utf8");
    pieces.length = 0;
    units = 0;
  }
  const counts = { objects: snapshot.nodeCount - 1, roots: 1 };
  pieces.push(`${JSON.stringify({ ...header, counts })}\n`);
  yield Buffer.from(pieces.join(""), "utf8");
}

function* recordLines(snapshot: RawSnapshot, options: SnapshotLinesOptions): Generator<string> {
  const { nodes, edges, strings, nodeTypes, nodeFields, edgeFields, siteOf } = snapshot;
  const refuse = (what: string): never => {
    throw new HeapdumpError("decode/corrupt", `${options.path}: ${what}`);
  };
  const position = (fields: readonly string[], name: string): number => {
    const index = fields.indexOf(name);
    return index === -1 ? refuse(`snapshot.meta has no field ${name}`) : index;
  };
  const nodeWidth = nodeFields.length;
  const typeAt = position(nodeFields, "type");
  const nameAt = position(nodeFields, "name");
  const idAt = position(nodeFields, "id");
  const sizeAt = position(nodeFields, "self_size");
  const edgeCountAt = position(nodeFields, "edge_count");
  const traceAt = nodeFields.indexOf("trace_node_id");
  const detachedAt = nodeFields.indexOf("detachedness");
  const edgeWidth = edgeFields.length;
  const edgeTypeAt = position(edgeFields, "type");
  const edgeNameAt = position(edgeFields, "name_or_index");
  const toNodeAt = position(edgeFields, "to_node");
  const letters = snapshot.edgeTypes.map(
    (type) => kindLetters[type] ?? refuse(`references of an unknown kind, "${type}"`),
  );
  const stringUnitsMax = options.stringUnitsMax ?? stringUnitsMaxDefault;
  const hide = options.redact === true ? hiderOf(options.redactKey ?? randomBytes(32)) : undefined;
  const textOf = (index: number, what: string): string =>
    strings[index] ?? refuse(`${what}: there is no string ${index}`);

  let edge = 0;
  for (let node = 0; node < snapshot.nodeCount; node++) {
    const start = node * nodeWidth;
    const field = (at: number): number => nodes[start + at] as number;
    const edgeEnd = edge + field(edgeCountAt);
    if (edgeEnd > snapshot.edgeCount) refuse(`node ${node}: its references are beyond the last`);
    const references: string[] = [];
    const names: string[] = [];
    let kinds = "";
    for (; edge < edgeEnd; edge++) {
      const at = edge * edgeWidth;
      const letter = letters[edges[at + edgeTypeAt] as number];
      const to = edges[at + toNodeAt] as number;
      if (letter === undefined) return refuse(`edge ${edge}: a kind out of range`);
      if (to % nodeWidth !== 0 || to >= nodes.length)
        refuse(`edge ${edge}: it leads to ${to}, where no node begins`);
      const nameOrIndex = edges[at + edgeNameAt] as number;
      references.push(`0x${(nodes[to + idAt] as number).toString(16)}`);
      kinds += letter;
      if (letter === "e" || letter === "h") names.push(String(nameOrIndex));
      else {
        const name = textOf(nameOrIndex, `edge ${edge}`);
        names.push(
          hide !== undefined && letter === "p" && !isProgramName(name) ? hide(name) : name,
        );
      }
    }
    const linked = {
      ...(references.length === 0
        ? {}
        : { references, reference_names: names, reference_kinds: kinds }),
    };
    if (node === 0) {
      yield `${JSON.stringify({ type: "ROOT", root: "(root)", ...linked })}\n`;
      continue;
    }
    const type = nodeTypes[field(typeAt)] ?? refuse(`node ${node}: a type out of range`);
    const name = textOf(field(nameAt), `node ${node}`);
    const className = classNameOf(type, name);
    const site = traceAt === -1 ? undefined : siteOf.get(field(traceAt));
    const detachedness = detachedAt === -1 ? 0 : field(detachedAt);
    const record = {
      address: `0x${field(idAt).toString(16)}`,
      type,
      class_name: className === "" ? "(unnamed)" : className,
      ...(stringTypes.has(type)
        ? said(name, stringUnitsMax, hide)
        : name === className
          ? {}
          : { name: name.slice(0, stringUnitsMax) }),
      memsize: field(sizeAt),
      ...(detachedness === 0 ? {} : { detachedness }),
      ...(site === undefined ? {} : site),
      ...linked,
    };
    yield `${JSON.stringify(record)}\n`;
  }
  if (edge !== snapshot.edgeCount)
    refuse(`${snapshot.edgeCount - edge} references belong to nobody`);
}

/** @see Chrome DevTools, front_end/entrypoints/heap_snapshot_worker/HeapSnapshot.ts, className() */
function classNameOf(type: string, name: string): string {
  if (type === "object" || type === "native") return name;
  if (type === "hidden") return "(system)";
  if (type === "code") return "(compiled code)";
  return `(${type})`;
}

function said(
  text: string,
  unitsMax: number,
  hide: ((text: string) => string) | undefined,
): { value: string; length?: number } {
  if (hide !== undefined) return { value: hide(text) };
  return text.length <= unitsMax
    ? { value: text }
    : { value: text.slice(0, unitsMax), length: text.length };
}

/** Identifiers and V8's own words (`<symbol …>`) are the program's; other keys may be data. */
function isProgramName(name: string): boolean {
  return /^[#$\w]*$/.test(name) || name.startsWith("<symbol ");
}

/** The form of `redact.ts`. */
function hiderOf(key: Buffer): (text: string) => string {
  return (text) => {
    const hash = createHmac("sha256", key).update(text).digest("hex").slice(0, 16);
    return `redacted:${Buffer.byteLength(text)}:${hash}`;
  };
}
