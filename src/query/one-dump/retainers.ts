import type { Document } from "mongodb";
import { HeapdumpError } from "../../errors.js";
import { shapesCollectionOf } from "../../../schemas/collection-names.js";
import type { DumpEntry } from "../../../schemas/dump-entry.js";
import { pathTo, shownPath } from "../ancestors.js";
import { defineQuery, type Pipeline, type QueryContext, type StoredId } from "../define-query.js";
import { commonDominator, dominatedBy, learn, type Holder } from "../holders.js";
import { idText, labelFields, labelOf } from "../object-labels.js";
import { shapePathsOf, type Kind, type ShapePath, type ShapePaths } from "../shape-paths.js";

/**
 * Rounds up the paths, one a step: beyond it a group's path begins with "…". A leak is rarely that deep, a list is.
 */
const roundsMax = 60;
/** After so many rounds, so many paths apart are given up. */
const listRounds = 8;
const listBundles = 20_000;
/** Paths sampled with all their edges named, one a group. */
const namedMax = 10;

/** Instances that are held in one way so far: all with the same object above them and the same path below that. */
type Bundle = {
  readonly above: StoredId | undefined;
  /** Steps from the instance upwards, told by class. */
  readonly steps: readonly string[];
  readonly last: StoredId;
  readonly kind: Kind;
  /** Of one of the objects. */
  readonly depth: number;
  /** The shapes that told the rest of the path; undefined: it was climbed to the root. */
  shapes: ReadonlySet<ShapePath> | undefined;
  count: number;
  bytes: number;
  retainedBytes: number;
  retainedCount: number;
  /** The lowest id: the same each time it is asked. */
  sample: StoredId;
  /** Dominators of the instances; null: one has none. */
  readonly dominators: Set<StoredId | null>;
};

/** Only an object that retains others dominates another instance. */
const isHolder: Document = { $gt: ["$retained_count", 1] };
/** A list of a million instances is told in parts: all their ids do not go into one document of 16 MB. */
const partOfIds: Document = {
  $cond: [{ $isNumber: "$_id" }, { $floor: { $divide: ["$_id", 2 ** 20] } }, null],
};

export const retainers = defineQuery({
  name: "retainers",
  question: "What holds the instances of a class, grouped by how they are held?",
  takes: "objects",
  scans: false,
  columns: [
    { key: "count", title: "instances", unit: "count" },
    { key: "bytes", title: "shallow", unit: "bytes" },
    { key: "retained_bytes", title: "retained", unit: "bytes" },
    { key: "retained_count", title: "retained objects", unit: "count" },
    { key: "path", title: "held by", unit: "text" },
    { key: "dominator", title: "closest common dominator", unit: "text" },
    { key: "dominator_retains", title: "it retains objects", unit: "count" },
    { key: "sample_id", title: "for example", unit: "id" },
    { key: "sample", title: "its path", unit: "text" },
  ],
  pipeline: ({ where }, dump) => {
    if (isToldByShapes(where, dump)) return shapesPipeline(where, dump);
    // The first round; the next ones ask for the holders found, level by level, until the roots.
    const stages = [
      { $match: byIndex(where, dump) },
      {
        $group: {
          _id: {
            ...{ parent: "$parent", dominator: "$dominator", reached: { $gte: ["$depth", 0] } },
            ...{ type: "$type", class_name: "$class_name" },
            part: { $cond: [isHolder, partOfIds, null] },
          },
          count: { $sum: 1 },
          bytes: { $sum: "$memsize" },
          retained_bytes: { $sum: "$retained_size" },
          retained_count: { $sum: "$retained_count" },
          sample: { $min: "$_id" },
          depth: { $first: "$depth" },
          largest: { $max: "$retained_count" },
          holders: { $push: { $cond: [isHolder, "$_id", "$$REMOVE"] } },
        },
      },
    ];
    return { collection: dump.collection, stages };
  },
  answer: async (found, given, context) => {
    if (found.length === 0) {
      const notes = [`No object with ${given.whereText} in ${context.dump._id}.`];
      return { rows: [], notes };
    }
    return isToldByShapes(given.where, context.dump)
      ? shapeGroups(found, context)
      : heldGroups(found, context);
  },
});

/** A class is found by the index on type and class: in each of the dump's types. */
function byIndex(where: Document, { types }: DumpEntry): Document {
  if (types === undefined || typeof where["class_name"] !== "string" || "type" in where)
    return where;
  return { type: { $in: types }, ...where };
}

/**
 * Whether the condition is on a class alone, or a type alone: then no object is read, however many there are.
 *
 * What any other choice of shapes retains, shapes do not tell: some of its objects may dominate others.
 */
