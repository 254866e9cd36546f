import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { isHolderDead, lockHolder, type LockHolder } from "../../../src/load/lock-holder.js";

describe("the holder of a lock", () => {
  const ended = spawnSync(process.execPath, ["--version"]).pid;
  const check = (difference: Partial<LockHolder>, isDead: boolean): void =>
    assert.equal(isHolderDead({ ...lockHolder(), ...difference }), isDead);

  it("is told dead by its pid where that means something", () => {
    check({}, false);
    check({ pid: process.ppid }, false);
    check({ pid: ended }, true);
  });

  it("is not told dead from another host, pid namespace or boot, nor when it did not say", () => {
    check({ pid: ended, host: "elsewhere" }, false);
    check({ pid: ended, pid_namespace: `${lockHolder().pid_namespace} of another` }, false);
    check({ pid: ended, pid_namespace: "pid:[4026531836]" }, false);
    check({ pid: ended, pid_namespace: "" }, false);
    check({ pid: ended, pid_namespace: undefined }, false);
  });
});
