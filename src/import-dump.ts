import { availableParallelism, hostname } from "node:os";
import type { Db, WriteConcernSettings } from "mongodb";
import { documentBlocks } from "./decode/document-blocks.js";
import { beginScan, scanBlocks, type Scan } from "./decode/scan-dump.js";
import { arrayElementBlocks } from "./decode/array-elements.js";
import { detectFormat, type DetectedFormat, type DumpFormatName } from "./decode/detect-format.js";
import { lineFormatOf } from "./decode/formats.js";
import { inFileOrder, inRunOrder, type LinePiece } from "./decode/line-pieces.js";
import { openSource, type DumpSource } from "./decode/open-source.js";
import { redactorOf, type Redactor } from "./decode/redact.js";
import { lineBlocks, lineBlocksOfFile } from "./decode/split-lines.js";
import { untilDamage } from "./decode/until-damage.js";
import { snapshotRedactorOf } from "./decode/v8-snapshot/redact-snapshot.js";
import { readSnapshot } from "./decode/v8-snapshot/read-snapshot.js";
import { snapshotDocuments } from "./decode/v8-snapshot/snapshot-documents.js";
import { snapshotHeap } from "./decode/v8-snapshot/snapshot-heap.js";
import { HeapdumpError } from "./errors.js";
import { createGraphBuilder } from "./graph/build-graph.js";
import { countReferrers, measureHeap } from "./graph/graph.js";
import { shapesOf } from "./graph/shapes.js";
import { countTypes, summarise, type TypeCount } from "./graph/summaries.js";
import { computedFields } from "./load/document.js";
import { findingsOf } from "./load/findings.js";
import {
  abandonLoad,
  beginLoad,
  checkDumpName,
  finishLoad,
  indexLoaded,
  insertDocuments,
  keepRejects,
  recordScan,
  serverRejects,
  type LoadTarget,
} from "./load/load.js";
import { refersToNumbers } from "./load/indexes.js";
import { watchIndexBuilds } from "./load/index-progress.js";
import { patiently, type Patience } from "./load/patience.js";
import { storedRejects } from "./load/rejects.js";
import { openRejectsFile, type RejectsFile } from "./load/rejects-file.js";
import { mustHaveShards, shardLoading, type ShardKind } from "./load/shard.js";
import { lockDump, registryOf, type LoadLock } from "./load/registry.js";
import type { ComputedFields, DocumentBlock, HeapIds } from "../schemas/document-block.js";
import { loadingNameOf, rejectsCollectionOf } from "../schemas/collection-names.js";
import type { DumpCounters, DumpEntry } from "../schemas/dump-entry.js";
import type {
  HeapGraph,
  HeapLabels,
  HeapMeasures,
  HeapShapes,
  ReferrerCounts,
  RepeatedText,
  SummaryRow,
} from "../schemas/heap-graph.js";
import type { LineBlock } from "../schemas/line-block.js";
import type { OnProgress } from "../schemas/progress.js";
import type { Reject } from "../schemas/reject.js";
import { markOfKey, textOfMode, withKey, type Redaction } from "./redaction.js";
import { toolVersion } from "./tool-version.js";

/** How many rejects are too many: a number, or a share of the lines. */
export type RejectLimit = { readonly count: number } | { readonly percent: number };

export type ImportOptions = {
  /** A path, or "-" for standard input. */
  readonly file: string;
  readonly db: Db;
  /** The dump's name. Default: the file's name without its extensions. */
  readonly name?: string | undefined;
  /** Default: told from the content. */
  readonly format?: DumpFormatName | undefined;
  /** Replace a dump of this name; the old one is there until the new one is whole. */
  readonly drop?: boolean | undefined;
  /** Batches in flight. Default: 6. */
  readonly inFlight?: number | undefined;
  readonly writeConcern?: WriteConcernSettings | undefined;
  readonly maxRejects?: RejectLimit | undefined;
  /** A file that also gets the rejects; a path is opened and closed here. */
  readonly rejectsFile?: string | RejectsFile | undefined;
  /** How long a lost server is waited for. Default: 60,000. Unit: milliseconds. */
  readonly retryForMs?: number | undefined;
  /** Replaces what strings say by their length and a keyed hash. Without a key, an interrupted import cannot go on. */
  readonly redact?: Redaction | undefined;
  /** On a mongos: how the objects are spread over the shards. Default: not at all. */
  readonly shard?: ShardKind | undefined;
  /** For scheduled diffs. Default: the dump's name without what looks like a pid or time, at this host. */
  readonly series?: string | undefined;
  /** Longest text kept of strings in V8 snapshots. Default: 1024. Unit: bytes. */
  readonly maxString?: number | undefined;
  /**
   * False: neither dominators nor retained sizes, no summaries, and of indexes those on type and references alone. Only
   * what refers to an object can be asked then. Default: true.
   */
  readonly analysis?: boolean | undefined;
  readonly spoolFolder?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** The first rejects, to be shown. */
  readonly onReject?: ((reject: Reject) => void) | undefined;
};

