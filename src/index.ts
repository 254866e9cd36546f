export { HeapdumpError, failures, exitCodes, type FailureCode } from "./errors.js";
export {
  importDump,
  type ImportOptions,
  type ImportSummary,
  type RejectLimit,
} from "./import-dump.js";
export type { DumpEntry, SummaryDocument } from "../schemas/dump-entry.js";
export type { OnProgress, ProgressEvent } from "../schemas/progress.js";
export type { Reject } from "../schemas/reject.js";
