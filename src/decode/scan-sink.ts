import type { ScanBlock } from "../../schemas/scan-block.js";
import type { HeapRecord, ObjectId } from "./heap-record.js";
import { createInterner, type Interner } from "./intern-bytes.js";

/** Names that scan blocks refer to by number, over the whole dump. */
export type ScanNames = {
  readonly types: Interner;
  readonly classNames: Interner;
  readonly files: Interner;
  readonly labels: Interner;
  readonly references: Interner;
  readonly sites: { codeOf(fileCode: number, line: number): number; readonly names: string[] };
};

/** The names met so far: one for a dump, shared by all its blocks. */
export function createScanNames(): ScanNames {
  const files = createInterner();
  const codes = new Map<number, number>();
  const names: string[] = [];
  return {
    types: createInterner(),
    classNames: createInterner(),
    files,
    labels: createInterner(),
    references: createInterner(),
    sites: {
      names,
      codeOf: (fileCode, line) => {
        const key = fileCode * 0x1_0000_0000 + line;
        let code = codes.get(key);
        if (code === undefined) {
          code = names.length;
          const file = files.names[fileCode] ?? "";
          names.push(line < 0 ? file : `${file}:${line}`);
          codes.set(key, code);
        }
        return code;
      },
    },
  };
}

/** References of a record whose names are kept: a larger holder is a list. src/query/holders.ts looks through as many. */
export const namedReferencesMax = 64;

/** Whether names of an object's references tell how it holds: the elements of lists are told alike. */
export function isNamedBy(type: string): boolean {
  return type !== "ARRAY" && type !== "array" && type !== "HASH";
}

/** A line: its number in the block, and where it begins there. */
export type LinePlace = { readonly line: number; readonly from: number };

/** The columns with a row for each object, or for each candidate. */
export type ScanColumns = Pick<
  ScanSink,
  | "ids"
  | "classIds"
  | "sizes"
  | "typeCodes"
  | "siteCodes"
  | "generations"
  | "classNameCodes"
  | "textHashes"
  | "firstReference"
  | "references"
  | "lines"
  | "lineOffsets"
>;

/**
 * Collects what the graph needs of one block of records, in arrays that are used again for the next block.
 *
 * A record is written field by field and then committed; one that turns out not to be ordinary is rolled back.
 */
export class ScanSink {
  readonly names: ScanNames;
  objectCount = 0;
  referenceCount = 0;
  ids = new Float64Array(1 << 14);
  classIds = new Float64Array(1 << 14);
  sizes = new Float64Array(1 << 14);
  typeCodes = new Uint16Array(1 << 14);
  siteCodes = new Int32Array(1 << 14);
  generations = new Int32Array(1 << 14);
  classNameCodes = new Int32Array(1 << 14);
  textHashes = new Float64Array(1 << 14).fill(NaN);
  firstReference = new Uint32Array((1 << 14) + 1);
  references = new Float64Array(1 << 16);
  /** Line in the block of each object. */
  lines = new Int32Array(1 << 14);
  /** Where that line begins in the block. */
  lineOffsets = new Uint32Array(1 << 14);
  weak = new Uint8Array(0);
  otherIds = new Map<number, string | bigint>();
  otherReferences = new Map<number, string | bigint>();
  rootPositions: number[] = [];
  classNames = new Map<number, string>();
  labels = new Map<number, string>();
  referenceNames = new Int32Array(0);

  constructor(names: ScanNames) {
    this.names = names;
  }

  /** Takes columns of another's making, with room for all that a block may hold. What was collected is lost. */
  useColumns(columns: ScanColumns): void {
    Object.assign(this, columns);
    this.clear();
  }

  /** Makes room for one more object; call before writing its fields. */
  reserveObject(): void {
    if (this.objectCount < this.ids.length) return;
    const length = this.ids.length * 2;
    this.ids = grown(this.ids, new Float64Array(length));
    this.classIds = grown(this.classIds, new Float64Array(length));
    this.sizes = grown(this.sizes, new Float64Array(length));
    this.typeCodes = grown(this.typeCodes, new Uint16Array(length));
    this.siteCodes = grown(this.siteCodes, new Int32Array(length));
    this.generations = grown(this.generations, new Int32Array(length));
    this.classNameCodes = grown(this.classNameCodes, new Int32Array(length));
    this.textHashes = grown(this.textHashes, new Float64Array(length).fill(NaN));
    this.lines = grown(this.lines, new Int32Array(length));
    this.lineOffsets = grown(this.lineOffsets, new Uint32Array(length));
    this.firstReference = grown(this.firstReference, new Uint32Array(length + 1));
  }

  /** Adds a candidate. */
  reference(id: number): void {
    if (this.referenceCount === this.references.length) {
      this.references = grown(this.references, new Float64Array(this.referenceCount * 2));
    }
    this.references[this.referenceCount++] = id;
  }