export type ImportSummary = {
  readonly dump: string;
  readonly entry: DumpEntry;
  /** The same dump was there already, whole: nothing was done. */
  readonly alreadyLoaded: boolean;
  /** It went on where an interrupted import had stopped. */
  readonly resumed: boolean;
  /** Sentences for a person. */
  readonly warnings: readonly string[];
  /** Empty without analysis. */
  readonly summaries: readonly SummaryRow[];
  /** Objects of each type, the most first. Empty where nothing was done. */
  readonly typeCounts: readonly TypeCount[];
};

const inFlightDefault = 6;
const retryForMsDefault = 60_000;
/** Real dumps have two dozen types. */
const typesMax = 200;

/**
 * Takes a heap dump into MongoDB: validates it, measures the heap, loads one document an object, builds the indexes.
 *
 * The same call after an interruption goes on where the first one stopped. The dump becomes visible, in `dumps` and
 * under its name, only when it is whole.
 *
 * @throws {HeapdumpError} every code of `decode/` and `load/`
 */
export async function importDump(options: ImportOptions): Promise<ImportSummary> {
  const source = await openSource(options.file, {
    spoolFolder: options.spoolFolder,
    signal: options.signal,
  });
  const { redact, rejectsFile } = options;
  const ownFile =
    typeof rejectsFile === "string"
      ? await openRejectsFile(rejectsFile, [options.file])
      : undefined;
  try {
    return await importSource(source, {
      ...options,
      rejectsFile: ownFile ?? (rejectsFile as RejectsFile | undefined),
      // One key for all that is redacted.
      redact: redact === undefined ? undefined : withKey(redact),
    });
  } finally {
    await ownFile?.close();
    await source.close();
  }
}

/** Options with what was left open settled. */
type SettledOptions = Omit<ImportOptions, "rejectsFile" | "redact"> & {
  readonly rejectsFile: RejectsFile | undefined;
  readonly redact: (Redaction & { readonly key: Buffer }) | undefined;
};

async function importSource(source: DumpSource, options: SettledOptions): Promise<ImportSummary> {
  const dumpName = options.name ?? source.name;
  checkDumpName(dumpName);
  const { db } = options;
  const detected = detectFormat(source.firstBytes, source.path, options.format);
  const startedAt = new Date();
  const fresh = freshEntry(source, dumpName, detected.format, options, startedAt);
  const patience = { retryForMs: options.retryForMs ?? retryForMsDefault, signal: options.signal };
  if (options.shard !== undefined) await mustHaveShards(db, patience);
  const complete = await patiently(() => registryOf(db).findOne({ _id: dumpName }), patience);
  if (complete !== null && options.drop !== true) {
    if (complete.fingerprint === (await fingerprintOf(source, options.signal))) {
      if (complete.analysed === false && options.analysis !== false) {
        throw new HeapdumpError("load/exists", `${dumpName} is loaded already, without analysis`);
      }
      if (options.rejectsFile !== undefined) await tellStored(db, dumpName, source, options);
      return alreadyLoaded(complete);
    }
    throw new HeapdumpError("load/exists", `a dump named ${dumpName} is loaded, of another file`);
  }
  if (complete === null && options.drop !== true) await refuseForeign(db, dumpName);
  const lock = await lockDump(db, dumpName, fresh, patience);
  const signal = AbortSignal.any(
    options.signal === undefined ? [lock.lost] : [lock.lost, options.signal],
  );
  try {
    const resumable = await resumableLoad(db, dumpName, source, lock, options);
    const target: LoadTarget = {
      ...{ db, dumpName, writeConcern: options.writeConcern ?? {}, lockToken: lock.token },
      patience: { ...patience, signal },
      isSharded: options.shard !== undefined,
    };
    const settled = { ...options, signal };
    const summary = await loadLocked(source, detected, target, fresh, resumable, settled);
    const { deadHolder } = lock;
    if (deadHolder === undefined) return summary;
    const { host, pid, seen } = deadHolder;
    const takenOver = `process ${pid} on ${host} had this import and was last seen ${seen.toISOString()}: it was taken over`;
    return { ...summary, warnings: [takenOver, ...summary.warnings] };
  } catch (thrown) {
    const error = await unlessChanged(thrown, source);
    if (error instanceof HeapdumpError && error.code === "load/locked") {
      await clearStray(db, dumpName, fresh, patience).catch(() => undefined);
    }
    if (error instanceof HeapdumpError && error.code === "decode/changed") {
      // Nothing of it can be gone on with.
      await abandonLoad(db, dumpName).catch(() => undefined);
    }
    throw error;
  } finally {
    await lock.release().catch(() => undefined); // A lost server was told of already; a dead lock is taken over.
  }
}

