import assert from "node:assert/strict";
import { fuzz, fuzzCorpora } from "./fuzz.js";

describe("fuzz", () => {
  it("finds no dump of 6,000 mutated records of which the fast path makes something else than the plain one", async () => {
    const { figures, divergence } = await fuzz(fuzzCorpora(), { records: 6_000, seed: 1 });
    assert.equal(divergence, undefined, divergence?.what);
    // The mutations must leave some of both, or the comparison says nothing.
    assert.ok(figures.accepted > 1_000 && figures.refused > 1_000, JSON.stringify(figures));
  });
});
