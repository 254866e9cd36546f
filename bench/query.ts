/**
 * How long does each canned question take on a dump of 2.2 million objects, and how much of that is the server's?
 *
 * The bars: a question on one object 50 ms of server time, `retainers` of a class of 100,000 objects 2 s, a question on
 * the whole heap 3 s. The time until the answer bounds the server's. node dist/bench/query.js [objects] [runs] [query…]
 */
import { strict as assert } from "node:assert";
import type { Db, Document } from "mongodb";
import { importDump } from "../src/index.js";
import type { QueryArguments, StoredId } from "../src/query/define-query.js";
import { ask, queryNamed } from "../src/query/query.js";
import type { Table } from "../schemas/table.js";
import { benchDump, type BenchDump } from "./shared/bench-dump.js";
import { benchServer } from "./shared/bench-mongod.js";
import { median, recordResult } from "./shared/record-result.js";

const objectCount = Number(process.argv[2] ?? 2_200_000);
const runs = Number(process.argv[3] ?? 5);
const only = process.argv.slice(4);

/** Unit: seconds. */
const bars = { object: 0.05, class: 2, heap: 3 } as const;

type Case = {
  readonly query: string;
  readonly of: string;
  readonly bar: keyof typeof bars;
  readonly given: Partial<QueryArguments>;
  /** Fails where the answer is not what the dumped process says of itself. */
  readonly check?: (table: Table) => void;
};

const dump = benchDump(objectCount);
const server = await benchServer();
try {
  const db = server.client.db("query");
  await importDump({ file: dump.path, db, name: "rails" });
  const cases = [...(await objectCases(db)), ...classCases(dump), ...heapCases(dump)];
  for (const one of cases) {
    if (only.length > 0 && !only.includes(one.query)) continue;
    const query = queryNamed(one.query);
    const given = { names: [], where: {}, whereText: one.of, all: 1, ...one.given };
    const seconds: number[] = [];
    // Before the first one is measured, an answer is checked.
    const table = await ask(db, query, given, { dump: "rails", limit: 20 });
    one.check?.(table);
    const cpuBefore = server.cpuSeconds();
    for (let run = 0; run < runs; run++) {
      const started = performance.now();
      await ask(db, query, given, { dump: "rails", limit: 20 });
      seconds.push((performance.now() - started) / 1000);
    }
    recordResult({
      ...{ question: "query", query: one.query, of: one.of, objects: objectCount, runs },
      seconds: median(seconds),
      slowest: Math.max(...seconds),
      serverCpuSeconds: (server.cpuSeconds() - cpuBefore) / runs,
      bar: bars[one.bar],
      isBelow: median(seconds) < bars[one.bar],
      rows: table.rows.length,
      mongod: server.version,
    });
  }
} finally {
  await server.stop();
}

/** Each question on one object, of objects that are each hard in another way. */
async function objectCases(db: Db): Promise<Case[]> {
  const objects = db.collection<Document & { _id: StoredId }>("rails");
  const idOf = async (where: Document, sort: Document = {}): Promise<StoredId> => {
    const found = await objects.findOne(where, { sort, projection: { _id: 1 } });
    assert.ok(found !== null, JSON.stringify(where));
    return found._id;
  };
  const ids: [string, StoredId][] = [
    ["the leaking array", Number(dump.facts.subscribers.address)],
    ["a leaked object", await idOf({ class_name: "Shop::RequestState" })],
    ["the end of the list", await idOf({ class_name: "ListNode" }, { depth: -1 })],
    ["the class String", await idOf({ type: "CLASS", name: "String" })],
  ];
  const asked = ["object", "referrers", "references", "path", "dominators", "closures"];
  return [
    ...asked.flatMap((query) =>
      ids.map(([of, id]): Case => ({ query, of, bar: "object", given: { id } })),
    ),
    ...ids.map(([of, id]): Case => ({
      ...{ query: "path", of: `${of}, --all 5`, bar: "object" },
      given: { id, all: 5 },
    })),
  ];
}

function classCases({ facts }: BenchDump): Case[] {
  const check = (name: string) => (table: Table) => {
    const total = table.rows.reduce((sum, row) => sum + Number(row["count"]), 0);
    assert.equal(total, facts.counts[name]);
  };
  const names = Object.keys(facts.counts).filter((name) => (facts.counts[name] ?? 0) >= 20_000);
  const where = (name: string): Document => ({ class_name: name, memsize: { $gt: 0 } });
  return [
    ...names.map((name): Case => ({
      ...{ query: "retainers", of: `${facts.counts[name]} × ${name}`, bar: "class" },
      ...{ given: { where: { class_name: name } }, check: check(name) },
    })),
    ...["Shop::RequestState", "Shop::Line"].map((name): Case => ({
      ...{ query: "retainers", of: `${facts.counts[name]} × ${name} by --where`, bar: "class" },
      ...{ given: { where: where(name) }, check: check(name) },
    })),
  ];
}

function heapCases({ facts }: BenchDump): Case[] {
  const leak = Number(facts.subscribers.address);
  const checks: Record<string, (table: Table) => void> = {
    suspects: ({ rows }) => assert.ok(rows.some((row) => row["id"] === leak)),
    closures: ({ rows }) => assert.equal(rows[0]?.["count"], facts.subscribers.size),
  };
  return [
    ...["summary", "suspects", "dominators", "closures", "types", "classes", "sites"],
    ...["generations", "count-objects", "strings", "collections", "garbage"],
  ].map((query): Case => {
    const check = checks[query];
    return {
      ...{ query, of: "the heap", bar: "heap", given: {} },
      ...(check === undefined ? {} : { check }),
    };
  });
}
