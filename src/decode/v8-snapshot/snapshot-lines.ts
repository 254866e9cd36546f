import type { Redaction } from "../../redaction.js";
import { classNameOf, isNamedByConstructor, stringTypes } from "./class-names.js";
import { snapshotRedactorOf, type SnapshotRedactor } from "./redact-snapshot.js";
import { readSnapshot, type Snapshot } from "./read-snapshot.js";
import { cut, locationsInOrder, stringBytesMaxDefault } from "./snapshot-documents.js";
import { classNameBytesMax } from "./snapshot-heap.js";
import type { TextPool } from "./text-pool.js";

export type SnapshotLinesOptions = {
  /** For messages. */
  readonly path: string;
  /** Fields of the header line beyond those of the format itself. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** Replaces what strings say by length and keyed hash. */
  readonly redact?: Redaction | undefined;
  /** The longest text kept of a string or name. Default: 1024. Unit: UTF-8 bytes. */
  readonly stringBytesMax?: number;
};

/** Lines are given out in pieces of about this size. Unit: bytes. */
const pieceUnits = 1 << 18;

/**
 * Gives a V8 snapshot as lines of our own format: a header, a root, one record an object, the header with counts.
 *
 * The snapshot's columns are held in memory, as `readSnapshot` says.
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
    redacted: options.redact !== undefined,
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

function* recordLines(snapshot: Snapshot, options: SnapshotLinesOptions): Generator<string> {
  const { firstEdge, edgeKind, edgeName, edgeTo, edgeLetters, idOf, strings, sites } = snapshot;
  const stringBytesMax = options.stringBytesMax ?? stringBytesMaxDefault;
  const redactor = options.redact === undefined ? undefined : snapshotRedactorOf(options.redact);
  const placeOf = placesOf(snapshot);
  for (let node = 0; node < snapshot.nodeCount; node++) {
    const references: string[] = [];
    const names: string[] = [];
    let kinds = "";
    const edgeEnd = firstEdge[node + 1] as number;
    for (let edge = firstEdge[node] as number; edge < edgeEnd; edge++) {
      const letter = edgeLetters[edgeKind[edge] as number] as string;
      const nameOrIndex = edgeName[edge] as number;
      references.push(`0x${(idOf[edgeTo[edge] as number] as number).toString(16)}`);
      kinds += letter;
      if (letter === "e" || letter === "h") names.push(String(nameOrIndex));
      else {
        const name = strings.text(nameOrIndex);
        names.push(letter === "p" && redactor !== undefined ? redactor.property(name) : name);
      }
    }
    const linked =
      references.length === 0 ? {} : { references, reference_names: names, reference_kinds: kinds };
    if (node === 0) {
      yield `${JSON.stringify({ type: "ROOT", root: "(root)", ...linked })}\n`;
      continue;
    }
    const type = snapshot.nodeTypes[snapshot.typeOf[node] as number] as string;
    const text = snapshot.nameOf[node] as number;
    const className = classNameOf(
      type,
      isNamedByConstructor(type) ? strings.text(text, classNameBytesMax) : "",
    );
    const site = sites.siteOf.get(snapshot.traceNodeOf?.[node] ?? 0);
    const detachedness = snapshot.detachednessOf?.[node] ?? 0;
    const record = {
      address: `0x${(idOf[node] as number).toString(16)}`,
      type,
      class_name: className,
      ...(stringTypes.has(type)
        ? said(strings, text, stringBytesMax, redactor)
        : isNamedByConstructor(type)
          ? {}
          : named(strings, text, stringBytesMax)),
      memsize: snapshot.selfSize[node] as number,
      ...(detachedness === 0 ? {} : { detachedness }),
      ...(site === undefined ? {} : { file: sites.files[site], line: sites.lines[site] }),
      ...placeOf(node),
      ...linked,
    };
    yield `${JSON.stringify(record)}\n`;
  }
}

/** As `snapshotDocuments` writes them: a dump converted and a dump imported as it is give the same documents. */
function said(
  strings: TextPool,
  text: number,
  bytesMax: number,
  redactor: SnapshotRedactor | undefined,
): Record<string, unknown> {
  if (redactor !== undefined) {
    const whole = strings.text(text);
    const hidden = redactor.text(whole);
    if (hidden !== whole) return { value: cut(hidden, bytesMax) };
  }
  return shortened("value", strings, text, bytesMax);
}

function named(strings: TextPool, text: number, bytesMax: number): Record<string, unknown> {
  return strings.units(text) === 0 ? {} : shortened("name", strings, text, bytesMax);
}

function shortened(
  key: "value" | "name",
  strings: TextPool,
  text: number,
  bytesMax: number,
): Record<string, unknown> {
  return strings.isLonger(text, bytesMax)
    ? { [key]: strings.text(text, bytesMax), length: strings.units(text), cut: true }
    : { [key]: strings.text(text) };
}

/** Gives a function that tells where a function or object was defined; to be asked in the order of the dump. */
function placesOf(snapshot: Snapshot): (node: number) => Record<string, unknown> {
  const { order, numbers } = locationsInOrder(snapshot);
  let next = 0;
  return (node) => {
    while (next < order.length && (numbers[(order[next] as number) * 4] as number) < node) next++;
    const at = (order[next] ?? -1) * 4;
    if (at < 0 || numbers[at] !== node) return {};
    const [script_id, line, column] = numbers.subarray(at + 1, at + 4);
    return { location: { script_id, line, column } };
  };
}