/** The error, or where its cause may be bytes that the first pass did not see, that the file was changed. */
async function unlessChanged(error: unknown, source: DumpSource): Promise<unknown> {
  if (error instanceof HeapdumpError && error.code !== "decode/changed") return error;
  return source.mustBeUnchanged().then(
    () => error,
    (changed: unknown) => changed,
  );
}

/** Batches on their way when the lock was lost may have made the collection of a load anew that another has ended. */
async function clearStray(
  db: Db,
  dumpName: string,
  fresh: DumpEntry,
  patience: Patience,
): Promise<void> {
  const lock = await lockDump(db, dumpName, fresh, patience);
  if (lock.unfinished === undefined) await abandonLoad(db, dumpName);
  await lock.release();
}

function alreadyLoaded(entry: DumpEntry): ImportSummary {
  const warnings = ["this very dump is loaded already; nothing was done"];
  const nothing = { summaries: [], typeCounts: [] };
  return { dump: entry._id, entry, alreadyLoaded: true, resumed: false, warnings, ...nothing };
}

/** The rejects' file is begun anew by each call: those of a dump that is there already are told again. */
async function tellStored(
  db: Db,
  dumpName: string,
  source: DumpSource,
  { rejectsFile }: SettledOptions,
): Promise<void> {
  for await (const reject of storedRejects(db, rejectsCollectionOf(dumpName))) {
    await rejectsFile?.append(source.path, [reject]);
  }
}

/** A collection that we did not make is not ours to replace. */
async function refuseForeign(db: Db, dumpName: string): Promise<void> {
  if (!(await db.listCollections({ name: dumpName }, { nameOnly: true }).hasNext())) return;
  const unfinished = await registryOf(db).findOne({ _id: loadingNameOf(dumpName), swapping: true });
  if (unfinished !== null) return;
  throw new HeapdumpError(
    "load/exists",
    `there is a collection named ${dumpName} which is no dump of ours`,
  );
}

/** The unfinished load that this one continues. A changed file is refused. */
async function resumableLoad(
  db: Db,
  dumpName: string,
  source: DumpSource,
  lock: LoadLock,
  options: SettledOptions,
): Promise<DumpEntry | undefined> {
  const { unfinished } = lock;
  if (unfinished === undefined || unfinished.checkpoint === undefined) return undefined;
  const fingerprint = await fingerprintOf(source, options.signal);
  const other = otherThanBegun(unfinished, options);
  if (unfinished.fingerprint === fingerprint && other === undefined) return unfinished;
  if (options.drop === true) return undefined;
  throw new HeapdumpError(
    "load/changed",
    unfinished.fingerprint === fingerprint
      ? `an unfinished import of ${dumpName} was begun ${other as string}`
      : `${source.path} has changed since its import as ${dumpName} was interrupted`,
  );
}

/** What differs from the call that began an import: its documents and ours would not fit together. */
function otherThanBegun(unfinished: DumpEntry, options: SettledOptions): string | undefined {
  if (unfinished.tool_version !== toolVersion) return `by version ${unfinished.tool_version}`;
  const now = storedOptions(options);
  const names = new Set([...Object.keys(now), ...Object.keys(unfinished.options)]);
  const differing = [...names].filter(
    (name) => JSON.stringify(now[name]) !== JSON.stringify(unfinished.options[name]),
  );
  if (differing.length === 0) return undefined;
  if (differing.join() === "redact_key") {
    return "with another key of redaction; go on with that one in HEAPDUMP_REDACT_KEY";
  }
  return `with another ${differing.map((name) => `--${name.replaceAll("_", "-")}`).join(", ")}`;
}

