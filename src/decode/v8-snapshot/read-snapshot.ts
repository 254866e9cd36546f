import { HeapdumpError } from "../../errors.js";

/** V8's snapshot in memory: 4 bytes a number and the texts of its string table. */
export type RawSnapshot = {
  readonly nodeFields: readonly string[];
  readonly nodeTypes: readonly string[];
  readonly edgeFields: readonly string[];
  readonly edgeTypes: readonly string[];
  readonly nodeCount: number;
  readonly edgeCount: number;
  readonly nodes: Uint32Array;
  readonly edges: Uint32Array;
  readonly strings: readonly string[];
  /** By trace node: the function in which the object was made. Empty: allocations were not tracked. */
  readonly siteOf: ReadonlyMap<number, { readonly file: string; readonly line: number }>;
};

type Meta = {
  node_fields: string[];
  node_types: [string[], ...unknown[]];
  edge_fields: string[];
  edge_types: [string[], ...unknown[]];
  trace_function_info_fields?: string[];
};
type Head = { meta: Meta; node_count: number; edge_count: number };

/** What a part other than nodes, edges and strings may hold. The trace tree is the only one that grows. Unit: bytes. */
const partBytesMax = 400_000_000;

/**
 * Reads a snapshot as a stream: no text of it is ever held whole.
 *
 * @throws {HeapdumpError} `decode/corrupt` with the byte's offset, where it is cut or malformed
 */
export async function readSnapshot(
  source: AsyncIterable<Uint8Array>,
  path: string,
): Promise<RawSnapshot> {
  const reader = new JsonReader(source, path);
  let head: Head | undefined;
  let nodes: Uint32Array | undefined;
  let edges: Uint32Array | undefined;
  let strings: string[] | undefined;
  let functions: number[] = [];
  let tree: unknown = [];
  const known = (): Head => head ?? reader.fail('"snapshot" does not come first');
  await reader.expect("{");
  do {
    const key = await reader.text();
    await reader.expect(":");
    if (key === "snapshot") head = checkedHead(await reader.value(), reader);
    else if (key === "nodes") {
      nodes = await reader.numbers(known().node_count * known().meta.node_fields.length, key);
    } else if (key === "edges") {
      edges = await reader.numbers(known().edge_count * known().meta.edge_fields.length, key);
    } else if (key === "strings") strings = await reader.texts();
    else if (key === "trace_function_infos") functions = (await reader.value()) as number[];
    else if (key === "trace_tree") tree = await reader.value();
    else await reader.value();
  } while ((await reader.oneOf(",}")) === ",");
  if (nodes === undefined || edges === undefined || strings === undefined) {
    return reader.fail("nodes, edges or strings are missing");
  }
  const { meta, node_count: nodeCount, edge_count: edgeCount } = known();
  return {
    nodeFields: meta.node_fields,
    nodeTypes: meta.node_types[0],
    edgeFields: meta.edge_fields,
    edgeTypes: meta.edge_types[0],
    nodeCount,
    edgeCount,
    nodes,
    edges,
    strings,
    siteOf: sitesOf(meta.trace_function_info_fields ?? [], functions, tree, strings),
  };
}

function checkedHead(value: unknown, reader: JsonReader): Head {
  const head = value as Partial<Head> | null;
  const meta = head?.meta;
  const counts = [head?.node_count, head?.edge_count];
  const isList = (list: unknown): boolean =>
    Array.isArray(list) && list.every((one) => typeof one === "string");
  if (
    !counts.every((count) => Number.isSafeInteger(count) && (count ?? -1) >= 0) ||
    !isList(meta?.node_fields) ||
    !isList(meta?.edge_fields) ||
    !isList(meta?.node_types?.[0]) ||
    !isList(meta?.edge_types?.[0])
  ) {
    return reader.fail("snapshot.meta does not tell the fields");
  }
  return head as Head;
}

/** The trace tree is `[id, function, count, bytes, [children…]]`; each function has a script's name and a line. */
function sitesOf(
  fields: readonly string[],
  functions: readonly number[],
  tree: unknown,
  strings: readonly string[],
): Map<number, { file: string; line: number }> {
  const sites = new Map<number, { file: string; line: number }>();
  const script = fields.indexOf("script_name");
  const line = fields.indexOf("line");
  const pending: unknown[][] = [tree as unknown[]];
  for (let list = pending.pop(); list !== undefined; list = pending.pop()) {
    for (let at = 0; at + 4 < list.length; at += 5) {
      const start = Number(list[at + 1]) * fields.length;
      const file = strings[functions[start + script] ?? -1];
      if (file !== undefined && file !== "")
        sites.set(Number(list[at]), { file, line: functions[start + line] ?? 0 });
      pending.push(list[at + 4] as unknown[]);
    }
  }
  return sites;
}

const quote = 0x22;
const backslash = 0x5c;

