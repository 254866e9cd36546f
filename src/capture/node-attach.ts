import { HeapdumpError } from "../errors.js";
import type { Captured, CaptureOptions, ObjectCounts } from "./capture.js";
import type { ProcessInfo } from "./process-info.js";

/** Dumps a running Node through its inspector. */
export async function captureNode(info: ProcessInfo, _options: CaptureOptions): Promise<Captured> {
  throw new HeapdumpError("capture/not-supported", `process ${info.pid} is Node: not yet`);
}

/** Counts the objects of a running Node through its inspector. */
export async function countNode(
  info: ProcessInfo,
  _names: readonly string[],
  _options: Omit<CaptureOptions, "file">,
): Promise<ObjectCounts> {
  throw new HeapdumpError("capture/not-supported", `process ${info.pid} is Node: not yet`);
}
