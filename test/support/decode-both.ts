import assert from "node:assert/strict";
import { BSON } from "mongodb";
import type { ComputedFields, HeapIds } from "../../schemas/document-block.js";
import type { HeapGraph } from "../../schemas/heap-graph.js";
import type { LineBlock } from "../../schemas/line-block.js";
import type { Reject } from "../../schemas/reject.js";
import { documentBlocks } from "../../src/decode/document-blocks.js";
import { inFileOrder, inRunOrder, type LinePiece } from "../../src/decode/line-pieces.js";
import { beginScan, scanBlocks, type Ledger } from "../../src/decode/scan-dump.js";
import type { LineFormat } from "../../src/decode/line-format.js";
import type { ReadPiece } from "../../src/decode/open-source.js";
import { lineBlocks, lineBlocksOfFile, type ReadInto } from "../../src/decode/split-lines.js";

/** Everything that decoding a dump gives: the documents' bytes, the rejects, the counts. */
export type DecodedDump = {
  readonly documents: readonly Buffer[];
  readonly rejects: readonly Reject[];
  readonly ledger: Ledger;
  /** What the graph is told of each object. */
  readonly scanned: readonly unknown[];
  readonly textHashes: readonly number[];
};

/** Of what `load/` writes, that which needs no analysis. */
function identityOf(
  ids: readonly (number | string | bigint)[],
  types: readonly string[],
): ComputedFields {
  const idOf = (node: number): number | string | bigint => ids[node] as number | string | bigint;
  return {
    idOf,
    begin: (writer, node) => {
      const id = idOf(node);
      if (typeof id === "string") writer.string("_id", id);
      else writer.int64("_id", id);
      writer.string("type", types[node] as string);
    },
    continue: () => 0,
  };
}

export type DecodeOptions = {
  readonly plain?: boolean;
  /** Cuts the dump into chunks of this size, and those into blocks. Default: one block. Unit: bytes. */
  readonly chunkBytes?: number;
  readonly blockBytes?: number;
  readonly threads?: number;
  /** Reads the dump as a file of ours is read, into one buffer over and over, `chunkBytes` at a time. */
  readonly asFile?: boolean;
  /** Reads the dump the second time by its runs, in pieces of this size, where it has them. Unit: bytes. */
  readonly pieceBytes?: number;
  /** So many objects, in the order of loading, are left out. */
  readonly nodeFirst?: number;
  /** No block is released: as if the server acknowledged none. */
  readonly keepsBlocks?: boolean;
};

/**
 * Decodes a dump, with a naive graph that knows only who is there: to compare the plain path with the
 * fast one, and either with what a test expects.
 */
