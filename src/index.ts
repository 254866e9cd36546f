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
export { queries } from "./query/queries.js";
export {
  ask,
  completeDumps,
  parseId,
  pipelineOf,
  queryNamed,
  type AskOptions,
} from "./query/query.js";
export { choiceOf } from "./query/one-dump/retainers.js";
export type { Pipeline, Query, QueryArguments, StoredId } from "./query/define-query.js";
export type { Column, ColumnUnit, Table } from "../schemas/table.js";
