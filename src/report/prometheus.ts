import type { DiffDocument } from "../../schemas/diff-document.js";

/** Series of one metric that a textfile holds at most for each dump series: Prometheus keeps every name for ever. */
const classesMax = 100;

/**
 * Diffs as a Prometheus textfile: counts and growth by class, alarms, and when the newest dump was taken.
 *
 * Classes that grew most come first; how many were left out is a metric too.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */
export function prometheusText(diffs: readonly DiffDocument[]): string {
  const lines: string[] = [];
  for (const metric of metrics) {
    lines.push(`# HELP ${metric.name} ${metric.help}`, `# TYPE ${metric.name} gauge`);
    for (const diff of diffs) {
      for (const { labels, value } of metric.samples(diff)) {
        lines.push(`${metric.name}{${labelsText({ series: diff.series, ...labels })}} ${value}`);
      }
    }
  }
  return `${lines.join("\n")}\n`;
}

type Sample = { readonly labels: Readonly<Record<string, string>>; readonly value: number };
type Metric = {
  readonly name: string;
  readonly help: string;
  readonly samples: (diff: DiffDocument) => readonly Sample[];
};

const metrics: readonly Metric[] = [
  byClass("heapdump_class_objects", "Objects of a class in the newest dump.", "count_after"),
  byClass("heapdump_class_bytes", "Shallow bytes of a class in the newest dump.", "bytes_after"),
  byClass("heapdump_class_growth_objects", "Objects gained since the dump before.", "count"),
  byClass("heapdump_class_growth_bytes", "Shallow bytes gained since the dump before.", "bytes"),
  byClass(
    "heapdump_class_growth_retained_bytes",
    "Retained bytes gained since the dump before.",
    "retained_bytes",
  ),
  {
    name: "heapdump_classes_left_out",
    help: "Changed classes that are not in this file.",
    samples: (diff) => [{ labels: {}, value: Math.max(0, classesOf(diff).length - classesMax) }],
  },
  {
    name: "heapdump_trend_objects_per_day",
    help: "Slope of a class's count, by least squares, where it is surely above zero.",
    samples: ({ trend }) =>
      trend
        .filter(({ certain }) => certain)
        .slice(0, classesMax)
        .map(({ name, per_day }) => ({ labels: { class: name }, value: per_day })),
  },
  {
    name: "heapdump_alarms",
    help: "Types, classes and sites that grew above --fail-on.",
    samples: ({ alarms }) => [{ labels: {}, value: alarms.length }],
  },
  {
    name: "heapdump_dump_taken_timestamp_seconds",
    help: "When the newest dump was taken.",
    samples: ({ taken_at }) => [{ labels: {}, value: taken_at.getTime() / 1000 }],
  },
  {
    name: "heapdump_diff_created_timestamp_seconds",
    help: "When the comparison was made.",
    samples: ({ created_at }) => [{ labels: {}, value: created_at.getTime() / 1000 }],
  },
];

function byClass(
  name: string,
  help: string,
  field: "count_after" | "bytes_after" | "count" | "bytes" | "retained_bytes",
): Metric {
  return {
    name,
    help,
    samples: (diff) =>
      classesOf(diff)
        .slice(0, classesMax)
        .map((growth) => ({ labels: { class: growth.name }, value: growth[field] })),
  };
}

function classesOf({ growth }: DiffDocument): DiffDocument["growth"] {
  return growth.filter(({ by }) => by === "class");
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",");
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