  /** Takes back the candidates of a record that was not committed. */
  rollBack(): void {
    const first = this.firstReference[this.objectCount] as number;
    this.referenceNames.fill(-1, first, Math.max(first, this.referenceCount));
    this.referenceCount = first;
  }

  /** Ends the record whose fields stand at `objectCount`. */
  commit({ line, from }: LinePlace): void {
    this.lines[this.objectCount] = line;
    this.lineOffsets[this.objectCount] = from;
    this.objectCount++;
    this.firstReference[this.objectCount] = this.referenceCount;
  }

  /** Adds a record of the plain path. */
  push(record: HeapRecord, id: ObjectId, place: LinePlace): void {
    this.reserveObject();
    const at = this.objectCount;
    this.ids[at] = typeof id === "number" ? id : NaN;
    if (typeof id !== "number") this.otherIds.set(at, id);
    // A class beyond 2^53 would be an object at an address that no machine has: not worth an edge.
    this.classIds[at] = typeof record.classId === "number" ? record.classId : NaN;
    this.sizes[at] = record.sizeBytes;
    this.typeCodes[at] = this.names.types.codeOf(record.type);
    this.siteCodes[at] =
      record.file === undefined
        ? -1
        : this.names.sites.codeOf(this.names.files.codeOf(record.file), record.line ?? -1);
    this.generations[at] = record.generation ?? -1;
    this.classNameCodes[at] =
      record.className === undefined ? -1 : this.names.classNames.codeOf(record.className);
    this.textHashes[at] = NaN;
    const isNamed = isNamedBy(record.type);
    for (const [index, reference] of record.references.entries()) {
      if (typeof reference.id === "number") this.reference(reference.id);
      else {
        this.otherReferences.set(this.referenceCount, reference.id);
        this.reference(NaN);
      }
      if (reference.kind === "w") this.markWeak(this.referenceCount - 1);
      if (isNamed && index < namedReferencesMax && reference.name !== "") {
        this.nameReference(this.referenceCount - 1, this.names.references.codeOf(reference.name));
      }
    }
    if (record.isRoot) this.rootPositions.push(at);
    if (record.name !== undefined) this.classNames.set(at, record.name);
    if (record.label !== undefined) this.labels.set(at, record.label);
    this.commit(place);
  }

  markWeak(reference: number): void {
    if (this.weak.length < this.references.length) {
      this.weak = grown(this.weak, new Uint8Array(this.references.length));
    }
    this.weak[reference] = 1;
  }

  nameReference(reference: number, code: number): void {
    this.reserveNames();
    this.referenceNames[reference] = code;
  }

  private reserveNames(): void {
    const { length } = this.referenceNames;
    if (length >= this.references.length) return;
    this.referenceNames = grown(
      this.referenceNames,
      new Int32Array(this.references.length).fill(-1, length),
    );
  }

  private namesOfAll(): Int32Array {
    this.reserveNames();
    return this.referenceNames.subarray(0, this.referenceCount);
  }

  /** What was collected; valid until the next record is added. */
  block(): ScanBlock {
    return {
      objectCount: this.objectCount,
      ids: this.ids.subarray(0, this.objectCount),
      otherIds: this.otherIds,
      classIds: this.classIds.subarray(0, this.objectCount),
      sizes: this.sizes.subarray(0, this.objectCount),
      typeCodes: this.typeCodes.subarray(0, this.objectCount),
      siteCodes: this.siteCodes.subarray(0, this.objectCount),
      generations: this.generations.subarray(0, this.objectCount),
      classNameCodes: this.classNameCodes.subarray(0, this.objectCount),
      textHashes: this.textHashes.subarray(0, this.objectCount),
      firstReference: this.firstReference.subarray(0, this.objectCount + 1),
      references: this.references.subarray(0, this.referenceCount),
      otherReferences: this.otherReferences,
      weak: this.weak.length === 0 ? undefined : this.weakOfAll(),
      rootPositions: this.rootPositions,
      names: this.classNames,
      labels: this.labels,
      referenceNames: this.referenceNames.length === 0 ? undefined : this.namesOfAll(),
    };
  }

  private weakOfAll(): Uint8Array {
    if (this.weak.length < this.referenceCount) {
      this.weak = grown(this.weak, new Uint8Array(this.references.length));
    }
    return this.weak.subarray(0, this.referenceCount);
  }

  /** Forgets the block. */
  clear(): void {
    this.objectCount = 0;
    this.weak.fill(0, 0, Math.min(this.referenceCount, this.weak.length));
    this.referenceNames.fill(-1, 0, Math.min(this.referenceCount, this.referenceNames.length));
    this.referenceCount = 0;
    this.firstReference[0] = 0;
    this.otherIds = new Map();
    this.otherReferences = new Map();
    this.rootPositions = [];
    this.classNames = new Map();
    this.labels = new Map();
  }
}

function grown<T extends Float64Array | Uint32Array | Int32Array | Uint16Array | Uint8Array>(
  old: T,
  bigger: T,
): T {
  bigger.set(old);
  return bigger;
}