export async function decodeDump(
  format: LineFormat,
  bytes: Buffer,
  options: DecodeOptions = {},
): Promise<DecodedDump> {
  const { chunkBytes, blockBytes } = options;
  const blocks = async function* (): AsyncGenerator<LineBlock> {
    if (chunkBytes !== undefined && options.asFile === true) {
      yield* lineBlocksOfFile(
        readerOf(bytes, chunkBytes),
        blockBytes === undefined ? {} : { blockBytes },
      );
    } else if (chunkBytes === undefined) {
      // What reads a dump skips a byte order mark; here nothing reads.
      const byteOffsetFirst = bytes.subarray(0, 3).equals(Buffer.from("\ufeff")) ? 3 : 0;
      yield await Promise.resolve({ bytes: bytes.subarray(byteOffsetFirst), byteOffsetFirst });
    } else {
      yield* lineBlocks(
        chunksOf(bytes, chunkBytes),
        blockBytes === undefined ? {} : { blockBytes },
      );
    }
  };
  const scan = beginScan(format);
  const rejects: Reject[] = [];
  const integers: number[] = [];
  const other = new Map<number, string | bigint>();
  const candidates: (number | string | bigint)[][] = [];
  const nodeOf = new Map<number | string | bigint, number>();
  const known: (number | string | bigint)[] = [];
  const types: string[] = [];
  const scanned: unknown[] = [];
  const textHashes: number[] = [];
  const plain = options.plain ?? false;
  const threads = options.threads ?? 0;
  for await (const block of scanBlocks(blocks(), scan, { file: "dump", plain, threads })) {
    rejects.push(...block.rejects);
    const { scan: found } = block;
    for (let position = 0; position < found.objectCount; position++) {
      const id = found.otherIds.get(position) ?? (found.ids[position] as number);
      if (nodeOf.has(id)) {
        rejects.push(block.refuseDuplicate(position));
        continue;
      }
      const node = integers.length;
      nodeOf.set(id, node);
      known.push(id);
      types.push(scan.names.types.names[found.typeCodes[position] as number] as string);
      integers.push(typeof id === "number" ? id : NaN);
      if (typeof id !== "number") other.set(node, id);
      const from = found.firstReference[position] as number;
      const to = found.firstReference[position + 1] as number;
      const own = [];
      for (let at = from; at < to; at++) {
        own.push(found.otherReferences.get(at) ?? (found.references[at] as number));
      }
      candidates.push(own);
      textHashes.push(found.textHashes?.[position] ?? NaN);
      scanned.push({
        id,
        classId: found.classIds[position],
        size: found.sizes[position],
        // Which hash depends on how the text is escaped: the fast path reads the bytes.
        isText: !Number.isNaN(found.textHashes?.[position] ?? NaN),
        type: scan.names.types.names[found.typeCodes[position] as number],
        site: scan.names.sites.names[found.siteCodes[position] as number],
        generation: found.generations[position],
        className: scan.names.classNames.names[found.classNameCodes[position] as number],
        own,
        weak:
          found.weak === undefined ? [] : [...found.weak.subarray(from, to)].filter((w) => w === 1),
        isRoot: found.rootPositions.includes(position),
        name: found.names.get(position),
        label: found.labels.get(position),
        // The gem's are not asked for: its fast path does not read them.
        names:
          format.name === "heap-dump-gem"
            ? []
            : [...(found.referenceNames?.subarray(from, to) ?? [])].flatMap((code, index) =>
                code < 0 ? [] : [[index, scan.names.references.names[code]]],
              ),
      });
    }
  }
  rejects.sort((one, two) => one.byteOffset - two.byteOffset);
  const { graph, ids } = heapOf(integers, other, candidates, nodeOf);
  const documents: Buffer[] = [];
  const pieces = (): AsyncIterable<LinePiece> => {
    const { pieceBytes } = options;
    const runs =
      pieceBytes === undefined ? undefined : scan.runs.inOrder(bytes.length, scan.objectLines);
    if (runs === undefined) return inFileOrder(blocks());
    return inRunOrder(runs, pieceReaderOf(bytes), pieceBytes);
  };
  const options2 = {
    ...{ computed: identityOf(known, types), plain },
    nodeFirst: options.nodeFirst ?? 0,
  };
  for await (const block of documentBlocks(pieces(), scan, { graph, ids }, options2)) {
    for (let at = 0; at < block.bson.length;) {
      const length = block.bson.readInt32LE(at);
      const document = block.bson.subarray(at, at + length);
      documents.push(options.keepsBlocks === true ? document : Buffer.from(document));
      at += length;
    }
    if (options.keepsBlocks !== true) block.release?.();
  }
  return { documents, rejects, ledger: scan.ledger, scanned, textHashes };
}

function readerOf(bytes: Buffer, chunkBytes: number): ReadInto {
  let at = 0;
  return (buffer, offset, length) => {
    const end = Math.min(bytes.length, at + Math.min(length, chunkBytes));
    const count = bytes.copy(buffer, offset, at, end);
    at += count;
    return Promise.resolve(count);
  };
}

function pieceReaderOf(bytes: Buffer): ReadPiece {
  return (buffer, position, length, cut) => {
    assert.equal(bytes.copy(buffer, 0, position, position + length), length);
    return Promise.resolve(cut ? buffer.lastIndexOf(0x0a, length - 1) + 1 : length);
  };
}

/** The bytes in pieces of one size. Each is a copy: nobody may look beyond its end. */
export async function* chunksOf(bytes: Buffer, chunkBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    yield await Promise.resolve(Buffer.from(bytes.subarray(at, at + chunkBytes)));
  }
}

function heapOf(
  integers: readonly number[],
  other: ReadonlyMap<number, string | bigint>,
  candidates: readonly (readonly (number | string | bigint)[])[],
  nodeOf: ReadonlyMap<number | string | bigint, number>,
): { graph: HeapGraph; ids: HeapIds } {
  const edges: number[] = [];
  const firstEdge = [0];
  for (const own of candidates) {
    for (const id of own) {
      const node = nodeOf.get(id);
      if (node !== undefined) edges.push(node);
    }
    firstEdge.push(edges.length);
  }
  return {
    graph: {
      nodeCount: integers.length,
      firstEdge: Uint32Array.from(firstEdge),
      edgeTo: Uint32Array.from(edges),
      classOf: new Int32Array(integers.length).fill(-1),
      weakEdge: undefined,
      roots: new Uint32Array(0),
      shallowSize: new Float64Array(integers.length),
    },
    ids: { integerOf: Float64Array.from(integers), other },
  };
}

/** A document's fields, with 64-bit integers as bigints. */
export function fieldsOf(document: Buffer): Record<string, unknown> {
  return BSON.deserialize(document, { useBigInt64: true, promoteBuffers: true });
}
