import { createRequire } from "node:module";

/** The version in our package.json. */
export const toolVersion: string = (
  createRequire(import.meta.url)("heapdump-mongo/package.json") as { version: string }
).version;
