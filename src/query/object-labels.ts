import type { Document } from "mongodb";
import type { HeapDocument, StoredId } from "./define-query.js";

/** The fields that labels and edges are made of; long lists are not among them. */
export const labelFields: Document = {
  type: 1,
  class_name: 1,
  name: {
    $cond: [{ $eq: [{ $type: "$name" }, "string"] }, { $substrCP: ["$name", 0, 120] }, "$$REMOVE"],
  },
  type_name: 1,
  imemo_type: 1,
  struct: 1,
  parent: 1,
  dominator: 1,
  depth: 1,
  memsize: 1,
  retained_size: 1,
  retained_count: 1,
  proc: 1,
  env_of: 1,
  file: 1,
  line: 1,
  "block.iseq.name": 1,
  "block.iseq.filename": 1,
  "block.iseq.line": 1,
  filename: 1,
};

/** Characters shown of a text in the heap: it may be secret, and long. */
const valueCharactersMax = 60;

/** What a string says, and a number: the gem calls it `val`, dump_all `value`, V8 the string's name. */
export const valueFields: Document = {
  shown_value: {
    $let: {
      vars: {
        value: {
          $ifNull: [
            "$value",
            {
              $cond: [
                { $in: ["$type", ["string", "concatenated string", "sliced string", "number"]] },
                "$name",
                "$val",
              ],
            },
          ],
        },
      },
      in: {
        $switch: {
          branches: [
            {
              case: { $eq: [{ $type: "$$value" }, "string"] },
              then: { $substrCP: ["$$value", 0, valueCharactersMax + 1] },
            },
            { case: { $isNumber: "$$value" }, then: "$$value" },
          ],
          default: "$$REMOVE",
        },
      },
    },
  },
};

/** What `valueFields` found, as a person writes it. */
export function valueText(object: HeapDocument): string {
  const value = object["shown_value"] as unknown;
  if (value === undefined) return "";
  if (typeof value !== "string") return String(value as number | bigint);
  const characters = [...value];
  return characters.length > valueCharactersMax
    ? JSON.stringify(`${characters.slice(0, valueCharactersMax).join("")}…`)
    : JSON.stringify(value);
}

/** Where an object was made: a closure's place in the code, or the site of its allocation. */
export function madeAt(object: HeapDocument): string {
  const place = placeOf(object);
  if (place !== undefined) return place;
  return typeof object["file"] === "string"
    ? `${object["file"]}:${String(object["line"] ?? "?")}`
    : "";
}

/** Where a closure was made: `app.rb:19`; undefined for what is none. */
export function placeOf(object: HeapDocument): string | undefined {
  const proc = object["proc"] as Document | undefined;
  const owner = object["env_of"] as Document | undefined;
  const iseq = (object["block"] as Document | undefined)?.["iseq"] as Document | undefined;
  const file = proc?.["file"] ?? owner?.["file"] ?? iseq?.["filename"];
  const line = proc?.["line"] ?? owner?.["line"] ?? iseq?.["line"];
  if (typeof file === "string") return `${file}:${String(line ?? "?")}`;
  // Where a proc was allocated is where its block stands: plain dump_all knows that much, if allocations were traced.
  return object["struct"] === "proc" && typeof object["file"] === "string"
    ? `${object["file"]}:${String(object["line"] ?? "?")}`
    : undefined;
}

/** An object in a word or two, as a person knows it: `Shop::Broker`, `proc at app.rb:19`, `Array`. */
export function labelOf(object: HeapDocument): string {
  const { type, class_name: className } = object;
  const name = object["name"] as unknown;
  const kind = (object["type_name"] ?? object["struct"]) as string | undefined;
  if (type === "ROOT") return String(object._id);
  if ((type === "CLASS" || type === "MODULE" || type === "ICLASS") && typeof name === "string") {
    return name;
  }
  const place = placeOf(object);
  if (kind === "proc") return place === undefined ? "proc" : `proc at ${place}`;
  if (kind === "VM/env" || object["imemo_type"] === "env") return "env";
  if (type === "closure" && typeof name === "string" && name !== "") return `closure ${name}()`;
  return className ?? kind ?? (object["imemo_type"] as string | undefined) ?? type ?? "object";
}

/** What reference edges are computed from, for one target: its place in the lists, found by the server. */
export function edgeFields(target: StoredId): Document {
  return {
    edge_index: edgeIndex(target),
    val_index: indexIn("$val", target),
    env_index: indexIn("$env", target),
    edge_name: { $arrayElemAt: [{ $ifNull: ["$reference_names", []] }, edgeIndex(target)] },
    edge_kind: {
      $cond: [
        { $eq: [{ $type: "$reference_kinds" }, "string"] },
        kindAt({ $max: [0, edgeIndex(target)] }),
        "$$REMOVE",
      ],
    },
    class: 1,
    local_table: "$block.iseq.local_table",
  };
}

