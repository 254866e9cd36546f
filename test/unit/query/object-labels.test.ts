import assert from "node:assert/strict";
import { pathText } from "../../../src/query/object-labels.js";

describe("pathText", () => {
  const step = (text: string): { label: string; edge: string } => {
    const [label = "", edge = ""] = text.split("|");
    return { label, edge };
  };
  const cases: [string[], string][] = [
    [["Shop::Broker|@all", "Array|[37]", "Order"], "Shop::Broker → @all → Array[37] → Order"],
    [["Shop|Broker", "Shop::Broker"], "Shop → Shop::Broker"],
    [["A", "Node", "Node", "Node", "B"], "A → Node → Node → Node → B"],
    [["A", "Node", "Node", "Node", "Node", "B"], "A → Node (×4) → B"],
    [["Node|@next", "Node|@next", "Node|@next", "Node|@next", "B"], "Node → @next (×4) → B"],
    [["Node|@a", "Node|@b", "Node|@a", "Node|@b"], "Node → @a → Node → @b → Node → @a → Node"],
  ];
  for (const [steps, text] of cases) {
    it(`says ${text}`, () => assert.equal(pathText(steps.map(step)), text));
  }
});