function isToldByShapes(where: Document, dump: DumpEntry): boolean {
  const [[key, value] = [], ...others] = Object.entries(where);
  return (
    dump.shapes !== undefined &&
    others.length === 0 &&
    (key === "class_name" || key === "type") &&
    typeof value === "string"
  );
}

/** Shapes of several classes or types may have one path: they are one group. What no root reaches has no path. */
function shapesPipeline(where: Document, dump: DumpEntry): Pipeline {
  const within = "type" in where ? "type_" : "";
  return {
    collection: shapesCollectionOf(dump.collection),
    stages: [
      { $match: where }, // Served by the indexes on class_name and type.
      { $sort: { count: -1, _id: 1 } },
      {
        $group: {
          _id: "$path",
          count: { $sum: "$count" },
          bytes: { $sum: "$bytes" },
          retained_bytes: { $sum: `$${within}retained_bytes` },
          retained_count: { $sum: `$${within}retained_count` },
          sample: { $first: "$sample" },
          dominators: { $addToSet: { $ifNull: ["$dominator", null] } },
        },
      },
      { $sort: { count: -1, retained_count: -1, _id: 1 } },
    ],
  };
}

/** Objects that are held in one way: a row of `retainers`, and of the leak test. */
export type HeldGroup = {
  readonly count: number;
  readonly bytes: number;
  readonly retained_bytes: number;
  readonly retained_count: number;
  /** Labels from the root down to the holder. */
  readonly path: string;
  readonly dominator: string;
  readonly dominator_id: StoredId | undefined;
  readonly dominator_retains: number | undefined;
  readonly sample_id: StoredId;
  readonly sample: string;
};

/** Objects that are held in one way, before it is looked up what their ids stand for. */
type Group = Pick<
  HeldGroup,
  "count" | "bytes" | "retained_bytes" | "retained_count" | "path" | "sample_id"
> & {
  /** Dominators of all the objects; null: one has none. */
  readonly dominators: readonly (StoredId | null)[];
  /** Objects all of whose dominators dominate all these objects, or null for none; undefined: not known. */
  readonly bounds?: readonly (StoredId | null)[] | undefined;
};

/**
 * Groups objects by how they are held: the labels on the shortest path from a root, and their closest common dominator.
 *
 * What an object retains that another one dominates is counted once, there: a list of 1,000 would retain 500 times
 * itself.
 *
 * @param found - the first round: objects by parent and dominator, as `$group` of `retainers` gives them
 * @param known - holders that were looked up before, in the same dump; new ones are added
 * @returns most objects first, `context.limit` at most
 */
export async function heldGroups(
  found: readonly Document[],
  context: QueryContext,
  known = new Map<StoredId, Holder>(),
): Promise<{ readonly rows: readonly HeldGroup[]; readonly notes: readonly string[] }> {
  const unreached = found.filter((group) => (group["_id"] as Document)["reached"] !== true);
  const paths = await shapePathsOf(found.map(kindOf), context);
  const counted = paths.areApart ? found : await countedOnce(found, context);
  const bundles = await climb(counted, paths, known, context);
  const groups = mergeByPath(bundles);
  groups.sort(
    (one, two) =>
      two.count - one.count ||
      two.retainedCount - one.retainedCount ||
      (one.sample < two.sample ? -1 : 1),
  );
  return shownGroups(
    groups.map((group) => ({
      count: group.count,
      bytes: group.bytes,
      retained_bytes: group.retainedBytes,
      retained_count: group.retainedCount,
      path: [...group.steps].reverse().join(" → "),
      sample_id: group.sample,
      ...dominatorsOf(group),
    })),
    unreached.reduce((sum, group) => sum + Number(group["count"]), 0),
    context,
    known,
  );
}

function kindOf(group: Document): Kind {
  return group["_id"] as Kind;
}

/** Dominators of a group's objects. Those of whole shapes are known. */
function dominatorsOf({ shapes, count, dominators }: Bundle): Pick<Group, "dominators" | "bounds"> {
  if (shapes === undefined) return { dominators: [...dominators] };
  const bounds = [...new Set([...shapes].map(({ dominator }) => dominator))];
  const isWhole = count === [...shapes].reduce((sum, shape) => sum + shape.count, 0);
  return isWhole ? { dominators: bounds } : { dominators: [...dominators], bounds };
}

