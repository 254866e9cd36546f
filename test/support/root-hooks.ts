import { stopTestServer } from "./mongod.js";

/** Mocha runs these once a test run. */
export const mochaHooks = {
  afterAll: async function (this: Mocha.Context): Promise<void> {
    this.timeout(60_000);
    await stopTestServer();
  },
};
