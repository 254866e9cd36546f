import { HeapdumpError } from "../errors.js";
import type { DumpHeader } from "../../schemas/dump-header.js";
import type { LineBlock } from "../../schemas/line-block.js";
import type { Reject } from "../../schemas/reject.js";
import type { ScanBlock } from "../../schemas/scan-block.js";
import { createBitset, type Bitset } from "./bitset.js";
import { createIdRuns, type IdRuns } from "./id-runs.js";
import { createInterner, type Interner } from "./intern-bytes.js";
import type { LineFormat } from "./line-format.js";
import {
  createLineScanner,
  duplicateReject,
  sealed,
  type LineFindings,
  type LineScanner,
  type Mark,
  type SealedBlock,
} from "./scan-lines.js";
import { sharedBlock, startScanThread, type ScanThread } from "./scan-thread.js";

/** How many lines were what: lines = objects + rejected + blank, always. */
export type Ledger = {
  lines: number;
  objects: number;
  rejected: number;
  /** Objects with text that is no valid UTF-8. */
  repaired: number;
  /** Blank lines, brackets, headers and trailers. */
  blank: number;
};

/** What the first pass over a dump finds, besides the graph. */
export type Scan = {
  readonly format: LineFormat;
  /** Names that scan blocks refer to by number, over the whole dump. */
  readonly names: {
    readonly types: Interner;
    readonly classNames: Interner;
    readonly sites: Interner;
    readonly references: Interner;
  };
  readonly ledger: Ledger;
  /** Which lines hold an object of the graph, by number from 0. */
  readonly objectLines: Bitset;
  /** Stretches of the file with ascending ids. */
  readonly runs: IdRuns;
  /** How many roots without an address had each name. */
  readonly rootCounts: Map<string, number>;
  header: DumpHeader | undefined;
  trailer: DumpHeader | undefined;
  /** The first object is a root without an address. */
  beginsWithRoot: boolean;
  /** The array's brackets were met. */
  opened: boolean;
  closed: boolean;
};

/** One block after the first pass. */
export type ScannedBlock = {
  readonly scan: ScanBlock;
  readonly rejects: readonly Reject[];
  /** Turns an object of this block into a reject: its id is that of an earlier one. */
  readonly refuseDuplicate: (position: number) => Reject;
  readonly bytesDone: number;
};

export type ScanOptions = {
  /** For messages. */
  readonly file: string;
  /** Decides every record by the plain path: to compare the two. */
  readonly plain?: boolean;
  /** Threads that scan besides this one. Default: none. */
  readonly threads?: number;
};

/** Begins the first pass over a dump. */
export function beginScan(format: LineFormat): Scan {
  return {
    format,
    names: {
      types: createInterner(),
      classNames: createInterner(),
      sites: createInterner(),
      references: createInterner(),
    },
    ledger: { lines: 0, objects: 0, rejected: 0, repaired: 0, blank: 0 },
    objectLines: createBitset(),
    runs: createIdRuns(),
    rootCounts: new Map(),
    header: undefined,
    trailer: undefined,
    beginsWithRoot: false,
    opened: false,
    closed: false,
  };
}

/** A scanner, here or in a thread, and what the dump calls its names. */
type Scanner = {
  readonly codes: Record<"types" | "classNames" | "sites" | "references", number[]>;
};
type LocalScanner = Scanner & { readonly scan: LineScanner };
type ThreadScanner = Scanner & { readonly thread: ScanThread };

/** A block that is being scanned. Blocks are merged in the order of the dump. */
type Pending = {
  readonly raw: LineBlock;
  readonly block: SealedBlock;
  readonly scanner: LocalScanner | ThreadScanner;
  readonly memory: SharedArrayBuffer | undefined;
  readonly findings: LineFindings | Promise<LineFindings>;
  done: boolean;
};

/** Scanners of this thread: one result waits for its turn while the other one is made. */
const localScanners = 2;
/** Blocks that a thread has at most: one it works on, one that waits. */
const blocksOfThread = 2;

/**
 * The first pass: what each record says about the graph, and what is refused. Never throws for a bad line.
 *
 * The arrays of a block are used again for the next one. Blocks come in the order of the dump, and what they say does
 * not depend on the number of threads.
 *
 * @throws {HeapdumpError} `decode/corrupt` when a second dump begins in the same file
 */
