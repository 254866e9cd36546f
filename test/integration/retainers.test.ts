import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Document } from "mongodb";
import { importDump } from "../../src/index.js";
import { ask, queryNamed } from "../../src/query/query.js";
import { testDatabase, type TestDatabase } from "../support/mongod.js";

const classes = ["Order", "Line", "Cart"] as const;
const types = ["OBJECT", "STRUCT"] as const;

type Drawn = { readonly className: string; readonly type: string; readonly to: readonly number[] };

describe("what retainers says is retained", () => {
  let test: TestDatabase;
  let folder: string;
  before(async () => {
    test = await testDatabase();
    folder = mkdtempSync(join(tmpdir(), "heapdump-retainers-"));
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await test.drop();
  });
  const stored = async (name: string, heap: readonly Drawn[], roots: number): Promise<void> => {
    const file = join(folder, `${name}.ndjson`);
    writeFileSync(file, dumpText(heap, roots));
    await importDump({ file, db: test.db, name });
  };
  /** Sums over the groups, as shapes or climbing tell them. */
  const toldOf = async (dump: string, where: Document): Promise<[number, number]> => {
    const table = await ask(test.db, queryNamed("retainers"), { where }, { dump, limit: 10_000 });
    const sum = (key: string): number => table.rows.reduce((all, row) => all + Number(row[key]), 0);
    return [sum("retained_count"), sum("retained_bytes")];
  };

  it("is what a naive computation says of the chosen set, on random heaps", async () => {
    const random = randomOf(20261123);
    for (let round = 0; round < 6; round++) {
      const heap = drawn(random, 120);
      const name = `random${round}`;
      await stored(name, heap, 3);
      const keepers = keepersOf(heap, 3);
      const check = async (where: Document, isMember: (one: Drawn, id: number) => boolean) => {
        const kept = keepers.filter((them) =>
          them.some((id) => isMember(heap[id] as Drawn, id)),
        ).length;
        assert.deepEqual(await toldOf(name, where), [kept, kept * 40], JSON.stringify(where));
      };
      for (const className of classes) {
        const isMember = (one: Drawn): boolean => one.className === className;
        await check({ class_name: className }, isMember);
        await check({ class_name: className, memsize: { $gt: 0 } }, isMember);
        await check(
          { class_name: className, type: "STRUCT" },
          (one) => isMember(one) && one.type === "STRUCT",
        );
      }
      for (const type of types) {
        const isMember = (one: Drawn): boolean => one.type === type;
        await check({ type }, isMember);
        await check({ type, memsize: { $gt: 0 } }, isMember);
      }
      const some = Array.from({ length: 20 }, () => Math.floor(random() * heap.length));
      await check({ _id: { $in: some.map(idOf) } }, (_, id) => some.includes(id));
    }
  });

  it("is counted once in a list whose elements are the instances", async () => {
    const list = Array.from({ length: 1000 }, (_, at) => ({
      ...{ className: "Line", type: "OBJECT", to: at < 999 ? [at + 1] : [] },
    }));
    await stored("list", list, 1);
    for (const more of [{}, { memsize: 40 }]) {
      assert.deepEqual(await toldOf("list", { class_name: "Line", ...more }), [1000, 40_000]);
    }
    // The first one and some far below it: many levels are climbed.
    for (const some of [
      [0, 150, 170],
      [0, 600, 900],
      Array.from({ length: 10 }, (_, at) => at * 97),
    ]) {
      const ids = some.map(idOf);
      assert.deepEqual(await toldOf("list", { _id: { $in: ids } }), [1000, 40_000]);
    }
  });

  it("names the closest common dominator, however far down a list it is", async () => {
    const length = 1000;
    const list = Array.from({ length }, (_, at) => ({
      ...{ className: "Line", type: "OBJECT" },
      to: at < length - 1 ? [at + 1, length + at] : [length + at],
    }));
    const held = list.map(() => ({ className: "Order", type: "STRUCT", to: [] }));
    await stored("held", [...list, ...held], 1);
    for (const places of [
      [300, 900],
      [900, 300],
      [20, 290, 700],
      [999, 998],
      [0, 999],
      Array.from({ length: 10 }, (_, at) => (at + 1) * 97),
      Array.from({ length: 10 }, (_, at) => 990 - at * 97),
    ]) {
      const where = { _id: { $in: places.map((at) => idOf(length + at)) } };
      const table = await ask(
        test.db,
        queryNamed("retainers"),
        { where },
        { dump: "held", limit: 20 },
      );
      const [row, ...others] = table.rows;
      assert.equal(others.length, 0);
      assert.equal(row?.["count"], places.length);
      assert.equal(Number(row["dominator_id"]), idOf(Math.min(...places)));
    }
  });
});

const idOf = (index: number): number => 0x7f00_0000_0000 + (index + 100) * 40;
const hex = (id: number): string => `0x${id.toString(16)}`;

/** Plain dump_all's lines: the root holds the first objects. */
function dumpText(heap: readonly Drawn[], roots: number): string {
  const classIds = new Map(
    classes.map((name, at) => [name as string, hex(0x7e00_0000_0000 + at * 40)]),
  );
  const records = [
    {
      ...{ type: "ROOT", root: "vm" },
      references: [...classIds.values(), ...heap.slice(0, roots).map((_, at) => hex(idOf(at)))],
    },
    ...[...classIds].map(([name, address]) => ({ address, type: "CLASS", name, memsize: 600 })),
    ...heap.map(({ className, type, to }, at) => ({
      ...{ address: hex(idOf(at)), type, class: classIds.get(className), memsize: 40 },
      references: to.map((one) => hex(idOf(one))),
    })),
  ];
  return records.map((it) => `${JSON.stringify(it)}\n`).join("");
}

function drawn(random: () => number, count: number): Drawn[] {
  const one = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
  return Array.from({ length: count }, (_, at) => ({
    ...{ className: one(classes), type: one(types) },
    // Mostly downwards and few, so that there is something to dominate.
    to: Array.from({ length: Math.floor(random() * 3) }, () =>
      random() < 0.85
        ? Math.min(count - 1, at + 1 + Math.floor(random() * 8))
        : Math.floor(random() * count),
    ),
  }));
}

/** By object that the root reaches: all objects without which it would not be reached, itself among them. */
function keepersOf(heap: readonly Drawn[], roots: number): number[][] {
  const reachedWithout = (removed: number): Set<number> => {
    const reached = new Set<number>();
    const open = Array.from({ length: roots }, (_, at) => at);
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (at === removed || reached.has(at)) continue;
      reached.add(at);
      open.push(...(heap[at] as Drawn).to);
    }
    return reached;
  };
  const keepers = new Map([...reachedWithout(-1)].map((at) => [at, [] as number[]]));
  for (const removed of keepers.keys()) {
    const left = reachedWithout(removed);
    for (const [at, its] of keepers) if (!left.has(at)) its.push(removed);
  }
  return [...keepers.values()];
}

function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
