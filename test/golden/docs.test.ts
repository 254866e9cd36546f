import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { errorsText, queriesText, storedExamples } from "../../scripts/print-docs.js";
import { queries } from "../../src/query/queries.js";
import { repositoryPath } from "../support/run.js";

describe("the printed documents", () => {
  for (const [file, text] of [
    ["docs/errors.md", errorsText],
    ["docs/queries.md", () => queriesText(storedExamples())],
  ] as const) {
    it(`${file} is what the code says; otherwise: npm run docs`, () =>
      assert.equal(readFileSync(repositoryPath(file), "utf8"), text()));
  }

  it("shows an answer of every query", () =>
    assert.deepEqual(
      Object.keys(storedExamples()),
      queries.map(({ name }) => name),
    ));
});