/** Reads JSON from chunks, piece by piece. Asynchronous where a chunk ends, synchronous within. */
class JsonReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #path: string;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #offsetOfBytes = 0;

  constructor(source: AsyncIterable<Uint8Array>, path: string) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#path = path;
  }

  fail(what: string): never {
    throw new HeapdumpError(
      "decode/corrupt",
      `${this.#path}: byte ${this.#offsetOfBytes + this.#at}: ${what}`,
    );
  }

  async expect(character: string): Promise<void> {
    await this.oneOf(character);
  }

  /** Skips white space and takes the next character, which must be one of these. */
  async oneOf(characters: string): Promise<string> {
    const found = String.fromCharCode(await this.#peek());
    if (!characters.includes(found)) this.fail(`expected ${characters}, found ${found}`);
    this.#at++;
    return found;
  }

  /** An array of exactly `count` whole numbers below 2^32. */
  async numbers(count: number, name: string): Promise<Uint32Array> {
    const numbers = new Uint32Array(count);
    await this.expect("[");
    let index = 0;
    if ((await this.#peek()) === 0x5d) this.#at++;
    else {
      let value = 0;
      let hasDigit = false;
      scan: for (;;) {
        const bytes = this.#bytes;
        for (let at = this.#at; at < bytes.length; at++) {
          const digit = (bytes[at] as number) - 0x30;
          if (digit >= 0 && digit <= 9) {
            value = value * 10 + digit;
            hasDigit = true;
            continue;
          }
          const character = digit + 0x30;
          if (character === 0x2c || character === 0x5d) {
            this.#at = at;
            if (!hasDigit || value > 0xffff_ffff) this.fail(`${name}: expected a number`);
            if (index === count) this.fail(`${name}: more than the ${count} numbers announced`);
            numbers[index++] = value;
            value = 0;
            hasDigit = false;
            if (character === 0x2c) continue;
            this.#at = at + 1;
            break scan;
          }
          if (character > 0x20) {
            this.#at = at;
            this.fail(`${name}: expected a number`);
          }
        }
        this.#at = bytes.length;
        await this.#more();
      }
    }
    if (index !== count) this.fail(`${name}: ${index} numbers, ${count} announced`);
    return numbers;
  }

  async texts(): Promise<string[]> {
    const texts: string[] = [];
    await this.expect("[");
    if ((await this.#peek()) === 0x5d) {
      this.#at++;
      return texts;
    }
    do {
      await this.#peek();
      texts.push(this.#textHere() ?? (await this.text()));
    } while ((await this.#separator()) === 0x2c);
    return texts;
  }

  async text(): Promise<string> {
    if ((await this.#peek()) !== quote) this.fail("expected a text");
    const raw = await this.#take((state, byte) => {
      if (state === 2) return 1; // Behind a backslash.
      if (byte === backslash && state === 1) return 2;
      if (byte === quote) return state === 1 ? -1 : 1;
      return state;
    });
    return this.#parsed(raw) as string;
  }

  /** Any value, by JSON.parse. */
  async value(): Promise<unknown> {
    await this.#peek();
    let depth = 0;
    const raw = await this.#take((state, byte) => {
      if (state === 2) return 1;
      if (state === 1) return byte === backslash ? 2 : byte === quote ? (depth === 0 ? -1 : 0) : 1;
      if (byte === quote) return 1;
      if (byte === 0x7b || byte === 0x5b) depth++;
      else if ((byte === 0x7d || byte === 0x5d) && --depth === 0) return -1;
      else if (depth === 0 && byte === 0x2c) this.fail("expected an object, an array or a text");
      return 0;
    });
    return this.#parsed(raw);
  }

  #parsed(raw: Buffer): unknown {
    try {
      return JSON.parse(raw.toString("utf8"));
    } catch {
      return this.fail("no JSON before this place");
    }
  }

  /** Bytes up to and with the one at which `next` gives -1; `next` gives the state for the byte that follows. */
  async #take(next: (state: number, byte: number) => number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    let length = 0;
    let state = 0;
    for (;;) {
      const start = this.#at;
      for (; this.#at < this.#bytes.length; this.#at++) {
        state = next(state, this.#bytes[this.#at] as number);
        if (state !== -1) continue;
        parts.push(this.#bytes.subarray(start, ++this.#at));
        return Buffer.concat(parts);
      }
      parts.push(this.#bytes.subarray(start));
      length += this.#bytes.length - start;
      if (length > partBytesMax) this.fail(`a part of more than ${partBytesMax} bytes`);
      await this.#more();
    }
  }

  /** The text that begins here, if it ends in this chunk and holds no escapes: nearly all do. */
  #textHere(): string | undefined {
    if (this.#bytes[this.#at] !== quote) return undefined;
    const end = this.#bytes.indexOf(quote, this.#at + 1);
    if (end === -1) return undefined;
    const text = Buffer.from(
      this.#bytes.buffer,
      this.#bytes.byteOffset + this.#at + 1,
      end - this.#at - 1,
    );
    if (text.includes(backslash)) return undefined;
    this.#at = end + 1;
    return text.toString("utf8");
  }

  /** Takes the comma or bracket behind an element. */
  async #separator(): Promise<number> {
    const byte = await this.#peek();
    if (byte !== 0x2c && byte !== 0x5d) this.fail("expected , or ]");
    this.#at++;
    return byte;
  }

  /** The next byte that is no white space. */
  async #peek(): Promise<number> {
    for (;;) {
      for (; this.#at < this.#bytes.length; this.#at++) {
        const byte = this.#bytes[this.#at] as number;
        if (byte > 0x20) return byte;
      }
      await this.#more();
    }
  }

  async #more(): Promise<void> {
    this.#offsetOfBytes += this.#bytes.length;
    this.#at = 0;
    const { value, done } = await this.#chunks.next();
    this.#bytes = new Uint8Array(0);
    if (done === true) this.fail("the snapshot ends here: it is cut");
    this.#bytes = value as Uint8Array;
  }
}
