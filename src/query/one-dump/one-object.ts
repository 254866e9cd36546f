import { HeapdumpError } from "../../errors.js";
import {
  defineQuery,
  type HeapDocument,
  type QueryContext,
  type StoredId,
} from "../define-query.js";
import { refersTo } from "../refers-to.js";
import { chainStages, objectsOf, pathTo, shownPath, type Path } from "../ancestors.js";
import {
  edgeFields,
  edgeOf,
  idText,
  kindText,
  labelFields,
  labelOf,
  madeAt,
  placeOf,
  valueFields,
  valueText,
} from "../object-labels.js";

const edgeColumns = [
  { key: "id", title: "id", unit: "id" },
  { key: "label", title: "object", unit: "text" },
  { key: "edge", title: "by", unit: "text" },
  { key: "kind", title: "kind", unit: "text" },
  { key: "value", title: "value", unit: "text" },
  { key: "made_at", title: "made at", unit: "text" },
  { key: "type", title: "type", unit: "text" },
  { key: "memsize", title: "shallow", unit: "bytes" },
  { key: "retained_size", title: "retained", unit: "bytes" },
  { key: "retained_count", title: "retained objects", unit: "count" },
] as const;

const rowFields = { ...labelFields, ...valueFields };

/** The id given, which a query on one object must have. */
export function givenId(id: StoredId | undefined): StoredId {
  if (id === undefined) throw new HeapdumpError("query/bad-argument", "name an object by its id");
  return id;
}

function rowOf(object: HeapDocument, edge: string, kind: string): Record<string, unknown> {
  const { memsize, retained_size, retained_count, type } = object;
  return {
    id: object._id,
    label: labelOf(object),
    edge,
    kind,
    value: valueText(object),
    made_at: madeAt(object),
    type,
    memsize,
    retained_size,
    retained_count,
  };
}

/** What a weak reference means, where there are some. */
function weakNotes(rows: readonly Record<string, unknown>[]): string[] {
  const count = rows.filter(({ kind }) => kind === "weak").length;
  return count === 0 ? [] : [`${count} of these are weak: such a reference keeps nothing alive.`];
}

/** @throws {HeapdumpError} `query/not-found` */
export async function mustExist(id: StoredId, context: QueryContext): Promise<void> {
  const found = await context.objects.findOne({ _id: id }, { projection: { _id: 1 } });
  if (found !== null) return;
  const nearest = async (side: "$lt" | "$gt"): Promise<HeapDocument[]> =>
    context.objects
      .aggregate<HeapDocument>([
        { $match: { _id: { [side]: id } } },
        { $sort: { _id: side === "$lt" ? -1 : 1 } },
        { $limit: 1 },
        { $project: labelFields },
      ])
      .toArray();
  // Text ids are in the order of their text, too: next to root:vmm stands root:vm.
  const near = [...(await nearest("$lt")), ...(await nearest("$gt"))];
  const told = near.map((object) => `${idText(object._id)} (${labelOf(object)})`);
  const hint = told.length === 0 ? "" : `; nearest to it: ${told.join(", ")}`;
  throw new HeapdumpError(
    "query/not-found",
    `no object ${idText(id)} in ${context.dump._id}${hint}`,
  );
}

export const referrers = defineQuery({
  name: "referrers",
  question: "Which objects hold a reference to this one?",
  takes: "id",
  worksUnanalysed: true,
  scans: false,
  columns: edgeColumns,
  pipeline: ({ id }, dump, limit) => ({
    collection: dump.collection,
    stages: [
      { $match: refersTo(givenId(id), dump) },
      { $limit: limit },
      { $project: { ...rowFields, ...edgeFields(givenId(id)), part_of: 1 } },
    ],
  }),
  answer: async (found, { id }, context) => {
    if (found.length === 0) await mustExist(givenId(id), context);
    // A continuation document stands for the object that it belongs to.
    const owners = await objectsOf(
      found.flatMap((one) => (one["part_of"] === undefined ? [] : [one["part_of"] as StoredId])),
      context,
      rowFields,
    );
    const rows = (found as HeapDocument[]).map((one) => {
      const owner = owners.get(one["part_of"] as StoredId);
      return rowOf(owner ?? one, edgeOf(one, givenId(id)), kindText(one["edge_kind"]));
    });
    const own = await context.objects.findOne({ _id: givenId(id) }, { projection: ownFields });
    if (rows.length === 0) return { rows, notes: [whyNoReferrers(own)] };
    const notes = weakNotes(rows);
    const more = Number(own?.["referrer_count"] ?? 0) - rows.length;
    if (rows.length >= context.limit && more > 0) notes.push(`${more} more: raise --limit.`);
    return { rows, notes };
  },
});

const ownFields = { type: 1, depth: 1, referrer_count: 1 };