export async function* scanBlocks(
  blocks: AsyncIterable<LineBlock>,
  scan: Scan,
  options: ScanOptions,
): AsyncGenerator<ScannedBlock> {
  const plain = options.plain === true;
  // Without threads, one is enough: each block is merged before the next one is asked for.
  const scannerCount = options.threads === undefined || options.threads === 0 ? 1 : localScanners;
  const idle: LocalScanner[] = Array.from({ length: scannerCount }, () => ({
    codes: { types: [], classNames: [], sites: [], references: [] },
    scan: createLineScanner(scan.format, plain),
  }));
  const threads: ThreadScanner[] = Array.from({ length: options.threads ?? 0 }, () => ({
    codes: { types: [], classNames: [], sites: [], references: [] },
    thread: startScanThread(scan.format),
  }));
  const memories = Array.from(
    { length: threads.length * blocksOfThread + localScanners },
    () => new SharedArrayBuffer(threads.length === 0 ? 0 : sharedBlock.bytesMax),
  );
  const queue: Pending[] = [];

  async function* merged(isEnough: () => boolean): AsyncGenerator<ScannedBlock> {
    for (let head = queue[0]; head !== undefined && !isEnough(); head = queue[0]) {
      queue.shift();
      yield merge(scan, head, await head.findings, options);
      if ("scan" in head.scanner) idle.push(head.scanner);
      if (head.memory !== undefined) memories.push(head.memory);
    }
  }

  const withRoom = (): ThreadScanner | undefined =>
    threads.find(({ thread }) => thread.blockCount < blocksOfThread);
  const canTakeMore = (): boolean =>
    memories.length > 0 && (idle.length > 0 || withRoom() !== undefined);

  try {
    for await (const raw of blocks) {
      if (threads.length === 0 || raw.tooLong !== undefined || !sharedBlock.hasRoomFor(raw)) {
        // Its memory is the reader's: it is merged before the next one is asked for.
        yield* merged(() => false);
        const scanner = idle.pop() as LocalScanner;
        const block = sealed(raw);
        const findings = scanner.scan(block);
        queue.push({ raw, block, scanner, memory: undefined, findings, done: true });
        yield* merged(() => false);
        continue;
      }
      const memory = memories.pop() as SharedArrayBuffer;
      const block = sharedBlock.copyTo(memory, raw);
      const thread = withRoom();
      if (thread !== undefined) {
        const findings = thread.thread.scan(block, memory);
        const pending: Pending = { raw, block, scanner: thread, memory, findings, done: false };
        findings.then(
          () => (pending.done = true),
          () => undefined, // Told where the block is merged.
        );
        queue.push(pending);
      } else {
        const scanner = idle.pop() as LocalScanner;
        queue.push({ raw, block, scanner, memory, findings: scanner.scan(block), done: true });
      }
      yield* merged(() => queue[0]?.done !== true && canTakeMore());
    }
    yield* merged(() => false);
  } finally {
    await Promise.all(threads.map(({ thread }) => thread.stop()));
  }
}

/** Adds what a block says by itself to what is known of the dump. */
function merge(
  scan: Scan,
  { raw, block, scanner }: Pending,
  findings: LineFindings,
  options: ScanOptions,
): ScannedBlock {
  const { ledger } = scan;
  const { objectLines } = findings;
  const lineFirst = ledger.lines;
  /** Line numbers of a block count from its first line, unless it came with places. */
  const placed = <T extends { readonly lineNumber: number }>(one: T): T =>
    raw.places === undefined ? { ...one, lineNumber: lineFirst + one.lineNumber } : one;
  /** Where an object of this block stands, for messages. */
  const placeOf = (position: number): Pick<Mark, "lineNumber"> => {
    const line = objectLines[position] as number;
    return { lineNumber: raw.places?.lineNumbers[line] ?? lineFirst + line + 1 };
  };
  /** Where a second dump may begin: the first place counts, however the dump was cut into blocks. */
  const seconds: Pick<Mark, "lineNumber">[] = [];
  const again = rootAgain(scan, findings);
  if (again !== undefined) seconds.push(placeOf(again));
  const inCodes = inDumpCodes(scan, scanner, findings);
  /** Objects of this block from here on stand behind the dump's end. */
  let ended = isEnded(scan) ? 0 : inCodes.objectCount;
  let endLine = isEnded(scan) ? 0 : Infinity;
  for (const found of findings.marks) {
    const mark = placed(found);
    const isLater = ledger.objects + mark.objectsBefore > 0;
    const isSecond =
      "header" in mark
        ? markHeader(scan, mark.header, isLater)
        : markBracket(scan, mark.bracket, isLater);
    if (isSecond) seconds.push(mark);
    if (!isEnded(scan)) continue;
    // The closing bracket may stand behind the last record, on its line.
    const onLine =
      raw.places === undefined && objectLines[mark.objectsBefore] === found.lineNumber - 1;
    ended = Math.min(ended, mark.objectsBefore + (onLine ? 1 : 0));
    endLine = Math.min(endLine, found.lineNumber);
  }
  if (ended < inCodes.objectCount) seconds.push(placeOf(ended));
  // One in another format: its records are objects, but none of this one's.
  const foreign = findings.rejects.find(
    ({ code, lineNumber }) => code === "schema" && lineNumber > endLine,
  );
  if (foreign !== undefined) seconds.push(placed(foreign));
  if (seconds.length > 0) {
    secondDump(Math.min(...seconds.map(({ lineNumber }) => lineNumber)), options);
  }
  for (let position = 0; position < inCodes.objectCount; position++) {
    scan.objectLines.add(lineFirst + (objectLines[position] as number));
  }
  if (raw.places !== undefined || raw.tooLong !== undefined) scan.runs.keepOrder();
  // A byte order mark stands in front of the lines, and in none.
  if (lineFirst === 0 && raw.byteOffsetFirst !== 0) scan.runs.keepOrder();
  scan.runs.add({
    ...{ ids: inCodes.ids, objectLines, lineOffsets: findings.lineOffsets, lineFirst },
    byteOffsetFirst: raw.byteOffsetFirst,
  });
  const rejects = findings.rejects.map(placed);
  ledger.lines += findings.lineCount;
  ledger.objects += inCodes.objectCount;
  ledger.blank += findings.blankCount;
  ledger.repaired += findings.repairedCount;
  if (raw.tooLong !== undefined) {
    ledger.lines++;
    rejects.push({
      lineNumber: raw.tooLong.lineNumber ?? ledger.lines,
      byteOffset: raw.tooLong.byteOffset,
      code: "too-long",
      path: "",
      message: `a line of ${raw.tooLong.lineBytes} bytes`,
      raw: raw.tooLong.head,
    });
  }
  ledger.rejected += rejects.length;
  return {
    scan: inCodes,
    rejects,
    refuseDuplicate: (position) => {
      const line = objectLines[position] as number;
      ledger.objects--;
      ledger.rejected++;
      scan.objectLines.remove(lineFirst + line);
      const path = scan.format.name === "heap-dump-gem" ? "id" : "address";
      return placed(duplicateReject(block, line, path));
    },
    bytesDone: raw.byteOffsetFirst + block.length,
  };
}