/** The first reference to the target; where that is weak and another is not, the other: it keeps the target alive. */
function edgeIndex(target: StoredId): Document {
  const places = {
    $filter: {
      input: { $range: [0, { $size: "$references" }] },
      cond: { $eq: [{ $arrayElemAt: ["$references", "$$this"] }, target] },
    },
  };
  const strong = {
    $first: { $filter: { input: places, cond: { $ne: [kindAt("$$this"), weakLetter] } } },
  };
  return {
    $let: {
      vars: { first: indexIn("$references", target) },
      in: {
        $cond: [
          {
            $and: [
              { $gte: ["$$first", 0] },
              { $eq: [{ $type: "$reference_kinds" }, "string"] },
              { $eq: [kindAt("$$first"), weakLetter] },
            ],
          },
          { $ifNull: [strong, "$$first"] },
          "$$first",
        ],
      },
    },
  };
}

const weakLetter = "w";

/** The letter of one reference: the kinds of all are one text. */
function kindAt(index: Document | string): Document {
  return { $substrCP: ["$reference_kinds", index, 1] };
}

/** What V8 calls an edge of that letter; "" where the dump says no kinds. */
export function kindText(letter: unknown): string {
  return typeof letter === "string" ? (kindNames[letter] ?? "") : "";
}

const kindNames: Readonly<Record<string, string>> = {
  c: "context",
  e: "element",
  p: "property",
  i: "internal",
  h: "hidden",
  s: "shortcut",
  [weakLetter]: "weak",
};

function indexIn(list: string, target: StoredId): Document {
  return { $cond: [{ $isArray: list }, { $indexOfArray: [list, target] }, -1] };
}

/** The edge from a holder to its target, as a person writes it: `@name`, `[37]`, `{"key"}`, `env`. */
export function edgeOf(holder: HeapDocument, target: StoredId): string {
  const name = holder["edge_name"] as string | undefined;
  const valIndex = holder["val_index"] as number | undefined;
  const edgeIndex = (holder["edge_index"] as number | undefined) ?? -1;
  if (holder["class"] === target && edgeIndex < 0) return "class";
  if (holder.type === "ARRAY" || holder.type === "array") {
    const index = valIndex !== undefined && valIndex >= 0 ? valIndex : edgeIndex;
    return index >= 0 ? `[${name !== undefined && /^\d+$/.test(name) ? name : index}]` : "";
  }
  const envIndex = holder["env_index"] as number | undefined;
  if (envIndex !== undefined && envIndex >= 0) {
    const locals = holder["local_table"] as unknown[] | undefined;
    const local = locals?.[envIndex];
    return typeof local === "string" ? local : `slot ${envIndex}`;
  }
  if (name === "envval") return "env";
  if (name !== undefined && name !== "") {
    const isKey = holder.type === "HASH" && !name.startsWith("[") && !name.startsWith("(");
    return isKey ? `[${JSON.stringify(name)}]` : name;
  }
  return "";
}

export const listTypes: ReadonlySet<string> = new Set(["ARRAY", "array", "HASH"]);

/** Whether an object's elements are told as `[…]`. V8 puts a JavaScript array's elements below the array itself. */
export function isList({ type = "", class_name }: HeapDocument): boolean {
  return listTypes.has(type) || (type === "object" && class_name === "Array");
}

export const pathArrow = " → ";
/** From so many on, steps that are alike are told once, with their number. */
const runMin = 4;

type TextStep = { readonly label: string; readonly edge: string };

/** A path in one line: `Shop::Broker → @subscribers → Array[37] → proc at app.rb:19`, `ListNode → @next (×20) → …`. */
export function pathText(steps: readonly TextStep[]): string {
  const texts: string[] = [];
  for (let at = 0; at < steps.length;) {
    const step = steps[at] as TextStep;
    let end = at + 1;
    while (steps[end]?.label === step.label && steps[end]?.edge === step.edge) end++;
    const isRun = end - at >= runMin;
    if (!isRun) end = at + 1;
    const text = stepText(step, steps[end]?.label);
    texts.push(isRun ? `${text} (×${end - at})` : text);
    at = end;
  }
  return texts.join(pathArrow);
}

function stepText({ label, edge }: TextStep, next: string | undefined): string {
  // `Shop → Broker → Shop::Broker` says one thing twice.
  if (next === undefined || edge === "" || next === edge || next.endsWith(`::${edge}`))
    return label;
  return edge.startsWith("[") || edge.startsWith("{")
    ? `${label}${edge}`
    : `${label}${pathArrow}${edge}`;
}

/** An id in hexadecimal where it is an address, as it is elsewhere; those above 2^63 are stored as decimal text. */
export function idText(id: unknown): string {
  if (typeof id === "string" && /^\d{19,20}$/.test(id)) return `0x${BigInt(id).toString(16)}`;
  return typeof id === "number" || typeof id === "bigint" ? `0x${id.toString(16)}` : String(id);
}
