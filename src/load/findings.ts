import { Long } from "mongodb";
import type { HeapIds } from "../../schemas/document-block.js";
import type { DumpFindings } from "../../schemas/dump-entry.js";
import type { RepeatedText, ShapeRow } from "../../schemas/heap-graph.js";

/** The documents of `<dump>.shapes` and `<dump>.strings`. */
export function findingsOf(
  shapes: readonly ShapeRow[],
  texts: readonly RepeatedText[],
  { integerOf, other }: HeapIds,
): DumpFindings {
  const storedId = (node: number): unknown => {
    const id = integerOf[node] as number;
    return Number.isNaN(id) ? other.get(node) : Long.fromNumber(id);
  };
  return {
    shapes: shapes.map((row, _id) => ({
      _id,
      type: row.typeName,
      ...(row.className === undefined ? {} : { class_name: row.className }),
      ...(row.path === undefined ? {} : { path: row.path }),
      count: row.count,
      bytes: row.bytes,
      retained_bytes: row.retainedBytes,
      retained_count: row.retainedCount,
      type_retained_bytes: row.typeRetainedBytes,
      type_retained_count: row.typeRetainedCount,
      inside_class: row.insideClass,
      inside_type: row.insideType,
      depth_min: row.depthMin,
      depth_max: row.depthMax,
      sample: storedId(row.sample),
      ...(row.dominator < 0 ? {} : { dominator: storedId(row.dominator) }),
    })),
    strings: texts.map(({ count, bytes, wasted, sample }, _id) => ({
      ...{ _id, count, bytes, wasted },
      sample: storedId(sample),
    })),
  };
}