async function fingerprintOf(source: DumpSource, signal: AbortSignal | undefined): Promise<string> {
  const known = source.fingerprint();
  if (known !== undefined) return known;
  try {
    for await (const chunk of source.chunks({ signal })) void chunk;
  } catch (error) {
    if (!(error instanceof HeapdumpError && error.code === "decode/corrupt")) throw error;
  }
  return source.fingerprint() ?? `${source.bytesOnDisk}-damaged`;
}

/** A dump after the first pass: what every format gives. */
export type ReadHeap = {
  readonly graph: HeapGraph;
  readonly labels: HeapLabels;
  readonly ids: HeapIds;
  readonly repeatedTexts?: readonly RepeatedText[] | undefined;
  readonly counters: Pick<DumpCounters, "lines" | "rejected" | "repaired" | "blank">;
  readonly facts: Partial<DumpEntry>;
  readonly truncated: boolean;
  readonly warnings: readonly string[];
  documents(computed: ComputedFields, nodeFirst: number): AsyncGenerator<DocumentBlock>;
};

async function loadLocked(
  source: DumpSource,
  detected: DetectedFormat,
  target: LoadTarget,
  fresh: DumpEntry,
  resumable: DumpEntry | undefined,
  options: SettledOptions,
): Promise<ImportSummary> {
  const { db, dumpName } = target;
  const registry = registryOf(db);
  const _id = loadingNameOf(dumpName);
  const phases: Record<string, number> = {};
  const timed = async <T>(
    phase: string,
    work: () => Promise<T> | T,
    objectsDone?: number,
  ): Promise<T> => {
    const started = performance.now();
    options.onProgress?.({ phase, kind: "start" });
    const outcome = await work();
    phases[phase] = Math.round(performance.now() - started);
    const objects = objectsDone === undefined ? {} : { objectsDone };
    options.onProgress?.({ phase, kind: "end", elapsedMs: phases[phase], ...objects });
    return outcome;
  };
  if (resumable === undefined) await beginLoad(target);
  const redactor = options.redact === undefined ? undefined : redactorOf(options.redact);
  const keep = rejectKeeper(target, source, redactor, options);
  const heap = await timed("scan", () => readHeap(source, detected, keep, redactor, options));
  if (heap.graph.nodeCount === 0) {
    await patiently(() => registry.deleteOne({ _id }), target.patience);
    throw new HeapdumpError(
      "decode/empty",
      `${source.path}: no record could be loaded (${heap.counters.rejected} of ${heap.counters.lines} lines were refused)`,
    );
  }
  const fingerprint = await fingerprintOf(source, options.signal);
  const objectsTotal = heap.graph.nodeCount;
  const measured = <T extends ReferrerCounts>(measure: (graph: HeapGraph) => T): Promise<T> =>
    timed("measure", () => measure(heap.graph), objectsTotal);
  const analysis = options.analysis === false ? undefined : await measured(measureHeap);
  const measures = analysis ?? (await measured(countReferrers));
  const repeatedTexts = analysis === undefined ? undefined : heap.repeatedTexts;
  const tables = once(() => tablesOf(heap, analysis, toldByLabels(detected, options)));
  const entry: DumpEntry = {
    ...fresh,
    ...heap.facts,
    fingerprint,
    truncated: heap.truncated,
    ...(analysis === undefined ? { analysed: false } : {}),
    counters: countersOf(heap, analysis),
    number_references: refersToNumbers(heap.ids, measures),
    ...(heap.labels.typeNames.length > typesMax ? {} : { types: [...heap.labels.typeNames] }),
    ...(repeatedTexts === undefined ? {} : { strings: repeatedTexts.length }),
  };
  const nodeFirst = resumable?.checkpoint?.records ?? 0;
  if (resumable === undefined) {
    const { _id: _name, ...fields } = entry;
    if (options.shard !== undefined) await shardLoading(target, options.shard, heap.ids);
    await recordScan(target, { ...fields, checkpoint: { records: 0, documents: 0 } });
  }
  let documents = resumable?.checkpoint?.documents ?? 0;
  if (resumable?.swapping !== true) {
    const computed = computedFields(heap.graph, measures, heap.labels, heap.ids);
    documents = await timed("load", () =>
      insertDocuments(target, {
        blocks: heap.documents(computed, nodeFirst),
        documentsBefore: documents,
        inFlight: options.inFlight ?? inFlightDefault,
        lineBehind: heap.counters.lines + 1,
        onAcknowledged: ({ nodeEnd, bytesDone }) =>
          options.onProgress?.({
            phase: "load",
            kind: "step",
            ...dumpBytesOf(bytesDone, source),
            objectsDone: nodeEnd,
            objectsTotal: heap.graph.nodeCount,
          }),
      }),
    );
    options.signal?.throwIfAborted();
    await timed(
      "index",
      () =>
        watched(target, heap.graph.nodeCount, options, () => indexLoaded(target, entry, tables)),
      objectsTotal,
    );
  }
  options.signal?.throwIfAborted();
  // Of all tries: they are in the database already.
  const refused = await serverRejects(target);
  for (const reject of refused) options.onReject?.(reject);
  if (refused.length > 0) await options.rejectsFile?.append(source.path, refused);
  const counters = {
    ...entry.counters,
    objects: entry.counters.objects - refused.length,
    rejected: entry.counters.rejected + refused.length,
    documents: documents - refused.length,
  };
  const { summaries, shapes } = tables();
  const completed: DumpEntry = {
    ...entry,
    ...(shapes === undefined ? {} : { shapes: shapes.rows.length }),
    status: "complete",
    counters,
    completed_at: new Date(),
    phases_ms: phases,
  };
  await timed("finish", () =>
    finishLoad(
      target,
      completed,
      summaries,
      findingsOf(shapes?.rows ?? [], repeatedTexts ?? [], heap.ids),
    ),
  );
  return {
    dump: dumpName,
    entry: completed,
    alreadyLoaded: false,
    resumed: resumable !== undefined,
    warnings: heap.warnings,
    summaries,
    typeCounts: countTypes(heap.labels),
  };
}

