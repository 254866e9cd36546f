import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { ensureSpace } from "../../../src/capture/disk-space.js";
import { HeapdumpError } from "../../../src/errors.js";

describe("ensureSpace", () => {
  it("lets a byte pass", () => ensureSpace(tmpdir(), 1));
  it("refuses more than any disk has, and says both numbers", () =>
    assert.rejects(
      ensureSpace(tmpdir(), 2 ** 60),
      (error) =>
        error instanceof HeapdumpError &&
        error.code === "capture/no-space" &&
        /has \d+ MiB free, the dump may need 1099511627776 MiB$/.test(error.message),
    ));
});
