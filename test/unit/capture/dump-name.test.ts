import assert from "node:assert/strict";
import { dumpName } from "../../../src/capture/dump-name.js";

const at = new Date("2026-11-23T09:08:07.650Z");

describe("dumpName", () => {
  it("carries pid and time", () =>
    names(undefined, "/dumps/dump_42_20261123T090807.ndjson", { threadId: 0 }));
  it("carries the thread in a worker thread", () =>
    names(undefined, "/dumps/dump_42_w3_20261123T090807.ndjson", { threadId: 3 }));
  it("fills in a template of the caller's", () =>
    names("app-%p-%t.json", "/dumps/app-42-20261123T090807.json"));
  it("keeps the gem's name", () => names("dump.json", "/dumps/dump.json"));
  it("keeps an absolute name", () => names("/elsewhere/%p", "/elsewhere/42"));
});

function names(
  template: string | undefined,
  expected: string,
  more: { threadId: number } = { threadId: 0 },
): void {
  assert.equal(dumpName("/dumps", template, "ndjson", { pid: 42, at, ...more }), expected);
}
