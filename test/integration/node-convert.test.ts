import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decompress } from "fzstd";
import { testDatabase, type TestDatabase } from "../support/mongod.js";
import { repositoryPath, run } from "../support/run.js";

describe("a real V8 snapshot, imported as it is and converted", () => {
  let database: TestDatabase;
  let folder: string;
  before(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), "heapdump-test-"));
  });
  after(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });

  it("gives the same documents, but for the root, which lines tell by its name", async () => {
    const raw = join(folder, "app.heapsnapshot");
    const lines = join(folder, "app.ndjson");
    const fixture = repositoryPath("test/golden/v8-snapshot/node-leak.heapsnapshot.zst");
    await writeFile(raw, decompress(readFileSync(fixture)));
    assert.equal((await run("heapdump-dump", ["--convert", raw, "--out", lines])).code, 0);
    for (const [file, name] of [
      [raw, "direct"],
      [lines, "converted"],
    ] as const) {
      const { code, stderr } = await run("heapdump-import", [
        ...[file, "--db", database.name, "-c", name, "--uri", database.uri],
      ]);
      assert.equal(code, 0, stderr);
    }
    const [direct, converted] = await Promise.all(
      ["direct", "converted"].map(async (name) => {
        const found = await database.db
          .collection<Stored>(name)
          .find({ $and: [{ _id: { $ne: 1 } }, { _id: { $ne: "root:(root)" } }] })
          .sort({ _id: 1 })
          .toArray();
        return new Map(found.map((document) => [document._id, comparable(document)]));
      }),
    );
    assert.equal(direct?.size, 51_077);
    assert.equal(converted?.size, direct?.size);
    let cut = 0;
    let located = 0;
    for (const [id, document] of direct ?? []) {
      assert.deepEqual(converted?.get(id), document, `object ${String(id)}`);
      if (document["cut"] === true) cut++;
      if (document["location"] !== undefined) located++;
    }
    assert.ok(cut >= 1 && located > 1000, `${cut} cut, ${located} with a location`);
  });
});

type Stored = { readonly _id: number | string } & Readonly<Record<string, unknown>>;

/** The root is 1 in one and `root:(root)` in the other. */
function comparable(document: Stored): Record<string, unknown> {
  const isRoot = (id: unknown): boolean => id === 1 || id === "root:(root)";
  return Object.fromEntries(
    Object.entries(document)
      .map(([key, value]) => [key, isRoot(value) && key !== "_id" ? "the root" : value] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}