function whyNoReferrers(own: HeapDocument | null): string {
  if (own?.type === "ROOT") return "No object refers to it: it is a root.";
  if (own?.depth === undefined)
    return "No object refers to it: it is garbage, or held by what the dump does not show.";
  return "No object refers to it but as its class, or as a root.";
}

export const references = defineQuery({
  name: "references",
  question: "To which objects does this one hold a reference?",
  takes: "id",
  worksUnanalysed: true,
  scans: false,
  columns: edgeColumns,
  pipeline: ({ id }, dump, limit) => ({
    collection: dump.collection,
    stages: [
      { $match: { _id: givenId(id) } },
      {
        $project: {
          type: 1,
          references: { $slice: [{ $ifNull: ["$references", []] }, limit] },
          reference_names: { $slice: [{ $ifNull: ["$reference_names", []] }, limit] },
          reference_kinds: { $substrCP: [{ $ifNull: ["$reference_kinds", ""] }, 0, limit] },
          total: { $size: { $ifNull: ["$references", []] } },
        },
      },
    ],
  }),
  answer: async (found, { id }, context) => {
    if (found.length === 0) await mustExist(givenId(id), context);
    const [holder] = found;
    const ids = (holder?.["references"] ?? []) as StoredId[];
    const names = (holder?.["reference_names"] ?? []) as string[];
    const kinds = (holder?.["reference_kinds"] ?? "") as string;
    const objects = await objectsOf([...new Set(ids)], context, rowFields);
    const rows = ids.flatMap((target, index) => {
      const object = objects.get(target);
      if (object === undefined) return [];
      const name = names[index] ?? "";
      const isList = holder?.["type"] === "ARRAY" || holder?.["type"] === "array";
      const edge = name !== "" ? name : isList ? `[${index}]` : "";
      return [rowOf(object, edge, kindText(kinds[index]))];
    });
    const total = Number(holder?.["total"] ?? 0);
    const notes = rows.length === 0 ? ["It refers to no object."] : weakNotes(rows);
    if (total > ids.length) notes.push(`${total - ids.length} more: raise --limit.`);
    return { rows, notes };
  },
});

export const object = defineQuery({
  name: "object",
  question: "What is this object: its fields, what it refers to, what refers to it?",
  takes: "id",
  worksUnanalysed: true,
  scans: false,
  columns: [
    { key: "part", title: "", unit: "text" },
    { key: "name", title: "", unit: "text" },
    { key: "value", title: "", unit: "text" },
  ],
  pipeline: ({ id }, dump) => ({
    collection: dump.collection,
    stages: [{ $match: { _id: givenId(id) } }, { $limit: 1 }],
  }),
  answer: async (found, given, context) => {
    const id = givenId(given.id);
    if (found.length === 0) await mustExist(id, context);
    const [document = {}] = found;
    const named = await objectsOf(
      idFields.flatMap((name) => (name in document ? [document[name] as StoredId] : [])),
      context,
    );
    const rows: Record<string, unknown>[] = [];
    for (const [name, value] of Object.entries(document)) {
      const other = idFields.includes(name) ? named.get(value as StoredId) : undefined;
      rows.push({
        part: "field",
        name,
        value: other === undefined ? fieldText(name, value) : `${labelOf(other)} ${idText(value)}`,
      });
    }
    const place = placeOf(document as HeapDocument);
    if (place !== undefined) rows.push({ part: "made at", name: "", value: place });
    const notes: string[] = [];
    for (const [part, query] of [
      ["refers to", references],
      ["referred to by", referrers],
    ] as const) {
      const { collection, stages } = query.pipeline(given, context.dump, neighboursMax);
      const raw = await context.db
        .collection(collection)
        .aggregate([...stages])
        .toArray();
      const answer = await query.answer?.(raw, given, { ...context, limit: neighboursMax });
      for (const row of answer?.rows ?? []) {
        const edge = String(row["edge"]);
        rows.push({
          part,
          name: row["kind"] === "weak" ? `${edge} (weak)` : edge,
          value: [row["label"], idText(row["id"]), row["value"], row["made_at"]]
            .filter((text) => text !== "" && !String(row["label"]).endsWith(`at ${String(text)}`))
            .join(" "),
        });
      }
      if (answer?.notes.some((note) => note.endsWith("raise --limit.")) === true)
        notes.push(`More than ${neighboursMax}: ${query.name} ${idText(id)} lists them.`);
    }
    return { rows, notes };
  },
});

/** Fields that name another object. */
const idFields: readonly string[] = ["class", "parent", "dominator"];
/** Lists that may be millions long, and are shown below by what they refer to. */
const listFields: readonly string[] = [
  "references",
  "reference_names",
  "val",
  "dangling_references",
];
/** References and referrers shown with an object. */
const neighboursMax = 20;
/** Characters of a field's value that are shown. */
const fieldCharactersMax = 400;

