import assert from "node:assert/strict";
import { runTrials } from "./trials.js";

describe("killed importers and servers", () => {
  it("lose nothing and double nothing: the same command finishes the import", async () => {
    const figures = await runTrials({ trials: 3, seed: 7, objects: 40_000 });
    assert.equal(figures.trials, 3);
  });
});
