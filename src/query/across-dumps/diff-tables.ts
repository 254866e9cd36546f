import type { Alarm, Growth, Trend } from "../../../schemas/diff-document.js";
import { summaryGroups } from "../../../schemas/heap-graph.js";
import type { Column, Table } from "../../../schemas/table.js";
import type { LeakTest, TwoDumps } from "./across-dumps.js";
import { idText } from "../object-labels.js";
import type { ObjectGroup } from "./object-groups.js";

const growthColumns: readonly Column[] = [
  { key: "name", title: "name", unit: "text" },
  { key: "change", title: "change", unit: "text" },
  { key: "count_before", title: "before", unit: "count" },
  { key: "count_after", title: "after", unit: "count" },
  { key: "count", title: "objects", unit: "count" },
  { key: "percent", title: "objects %", unit: "percent" },
  { key: "bytes", title: "bytes", unit: "bytes" },
  { key: "bytes_percent", title: "bytes %", unit: "percent" },
  { key: "retained_bytes", title: "retained", unit: "bytes" },
  { key: "retained_bytes_percent", title: "retained %", unit: "percent" },
];

const groupColumns: readonly Column[] = [
  { key: "className", title: "class", unit: "text" },
  { key: "site", title: "made at", unit: "text" },
  { key: "count", title: "objects", unit: "count" },
  { key: "bytes", title: "bytes", unit: "bytes" },
];

/** What changed, a table for each of type, class, site and generation. */
export function growthTables(growth: readonly Growth[], limit: number): Table[] {
  return summaryGroups.flatMap((by) => {
    const changes = growth.filter((change) => change.by === by);
    if (changes.length === 0) return [];
    const gained = changes.filter((change) => !isLoss(change));
    const lost = changes.filter(isLoss).reverse();
    const shown = [...gained.slice(0, limit), ...lost.slice(0, Math.max(0, limit - gained.length))];
    const left = changes.length - shown.length;
    return [
      {
        title: `Growth by ${by}`,
        columns: growthColumns,
        rows: shown,
        notes: left > 0 ? [`${left} more changed; --limit shows more.`] : [],
      },
    ];
  });
}

function isLoss({ change }: Growth): boolean {
  return change === "shrank" || change === "vanished";
}

/** Two dumps compared: summaries first, then object by object. */
export function twoDumpsTables(diff: TwoDumps, limit: number): Table[] {
  const tables = growthTables(diff.growth, limit);
  if (tables.length === 0) {
    tables.push({ title: "Growth", columns: growthColumns, rows: [], notes: ["nothing changed"] });
  }
  const { objects } = diff;
  if (objects === undefined) return tables;
  return [
    ...tables,
    groupTable("New objects", objects.appeared, limit, [
      `${objects.survived} objects are in both dumps.`,
      ...objects.notes,
    ]),
    groupTable("Objects that went", objects.vanished, limit, []),
  ];
}

function groupTable(
  title: string,
  groups: readonly ObjectGroup[],
  limit: number,
  notes: readonly string[],
): Table {
  const left = groups.length - limit;
  const first =
    groups.length === 0 ? ["none"] : left > 0 ? [`${left} more groups; --limit shows more.`] : [];
  return {
    title,
    columns: groupColumns,
    rows: groups.slice(0, limit),
    notes: [...first, ...notes],
  };
}

/** The leak test: what survived, then for each group what holds it. */
export function leakTables(test: LeakTest): Table[] {
  const [, second, third] = test.dumps.map(({ _id }) => _id);
  const notes = [...test.notes];
  if (test.groupsLeftOut > 0)
    notes.unshift(`${test.groupsLeftOut} more groups; --limit shows more.`);
  return [
    groupTable(`New in ${second}, still there in ${third}`, test.groups, test.groups.length, notes),
    ...test.groups.flatMap((group): Table[] => {
      return [
        {
          title: `What holds ${group.className}${group.site === "" ? "" : ` from ${group.site}`}`,
          columns: [
            { key: "count", title: "objects", unit: "count" },
            { key: "retained_bytes", title: "retained", unit: "bytes" },
            { key: "retained_count", title: "retained objects", unit: "count" },
            { key: "path", title: "held by", unit: "text" },
            { key: "dominator", title: "closest common dominator", unit: "text" },
            { key: "sample_id", title: "for example", unit: "id" },
          ],
          rows: group.holders.slice(0, holdersShown),
          notes: [
            ...(group.lookedUp < group.count
              ? [`${group.lookedUp} of ${group.count} objects were looked up.`]
              : []),
            ...group.holderNotes,
            ...group.holders
              .slice(0, holdersShown)
              .map(({ sample_id, sample }) => `${idText(sample_id)}: ${sample}`),
          ],
        },
      ];
    }),
  ];
}

/** Ways of being held that a person reads of one group. */
const holdersShown = 5;

export function alarmTable(alarms: readonly Alarm[], limit: number): Table {
  return {
    title: "Above the threshold",
    columns: [
      { key: "by", title: "by", unit: "text" },
      ...growthColumns,
      { key: "reasons", title: "above", unit: "text" },
    ],
    rows: alarms.slice(0, limit).map((alarm) => ({ ...alarm, reasons: alarm.above.join(", ") })),
    notes: alarms.length > limit ? [`${alarms.length - limit} more.`] : [],
  };
}

export function trendTable(trends: readonly Trend[], limit: number): Table {
  return {
    title: "Trend by class",
    columns: [
      { key: "name", title: "class", unit: "text" },
      { key: "dumps", title: "dumps", unit: "count" },
      { key: "first", title: "first", unit: "count" },
      { key: "last", title: "last", unit: "count" },
      { key: "perDay", title: "objects a day", unit: "text" },
      { key: "sure", title: "grows", unit: "text" },
    ],
    rows: trends.slice(0, limit).map((trend) => ({
      ...trend,
      perDay:
        trend.per_day_low === null || trend.per_day_high === null
          ? trend.per_day.toFixed(1)
          : `${trend.per_day.toFixed(1)} (${trend.per_day_low.toFixed(1)} to ${trend.per_day_high.toFixed(1)})`,
      sure: trend.certain ? "surely" : "not sure",
    })),
    notes: [
      "Slope by least squares with its 95 % confidence interval; sure: the interval lies above zero.",
      ...(trends.some(({ dumps }) => dumps < 3)
        ? ["Fewer than three dumps say nothing sure."]
        : []),
    ],
  };
}