/** A field's value as JSON; integers beyond 2^53 digit by digit. */
function fieldText(name: string, value: unknown): string {
  if (name === "_id" || idFields.includes(name)) return idText(value);
  if (typeof value === "bigint") return value.toString();
  if (name === "reference_kinds") return `${String(value).length} letters`;
  if (listFields.includes(name) && Array.isArray(value)) return `${value.length} elements`;
  const text = JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "bigint" ? inner.toString() : inner,
  );
  return text.length > fieldCharactersMax ? `${text.slice(0, fieldCharactersMax - 1)}…` : text;
}

export const path = defineQuery({
  name: "path",
  question: "Through which references does a root reach this object?",
  takes: "id",
  scans: false,
  columns: [
    { key: "path", title: "path", unit: "count" },
    { key: "step", title: "step", unit: "count" },
    { key: "id", title: "id", unit: "id" },
    { key: "label", title: "object", unit: "text" },
    { key: "edge", title: "holds the next by", unit: "text" },
    { key: "retained_size", title: "retained", unit: "bytes" },
    { key: "retained_count", title: "retained objects", unit: "count" },
  ],
  pipeline: ({ id }, dump) => ({
    collection: dump.collection,
    stages: chainStages(givenId(id), dump.collection),
  }),
  answer: async (found, given, context) => {
    const id = givenId(given.id);
    if (found.length === 0) await mustExist(id, context);
    const [start] = found as HeapDocument[];
    if (start?.depth === undefined) {
      const own = await context.objects.findOne({ _id: id }, { projection: ownFields });
      const isHeld = Number(own?.["referrer_count"] ?? 0) > 0;
      return {
        rows: [],
        notes: [
          `No root reaches it: it is garbage, held weakly, or held by what the dump does not show.`,
          ...(isHeld ? [`referrers ${idText(id)} lists what refers to it all the same.`] : []),
        ],
      };
    }
    const paths = [await pathTo(id, context)];
    if (given.all > 1) paths.push(...(await otherPaths(id, start, given.all - 1, context)));
    const notes = paths.map(shownPath);
    if (given.all > 1) notes.push(...(await holderNotes(id, paths.length, given.all, context)));
    return { rows: paths.flatMap(rowsOfPath), notes };
  },
});

/** Steps are numbered from the root, whether all are told or not. */
function rowsOfPath(
  { steps, omitted, omittedCount }: Path,
  index: number,
): Record<string, unknown>[] {
  const number = index + 1;
  const rows: Record<string, unknown>[] = steps.map((step, at) => ({
    path: number,
    step: omittedCount + at,
    id: step.id,
    label: step.label,
    edge: step.edge,
    retained_size: step.object.retained_size,
    retained_count: step.object.retained_count,
  }));
  if (omittedCount > 0) {
    const edge = `(${omittedCount.toLocaleString("en")} steps, repeated ones told once)`;
    rows.unshift({ path: number, step: 0, label: omitted === "" ? "…" : omitted, edge });
  }
  return rows;
}

/** Holders looked through for other paths: an object that more know is known everywhere. */
const holdersMax = 1_000;

/** Why there are fewer paths than asked for, or perhaps shorter ones than those told. */
async function holderNotes(
  id: StoredId,
  told: number,
  wanted: number,
  { objects }: QueryContext,
): Promise<string[]> {
  const own = await objects.findOne({ _id: id }, { projection: { referrer_count: 1 } });
  const referrers = Number(own?.["referrer_count"] ?? 0);
  if (referrers > holdersMax) {
    const of = `${holdersMax.toLocaleString("en")} of the ${referrers.toLocaleString("en")}`;
    return [`Only ${of} references to it were looked through: there may be other paths, as short.`];
  }
  return told < wanted
    ? [
        `${told === 1 ? "That is the only path" : `There are ${told} paths only`}: one for each object that holds it.`,
      ]
    : [];
}

/** Paths through the other referrers, shortest first, that do not lead through the object itself. */
async function otherPaths(
  id: StoredId,
  start: HeapDocument,
  count: number,
  context: QueryContext,
): Promise<Path[]> {
  const holders = await context.objects
    .aggregate<HeapDocument>([
      { $match: { ...refersTo(id, context.dump), depth: { $exists: true } } },
      { $limit: holdersMax },
      { $project: { depth: 1, kind: edgeFields(id)["edge_kind"] } },
      { $match: { kind: { $ne: "w" } } },
      { $sort: { depth: 1, _id: 1 } },
      { $limit: count * 4 + 1 },
    ])
    .toArray();
  const paths: Path[] = [];
  for (const holder of holders) {
    if (holder._id === start.parent || paths.length === count) continue;
    const above = await pathTo(holder._id, context, id);
    if (above.steps.some((step) => step.id === id)) continue;
    const own = await objectsOf([id], context);
    const object = own.get(id);
    if (object !== undefined) {
      const last = { id, label: labelOf(object), edge: "", object };
      paths.push({ ...above, steps: [...above.steps, last] });
    }
  }
  return paths;
}