/** The block with the dump's codes instead of the scanner's, and roots' ids. */
function inDumpCodes(scan: Scan, { codes }: Scanner, findings: LineFindings): ScanBlock {
  const { names } = scan;
  const { newNames, scan: found } = findings;
  for (const name of newNames.types) codes.types.push(names.types.codeOf(name));
  for (const name of newNames.classNames) codes.classNames.push(names.classNames.codeOf(name));
  for (const name of newNames.sites) codes.sites.push(names.sites.codeOf(name));
  for (const name of newNames.references) codes.references.push(names.references.codeOf(name));
  recode(found.typeCodes, codes.types);
  recode(found.classNameCodes, codes.classNames);
  recode(found.siteCodes, codes.sites);
  if (found.referenceNames !== undefined) recode(found.referenceNames, codes.references);
  if (findings.rootNames.size === 0) return found;
  const otherIds = new Map(found.otherIds);
  for (const [position, name] of findings.rootNames) {
    // A root without an address is known by its name; a second one of that name gets a number.
    const count = (scan.rootCounts.get(name) ?? 0) + 1;
    scan.rootCounts.set(name, count);
    otherIds.set(position, count === 1 ? `root:${name}` : `root:${name}#${count}`);
  }
  return { ...found, otherIds };
}

/** The array's closing bracket or our closing line was met. */
function isEnded({ closed, trailer }: Scan): boolean {
  return closed || trailer !== undefined;
}

/**
 * The first root of a block that begins a second dump of `ObjectSpace.dump_all`, which has no brackets and no header: it
 * writes its roots first, so one of a name that is known, behind other objects, is another dump's.
 */
function rootAgain(scan: Scan, findings: LineFindings): number | undefined {
  const { format, ledger, rootCounts } = scan;
  if (format.name !== "objspace" || findings.rootNames.size === 0) return undefined;
  if (ledger.objects === 0) scan.beginsWithRoot = findings.rootNames.has(0);
  // One that was filtered or sorted by somebody may have them anywhere.
  if (!scan.beginsWithRoot) return undefined;
  let roots = 0;
  for (const count of rootCounts.values()) roots += count;
  const known = new Set(rootCounts.keys());
  for (const [position, name] of findings.rootNames) {
    const objectsBefore = ledger.objects + position;
    if (objectsBefore > roots && known.has(name)) return position;
    known.add(name);
    roots++;
  }
  return undefined;
}

function recode(column: Uint16Array | Int32Array, codes: readonly number[]): void {
  for (let position = 0; position < column.length; position++) {
    const code = column[position] as number;
    if (code >= 0) column[position] = codes[code] as number;
  }
}

/** Keeps the bracket in mind. @returns whether a second dump begins with it */
function markBracket(scan: Scan, bracket: "open" | "close", isLater: boolean): boolean {
  if (bracket === "close") {
    scan.closed = true;
    return false;
  }
  const isSecond = scan.opened || isLater;
  scan.opened = true;
  return isSecond;
}

/** Keeps the header or trailer in mind. @returns whether a second dump begins with it */
function markHeader(scan: Scan, header: DumpHeader, isLater: boolean): boolean {
  if (header.counts !== undefined) {
    scan.trailer = header;
    return false;
  }
  const isSecond = scan.header !== undefined || isLater;
  scan.header ??= header;
  return isSecond;
}

function secondDump(lineNumber: number, { file }: ScanOptions): never {
  throw new HeapdumpError(
    "decode/corrupt",
    "a second dump begins here: two dumps are glued together; import each from a file of its own",
    { at: { file, lineNumber } },
  );
}
