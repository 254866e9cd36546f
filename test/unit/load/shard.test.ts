import assert from "node:assert/strict";
import fc from "fast-check";
import { shardCommands, splitPointsOf } from "../../../src/load/shard.js";

const idsOf = (ids: readonly number[]) => ({
  integerOf: Float64Array.from(ids),
  other: new Map<number, string>(),
});

describe("cutting a dump into ranges of ids", () => {
  it("gives parts of one size, whatever the order of the ids and those that are texts", () => {
    const ids = [50, NaN, 10, 80, 20, 70, 30, NaN, 60, 40];
    assert.deepEqual(splitPointsOf(idsOf(ids), 4), [30, 50, 70]);
  });

  it("leaves no part of distinct ids much larger than another, and none empty", () =>
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(2 ** 40), { minLength: 1, maxLength: 300 }),
        fc.integer({ min: 1, max: 20 }),
        (ids, parts) => {
          const points = splitPointsOf(idsOf(ids), parts);
          assert.deepEqual(
            points,
            [...points].sort((one, two) => one - two),
          );
          assert.ok(points.length < parts);
          const sizes = [...points, Infinity].map((end, index) => {
            const begin = points[index - 1] ?? -1;
            return ids.filter((id) => id >= begin && id < end).length;
          });
          assert.ok(sizes.every((size) => size > 0));
          if (ids.length >= parts) {
            assert.equal(points.length, parts - 1);
            assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1);
          }
        },
      ),
    ));

  it("is told to the cluster as splits of the empty collection, its parts dealt out evenly", () => {
    const commands = shardCommands("leaks.app.loading", "ranged", ["a", "b"], [10, 20, 30]);
    const seen = commands.map((command) =>
      JSON.stringify(command, (_key, value: unknown) =>
        typeof value === "object" && value !== null && "toBigInt" in value ? String(value) : value,
      ),
    );
    assert.deepEqual(seen, [
      '{"enableSharding":"leaks"}',
      '{"shardCollection":"leaks.app.loading","key":{"_id":1}}',
      '{"split":"leaks.app.loading","middle":{"_id":"10"}}',
      '{"split":"leaks.app.loading","middle":{"_id":"20"}}',
      '{"split":"leaks.app.loading","middle":{"_id":"30"}}',
      '{"moveChunk":"leaks.app.loading","find":{"_id":"10"},"to":"a"}',
      '{"moveChunk":"leaks.app.loading","find":{"_id":"20"},"to":"b"}',
      '{"moveChunk":"leaks.app.loading","find":{"_id":"30"},"to":"b"}',
    ]);
  });

  it("leaves the cutting of hashed ids to the server", () => {
    assert.deepEqual(shardCommands("leaks.app.loading", "hashed", ["a", "b"], []), [
      { enableSharding: "leaks" },
      { shardCollection: "leaks.app.loading", key: { _id: "hashed" } },
    ]);
  });
});
