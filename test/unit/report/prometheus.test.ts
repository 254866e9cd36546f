import assert from "node:assert/strict";
import type { DiffDocument } from "../../../schemas/diff-document.js";
import { prometheusText } from "../../../src/report/prometheus.js";
import { growthBetween } from "../../../src/query/across-dumps/growth.js";

describe("prometheusText", () => {
  it("writes every metric in the text format", () => {
    const text = prometheusText([diffOf('Evil"\\\nClass')]);
    for (const line of text.trimEnd().split("\n")) {
      assert.match(
        line,
        /^# (HELP|TYPE) \w+ .+$|^\w+\{(\w+="([^"\\\n]|\\["\\n])*",?)+\} -?[\d.e+]+$/,
      );
    }
    assert.ok(
      text.includes(
        'heapdump_class_growth_objects{series="shop@one",class="Evil\\"\\\\\\nClass"} 200\n',
      ),
    );
    assert.ok(
      text.includes('heapdump_dump_taken_timestamp_seconds{series="shop@one"} 1767582000\n'),
    );
    assert.ok(text.endsWith("\n"));
  });

  it("announces each metric once, whatever the number of series", () => {
    const text = prometheusText([diffOf("A"), { ...diffOf("B"), series: "web@two" }]);
    const announced = text.match(/^# TYPE \w+/gm) ?? [];
    assert.equal(new Set(announced).size, announced.length);
  });
});

function diffOf(name: string): DiffDocument {
  const zero = { by: "class" as const, name, bytes: 0, retained_bytes: 0 };
  return {
    _id: "a..b",
    series: "shop@one",
    before: "a",
    after: "b",
    taken_at_before: new Date("2026-01-04T03:00:00Z"),
    taken_at: new Date("2026-01-05T03:00:00Z"),
    created_at: new Date("2026-01-05T03:01:00Z"),
    compared_by: "id",
    evidence: "",
    fail_on: "",
    growth: growthBetween([{ ...zero, count: 100 }], [{ ...zero, count: 300 }]),
    alarms: [],
    trend: [],
  };
}