/** The first round, where those that another one of the objects dominates retain nothing of their own. */
async function countedOnce(found: readonly Document[], context: QueryContext): Promise<Document[]> {
  const members = new Set(found.flatMap(({ holders }) => holders as StoredId[]));
  const largest = found.reduce((most, group) => Math.max(most, Number(group["largest"] ?? 0)), 0);
  const dominatorOf = (group: Document): StoredId | undefined =>
    (group["_id"] as { dominator?: StoredId }).dominator;
  const dominators = found.map(dominatorOf).filter((id) => id !== undefined);
  const inside = await dominatedBy(members, largest, dominators, context);
  return found.map((group) =>
    inside.has(dominatorOf(group) as StoredId)
      ? { ...group, retained_bytes: 0, retained_count: 0 }
      : group,
  );
}

/** What `shapesPipeline` gives, as `heldGroups` tells it. */
function shapeGroups(
  found: readonly Document[],
  context: QueryContext,
): ReturnType<typeof shownGroups> {
  const reached = found.filter((group) => group["_id"] !== null);
  const unreached = found.find((group) => group["_id"] === null);
  return shownGroups(
    reached.map(({ _id, sample, ...sums }) => ({
      ...(sums as Omit<Group, "path" | "sample_id">),
      path: String(_id),
      sample_id: sample as StoredId,
    })),
    Number(unreached?.["count"] ?? 0),
    context,
    new Map(),
  );
}

/** The first groups, with their common dominator and a path each. */
async function shownGroups(
  groups: readonly Group[],
  unreachedCount: number,
  context: QueryContext,
  known: Map<StoredId, Holder>,
): Promise<{ readonly rows: readonly HeldGroup[]; readonly notes: readonly string[] }> {
  const shown = groups.slice(0, context.limit);
  const rows: HeldGroup[] = [];
  for (const [index, { dominators, bounds, sample_id, ...group }] of shown.entries()) {
    const common = await commonOf(dominators, bounds, known, context);
    const dominator =
      common === undefined
        ? undefined
        : ((await context.objects.findOne({ _id: common }, { projection: labelFields })) ??
          undefined);
    rows.push({
      ...group,
      dominator: dominator === undefined ? "" : `${labelOf(dominator)} ${idText(common)}`,
      dominator_id: common,
      dominator_retains: dominator?.retained_count,
      sample_id,
      sample: index < namedMax ? shownPath(await pathTo(sample_id, context)) : "",
    });
  }
  const notes: string[] = [];
  if (unreachedCount > 0)
    notes.push(
      `${unreachedCount} more are reached from no root: garbage, or held by what the dump does not show.`,
    );
  if (groups.length > shown.length) {
    notes.push(`${groups.length - shown.length} more groups: raise --limit.`);
  }
  return { rows, notes };
}

async function commonOf(
  dominators: Group["dominators"],
  bounds: Group["bounds"],
  known: Map<StoredId, Holder>,
  context: QueryContext,
): Promise<StoredId | undefined> {
  const ids = dominators.filter((id) => id !== null);
  if (ids.length < dominators.length) return undefined;
  if (ids.length === 1) return ids[0];
  const bound = bounds && ((await commonOf(bounds, undefined, known, context)) ?? null);
  return commonDominator(ids, bound, known, context);
}

/**
 * Goes up from the instances, all paths at once, as far as no shape tells the rest; bundles that meet at one object with
 * one path become one.
 */
async function climb(
  found: readonly Document[],
  paths: ShapePaths,
  known: Map<StoredId, Holder>,
  context: QueryContext,
): Promise<Bundle[]> {
  const done: Bundle[] = [];
  let open: Bundle[] = [];
  const sort = (bundle: Bundle): void => {
    const only = paths.onlyOne(bundle.kind, bundle.depth, bundle.steps);
    if (only !== undefined) {
      done.push({ ...bundle, steps: only.stepsUp, shapes: new Set([only]) });
    } else (bundle.above === undefined ? done : open).push(bundle);
  };
  for (const group of found) {
    const key = group["_id"] as { parent?: StoredId; dominator?: StoredId; reached?: boolean };
    if (key.reached !== true) continue;
    const bundle: Bundle = {
      above: key.parent,
      steps: [],
      last: group["sample"] as StoredId,
      kind: kindOf(group),
      depth: Number(group["depth"]),
      shapes: undefined,
      count: Number(group["count"]),
      bytes: Number(group["bytes"]),
      retainedBytes: Number(group["retained_bytes"]),
      retainedCount: Number(group["retained_count"]),
      sample: group["sample"] as StoredId,
      dominators: new Set([key.dominator ?? null]),
    };
    sort(bundle);
  }
  for (let round = 0; open.length > 0; round++) {
    // Many paths that do not meet are a list, all the way up: its beginning says no more.
    if (round === roundsMax || (round >= listRounds && open.length > listBundles)) {
      for (const bundle of open) done.push({ ...bundle, steps: [...bundle.steps, "…"] });
      break;
    }
    await learn(
      open.map((bundle) => bundle.above as StoredId),
      known,
      context,
    );
    const next = new Map<string, Bundle>();
    for (const bundle of open) {
      const above = bundle.above as StoredId;
      const holder = known.get(above);
      if (holder === undefined) continue;
      const { kind } = bundle;
      const step = stepText(holder, bundle.last);
      const raised: Bundle = {
        ...bundle,
        // A list is one step, however long it is.
        steps: bundle.steps.at(-1) === step ? bundle.steps : [...bundle.steps, step],
        above: holder.parent,
        last: above,
      };
      const key = `${String(above)}\0${kind.type}\0${kind.class_name}\0${raised.steps.join("\0")}`;
      const same = next.get(key);
      if (same === undefined) next.set(key, raised);
      else absorb(same, raised);
    }
    open = [];
    for (const bundle of next.values()) sort(bundle);
  }
  return done;
}

