/** `node --require heapdump-mongo/on-signal app.js`: dumps upon HEAPDUMP_SIGNAL (SIGUSR2) to HEAPDUMP_DIR. */
import { constants } from "node:os";
import { HeapdumpError } from "../errors.js";
import { redactionModeOf, type RedactionMode } from "../redaction.js";
import { dumpOnSignal } from "./producer.js";

const environment = process.env;
const name = (environment["HEAPDUMP_SIGNAL"] || "SIGUSR2").replace(/^(SIG)?/, "SIG");
if (!Object.hasOwn(constants.signals, name)) {
  throw new HeapdumpError(
    "usage/bad-option",
    `HEAPDUMP_SIGNAL: expected a signal like SIGUSR2, found "${name.slice(0, 60)}"`,
  );
}
const format = environment["HEAPDUMP_FORMAT"] || "ndjson";
if (format !== "ndjson" && format !== "heapsnapshot") {
  throw new HeapdumpError(
    "usage/bad-option",
    `HEAPDUMP_FORMAT: expected ndjson or heapsnapshot, found "${format.slice(0, 60)}"`,
  );
}
const isSet = (variable: string): boolean => /^(1|true|yes)$/i.test(environment[variable] ?? "");
/** all, values or a pattern: a wrong one is told when the process starts, not when the dump is wanted. */
function askedRedaction(text: string | undefined): RedactionMode | false {
  return text === undefined || /^(|0|false|no)$/i.test(text) ? false : redactionModeOf(text);
}
dumpOnSignal(name as NodeJS.Signals, {
  dir: environment["HEAPDUMP_DIR"] || ".",
  ...(environment["HEAPDUMP_FILE"] ? { file: environment["HEAPDUMP_FILE"] } : {}),
  format,
  redact: isSet("HEAPDUMP_REDACT") || askedRedaction(environment["HEAPDUMP_REDACT"]),
  trackAllocations: isSet("HEAPDUMP_TRACK_ALLOCATIONS"),
});
