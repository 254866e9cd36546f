import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { jsonSchemas } from "../../schemas/print-json-schemas.js";
import { repositoryPath } from "../support/run.js";

describe("the JSON Schemas", () => {
  for (const [name, text] of Object.entries(jsonSchemas)) {
    it(`schemas/${name}.json is what zod says (npm run schemas writes it)`, () => {
      assert.equal(readFileSync(repositoryPath(`schemas/${name}.json`), "utf8"), text);
    });
  }
});