/** What is found of the whole dump: nothing without analysis. */
function tablesOf(
  { graph, labels, ids }: ReadHeap,
  analysis: HeapMeasures | undefined,
  areShapesKnown: boolean,
): { readonly summaries: readonly SummaryRow[]; readonly shapes: HeapShapes | undefined } {
  if (analysis === undefined) return { summaries: [], shapes: undefined };
  return {
    summaries: summarise(graph, analysis, labels),
    shapes: areShapesKnown ? shapesOf(graph, analysis, labels, ids) : undefined,
  };
}

/** Tells how far the server is with the indexes while it builds them. */
async function watched(
  { db, dumpName }: LoadTarget,
  objectsTotal: number,
  { onProgress }: SettledOptions,
  build: () => Promise<unknown>,
): Promise<void> {
  const stop = new AbortController();
  const onShare = (share: number): void =>
    onProgress?.({
      phase: "index",
      kind: "step",
      objectsDone: Math.round(share * objectsTotal),
      objectsTotal,
    });
  const watching =
    onProgress === undefined
      ? undefined
      : watchIndexBuilds(db, loadingNameOf(dumpName), onShare, stop.signal);
  try {
    await build();
  } finally {
    stop.abort();
    await watching;
  }
}

/** How far in the dump the last object stood. In a snapshot, objects have no place; the last block is at the end. */
function dumpBytesOf(
  bytesDone: number,
  { bytesOnDisk, compression }: DumpSource,
): { readonly bytesDone?: number } {
  if (bytesDone < Infinity) return bytesDone > 0 ? { bytesDone } : {};
  return compression === "none" ? { bytesDone: bytesOnDisk } : {};
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** Whether the first pass knows all that a step of a path is called by, and nothing of it is to be hidden. */
function toldByLabels({ format }: DetectedFormat, { redact }: SettledOptions): boolean {
  // Names of references, which two formats have, may be keys of hashes; the labels hold them as they are.
  return format === "objspace" || (format !== "heap-dump-gem" && redact === undefined);
}

function countersOf(heap: ReadHeap, analysis: HeapMeasures | undefined): DumpCounters {
  let unreachable = 0;
  for (const depth of analysis?.depth ?? []) if (depth === -1) unreachable++;
  let bytes = 0;
  for (const size of heap.graph.shallowSize) bytes += size;
  return {
    ...heap.counters,
    objects: heap.graph.nodeCount,
    documents: 0,
    references: heap.graph.edgeTo.length,
    roots: heap.graph.roots.length,
    ...(analysis === undefined ? {} : { unreachable }),
    bytes,
  };
}

async function readHeap(
  source: DumpSource,
  detected: DetectedFormat,
  keep: KeepRejects,
  redactor: Redactor | undefined,
  options: SettledOptions,
): Promise<ReadHeap> {
  if (detected.format === "v8-snapshot") return readSnapshotHeap(source, options);
  const scan = beginScan(lineFormatOf(detected.format));
  const warnings: string[] = [];
  const blocksOf = (): AsyncGenerator<LineBlock> => {
    if (detected.layout === "array") return arrayElementBlocks(source.chunks(options));
    const readInto = source.readInto(options);
    return readInto === undefined ? lineBlocks(source.chunks(options)) : lineBlocksOfFile(readInto);
  };
  const builder = createGraphBuilder();
  const threads = scanThreadsFor(source);
  let damage: HeapdumpError | undefined;
  const whole = untilDamage(blocksOf(), (error) => (damage = error));
  for await (const block of scanBlocks(whole, scan, { file: source.path, threads })) {
    options.signal?.throwIfAborted();
    const duplicates = builder.add(block.scan).map((position) => block.refuseDuplicate(position));
    await keep([...block.rejects, ...duplicates]);
    refuseTooMany(scan, options, source.path, false);
    options.onProgress?.({
      phase: "scan",
      kind: "step",
      bytesDone: source.bytesRead(),
      bytesTotal: source.bytesOnDisk,
      objectsDone: scan.ledger.objects,
    });
  }
  refuseTooMany(scan, options, source.path, true);
  const { names, ledger } = scan;
  const heap = builder.finish({
    types: names.types.names,
    sites: names.sites.names,
    classNames: names.classNames.names,
    references: names.references.names,
  });
  if (damage !== undefined) warnings.push(damage.message);
  const truncated = damage !== undefined || isCut(scan, warnings);
  async function* piecesOf(): AsyncGenerator<LinePiece> {
    const runs = scan.runs.inOrder(source.bytesOnDisk, scan.objectLines);
    const pieces = runs === undefined ? undefined : source.pieces(options);
    if (runs === undefined || pieces === undefined) {
      yield* inFileOrder(untilDamage(blocksOf(), () => undefined));
      return;
    }
    yield* inRunOrder(runs, pieces.read);
    await pieces.end();
  }
  return {
    ...heap,
    counters: ledger,
    facts: factsOf(scan, redactor),
    truncated,
    warnings,
    documents: (computed, nodeFirst) =>
      documentBlocks(piecesOf(), scan, heap, {
        ...{ computed, nodeFirst },
        ...(redactor === undefined ? {} : { redact: redactor.record }),
      }),
  };
}

/** A dump below this is scanned before a thread has started. Unit: bytes. */
const bytesForThreads = 32 << 20;
/** Beyond, putting the blocks' findings together is what takes the time. */
const scanThreadsMax = 3;

function scanThreadsFor({ bytesOnDisk, compression }: DumpSource): number {
  const bytes = compression === "none" ? bytesOnDisk : bytesOnDisk * 8;
  return bytes < bytesForThreads ? 0 : Math.min(scanThreadsMax, availableParallelism() - 1);
}

/** A snapshot is whole or refused: its parts mean nothing without each other. */
async function readSnapshotHeap(source: DumpSource, options: SettledOptions): Promise<ReadHeap> {
  async function* chunks(): AsyncGenerator<Buffer> {
    for await (const chunk of source.chunks(options)) {
      options.signal?.throwIfAborted();
      options.onProgress?.({
        phase: "scan",
        kind: "step",
        bytesDone: source.bytesRead(),
        bytesTotal: source.bytesOnDisk,
      });
      yield chunk;
    }
  }
  const snapshot = await readSnapshot(chunks(), source.path);
  const redact = options.redact === undefined ? undefined : snapshotRedactorOf(options.redact);
  return {
    ...snapshotHeap(snapshot),
    counters: { lines: snapshot.nodeCount, rejected: 0, repaired: 0, blank: 0 },
    facts: { runtime: "node" },
    truncated: false,
    warnings: [],
    documents: async function* (computed, nodeFirst) {
      yield* snapshotDocuments(snapshot, {
        ...{ computed, nodeFirst },
        ...(options.maxString === undefined ? {} : { stringBytesMax: options.maxString }),
        ...(redact === undefined ? {} : { redact }),
      });
    },
  };
}

/** A dump without its end: the trailer line, or the closing bracket. */
function isCut(scan: Scan, warnings: string[]): boolean {
  if (scan.format.name === "heapdump-mongo" && scan.trailer === undefined) {
    warnings.push("the dump has no closing line: it was cut");
    return true;
  }
  const expected = scan.trailer?.counts?.objects;
  if (expected !== undefined && scan.ledger.objects + scan.ledger.rejected < expected) {
    warnings.push(`the dump says that it holds ${expected} objects: some are missing`);
    return true;
  }
  if (scan.opened && !scan.closed) {
    warnings.push("the dump has no closing bracket: it was cut");
    return true;
  }
  return false;
}

function factsOf(scan: Scan, redactor: Redactor | undefined): Partial<DumpEntry> {
  const { header } = scan;
  if (header === undefined) {
    return { runtime: "ruby" };
  }
  const facts: Partial<DumpEntry> = {};
  if (header.pid !== undefined) facts.pid = header.pid;
  if (header.host !== undefined) facts.host = header.host;
  if (header.command !== undefined) {
    facts.command = redactor?.command(header.command) ?? header.command;
  }
  if (header.runtime !== undefined) facts.runtime = header.runtime;
  if (header.runtime_version !== undefined) facts.runtime_version = header.runtime_version;
  if (header.taken_at !== undefined) facts.taken_at = new Date(header.taken_at);
  if (header.process_started_at !== undefined) {
    facts.process_started_at = new Date(header.process_started_at);
  }
  return facts;
}

/** Lines that must have been read before a share of them says anything. */
const linesBeforeShare = 1_000;

function refuseTooMany(scan: Scan, options: SettledOptions, path: string, atEnd: boolean): void {
  const { maxRejects } = options;
  const { rejected, lines } = scan.ledger;
  if (maxRejects === undefined) return;
  const tooMany =
    "count" in maxRejects
      ? rejected > maxRejects.count
      : (atEnd || lines >= linesBeforeShare) && rejected * 100 > lines * maxRejects.percent;
  if (!tooMany) return;
  throw new HeapdumpError(
    "decode/too-many-rejects",
    `${path}: ${rejected} of the first ${lines} lines were refused`,
  );
}

type KeepRejects = (rejects: readonly Reject[]) => Promise<void>;

/** Rejects go to the database, to the caller, and to a file if there is to be one. */
function rejectKeeper(
  target: LoadTarget,
  source: DumpSource,
  redactor: Redactor | undefined,
  options: SettledOptions,
): KeepRejects {
  return async (found) => {
    if (found.length === 0) return;
    const rejects = redactor === undefined ? found : found.map((one) => redactor.reject(one));
    for (const reject of rejects) options.onReject?.(reject);
    await keepRejects(target, rejects);
    await options.rejectsFile?.append(source.path, rejects);
  };
}

function freshEntry(
  source: DumpSource,
  dumpName: string,
  format: string,
  options: SettledOptions,
  startedAt: Date,
): DumpEntry {
  return {
    _id: dumpName,
    collection: dumpName,
    source: { file: source.path, bytes: source.bytesOnDisk, compression: source.compression },
    format,
    fingerprint: "",
    taken_at: source.modifiedAt,
    host: hostname(),
    series: options.series ?? seriesOf(dumpName),
    status: "loading",
    truncated: false,
    counters: {
      lines: 0,
      objects: 0,
      documents: 0,
      rejected: 0,
      repaired: 0,
      blank: 0,
      references: 0,
      roots: 0,
      bytes: 0,
    },
    options: storedOptions(options),
    tool_version: toolVersion,
    started_at: startedAt,
  };
}

/** What makes two imports of one file differ. */
function storedOptions(options: SettledOptions): Record<string, unknown> {
  const { redact } = options;
  return {
    format: options.format ?? null,
    redact: redact === undefined ? null : textOfMode(redact.mode),
    ...(redact === undefined ? {} : { redact_key: markOfKey(redact.key) }),
    max_string: options.maxString ?? null,
    shard: options.shard ?? null,
    ...(options.analysis === false ? { no_analysis: true } : {}),
  };
}

/** `shop@host` for a dump named `shop_4711_20261123T0300`: names of one series differ in pid and time only. */
function seriesOf(dumpName: string): string {
  const bare = dumpName.replace(/[-_.]?\d[\dTZ:_.-]*$/, "");
  return `${bare === "" ? dumpName : bare}@${hostname()}`;
}
