import type { Collection, Db, Document, Filter } from "mongodb";
import type { DumpEntry } from "../../schemas/dump-entry.js";
import type { Column } from "../../schemas/table.js";

/** An object's id, as the driver gives it: a number where it is safe, a bigint beyond, text for roots. */
export type StoredId = number | bigint | string;

/** A stored object; which fields there are depends on the format. */
export type HeapDocument = Document & {
  readonly _id: StoredId;
  readonly type?: string;
  readonly class_name?: string;
  readonly parent?: StoredId;
  readonly dominator?: StoredId;
  readonly depth?: number;
  readonly retained_size?: number;
  readonly retained_count?: number;
  readonly memsize?: number;
};

/** What a query may ask, and whom. */
export type QueryContext = {
  readonly db: Db;
  readonly dump: DumpEntry;
  readonly objects: Collection<HeapDocument>;
  readonly limit: number;
  readonly signal?: AbortSignal | undefined;
};

/** What the user gave. */
export type QueryArguments = {
  /** Of queries on one object. */
  readonly id?: StoredId;
  /** Free words: names of classes. */
  readonly names: readonly string[];
  /** Which objects, for `retainers`. */
  readonly where: Filter<HeapDocument>;
  /** How `where` was said, for titles. */
  readonly whereText: string;
  /** Paths wanted, for `path`. */
  readonly all: number;
};

export type Pipeline = { readonly collection: string; readonly stages: readonly Document[] };

export type Answer = {
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly notes: readonly string[];
};

/** A canned question: data and at most two functions. It does not connect, print, or parse options. */
export type Query = {
  /** Contract, never renamed. */
  readonly name: string;
  /** One line, in the user's words. */
  readonly question: string;
  /** What it takes: an id it needs or can do without, names, or a choice of objects. */
  readonly takes: "nothing" | "id" | "id-or-nothing" | "names" | "objects";
  readonly columns: readonly Column[];
  /** It can be answered of a dump that was imported without analysis. */
  readonly worksUnanalysed?: true;
  /** Whether it reads the whole collection, or may. */
  readonly scans: boolean;
  /** The aggregation. Its documents are the rows, unless there is an `answer`: then it begins to find them. */
  readonly pipeline: (given: QueryArguments, dump: DumpEntry, limit: number) => Pipeline;
  /** What is to be said of the rows that the aggregation gives. */
  readonly notes?: (rows: readonly Document[], dump: DumpEntry) => readonly string[];
  /** Turns what the aggregation gives into rows, and asks more, by ids. */
  readonly answer?: (
    found: Document[],
    given: QueryArguments,
    context: QueryContext,
  ) => Promise<Answer> | Answer;
  /** Another shape for --json, where the question has one of its own. */
  readonly json?: (rows: Answer["rows"]) => unknown;
};

/** Whether the aggregation alone, pasted into mongosh, is not the whole answer. */
export function asksSeveralTimes({ answer }: Query): boolean {
  return answer !== undefined;
}

/** Gives the definition back: it exists so that each is checked where it stands. */
export function defineQuery(query: Query): Query {
  return query;
}

/** Retained weight first by bytes; the gem's dumps have bytes for few objects, there the count decides. */
export function byRetained(dump: DumpEntry): Document {
  return dump.format === "heap-dump-gem"
    ? { retained_count: -1, retained_size: -1, _id: 1 }
    : { retained_size: -1, retained_count: -1, _id: 1 };
}