function absorb(into: Bundle, other: Bundle): void {
  into.count += other.count;
  into.bytes += other.bytes;
  into.retainedBytes += other.retainedBytes;
  into.retainedCount += other.retainedCount;
  if (other.sample < into.sample) into.sample = other.sample;
  for (const dominator of other.dominators) into.dominators.add(dominator);
  if (into.shapes === undefined || other.shapes === undefined) into.shapes = undefined;
  else if ([...other.shapes].some((shape) => into.shapes?.has(shape) !== true)) {
    into.shapes = new Set([...into.shapes, ...other.shapes]);
  }
}

function mergeByPath(bundles: readonly Bundle[]): Bundle[] {
  const groups = new Map<string, Bundle>();
  for (const bundle of bundles) {
    const key = bundle.steps.join("\0");
    const same = groups.get(key);
    if (same === undefined) groups.set(key, { ...bundle, dominators: new Set(bundle.dominators) });
    else absorb(same, bundle);
  }
  return [...groups.values()];
}

/** A holder and how it holds: `Shop::Broker.@subscribers`, `Array[…]`, `proc at app.rb:19 (env)`. */
function stepText(holder: Holder, target: StoredId): string {
  if (holder.isList) return `${holder.label}[…]`;
  const index = holder.references.indexOf(target);
  const name = index < 0 ? "" : (holder.names[index] ?? "");
  if (/^\d+$/.test(name)) return `${holder.label}[…]`;
  if (name === "" || name === "envval" || name === "(environment)") return holder.label;
  return `${holder.label}.${name}`;
}

/**
 * The choice of objects that `--class`, `--type`, `--site` and `--where` make.
 *
 * @throws {HeapdumpError} `query/bad-argument`
 */
export function choiceOf(words: {
  readonly class?: string | undefined;
  readonly type?: string | undefined;
  readonly site?: string | undefined;
  readonly where?: string | undefined;
}): { where: Document; text: string } {
  const parts: Document[] = [];
  const texts: string[] = [];
  if (words.class !== undefined) {
    parts.push({ class_name: words.class });
    texts.push(`class ${words.class}`);
  }
  if (words.type !== undefined) {
    parts.push({ type: words.type.replace(/^T_/, "") });
    texts.push(`type ${words.type}`);
  }
  if (words.site !== undefined) {
    const match = /^(.*):(\d+)$/.exec(words.site);
    if (match === null) throw new HeapdumpError("query/bad-argument", "--site: expected file:line");
    parts.push({ file: match[1], line: Number(match[2]) });
    texts.push(`site ${words.site}`);
  }
  if (words.where !== undefined) {
    parts.push(conditionOf(words.where));
    texts.push(words.where);
  }
  if (parts.length === 0) {
    throw new HeapdumpError(
      "query/bad-argument",
      "choose objects with --class, --type, --site or --where",
    );
  }
  return {
    where: parts.length === 1 ? (parts[0] as Document) : { $and: parts },
    text: texts.join(", "),
  };
}

/** JavaScript on the server is not ours to run: a condition is data. */
function conditionOf(text: string): Document {
  try {
    const parsed: unknown = JSON.parse(text);
    const isObject = typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
    if (isObject && !runsCode(parsed)) return parsed as Document;
  } catch {
    // Told below.
  }
  throw new HeapdumpError(
    "query/bad-argument",
    `--where: expected a condition as JSON, without $where or $function`,
  );
}

/** Whether any key, however it was escaped, asks the server to run JavaScript. */
function runsCode(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(
    ([key, inner]) => /^\$(where|function|accumulator)$/.test(key) || runsCode(inner),
  );
}
