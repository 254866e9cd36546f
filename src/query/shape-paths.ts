import type { Document } from "mongodb";
import { shapesCollectionOf } from "../../schemas/collection-names.js";
import type { ShapeDocument } from "../../schemas/dump-entry.js";
import type { QueryContext, StoredId } from "./define-query.js";
import { pathArrow } from "./object-labels.js";

/** Objects of one class and type: shapes are told of such. */
export type Kind = { readonly type?: string | undefined; readonly class_name?: string | undefined };

/** A shape, with its path from the holder upwards. */
export type ShapePath = {
  readonly stepsUp: readonly string[];
  readonly count: number;
  readonly depthMin: number;
  readonly depthMax: number;
  /** The closest object that dominates all of its objects; null: there is none. */
  readonly dominator: StoredId | null;
};

/** What the import found of the ways in which objects of some kinds are held. */
export type ShapePaths = {
  /** Whether it is known that none of these objects dominates another one. */
  readonly areApart: boolean;
  /**
   * The one shape of the kind that begins with these steps upwards, with objects of this depth; undefined: there are
   * several, or none.
   */
  onlyOne(kind: Kind, depth: number, stepsUp: readonly string[]): ShapePath | undefined;
};

/** Kinds asked for at most: a condition that chooses more of them is none that shapes help with. */
const kindsMax = 1_000;
/** Stands for the steps that a very long path leaves out. */
const gap = "…";

const unknown: ShapePaths = { areApart: false, onlyOne: () => undefined };

/** The shapes of these kinds, in one request: where they tell the rest of a path, nobody needs to climb it. */
export async function shapePathsOf(
  kinds: readonly Kind[],
  { db, dump, signal }: QueryContext,
): Promise<ShapePaths> {
  const keys = new Set(kinds.map(keyOf));
  if (dump.shapes === undefined || keys.size === 0 || keys.size > kindsMax) return unknown;
  signal?.throwIfAborted();
  const types = [...new Set(kinds.map(({ type }) => type))];
  const found = await db
    .collection<ShapeDocument & Document>(shapesCollectionOf(dump.collection))
    .find({ type: { $in: types } } as Document)
    .toArray();
  const pathsOf = new Map<string, ShapePath[]>();
  let insideClass = 0;
  let insideType = 0;
  for (const shape of found) {
    const key = keyOf(shape);
    if (!keys.has(key)) continue;
    insideClass += shape.inside_class;
    insideType += shape.inside_type;
    if (shape.path === undefined) continue;
    const path: ShapePath = {
      stepsUp: shape.path === "" ? [] : shape.path.split(pathArrow).reverse(),
      count: shape.count,
      depthMin: shape.depth_min,
      depthMax: shape.depth_max,
      dominator: (shape.dominator ?? null) as StoredId | null,
    };
    const others = pathsOf.get(key);
    if (others === undefined) pathsOf.set(key, [path]);
    else others.push(path);
  }
  const isOneClass = new Set(kinds.map(({ class_name: name }) => name ?? gap)).size === 1;
  const fitting = new Map<string, readonly ShapePath[]>();
  return {
    areApart: (isOneClass && insideClass === 0) || (types.length === 1 && insideType === 0),
    onlyOne: (kind, depth, stepsUp) => {
      const kindKey = keyOf(kind);
      const key = `${kindKey}\0${stepsUp.join("\0")}`;
      let paths = fitting.get(key);
      if (paths === undefined) {
        paths = (pathsOf.get(kindKey) ?? []).filter((path) => fits(path.stepsUp, stepsUp));
        fitting.set(key, paths);
      }
      let only: ShapePath | undefined;
      for (const path of paths) {
        if (depth < path.depthMin || depth > path.depthMax) continue;
        if (only !== undefined) return undefined;
        only = path;
      }
      return only;
    },
  };
}

function keyOf({ type, class_name: className }: Kind): string {
  return `${type ?? ""}\0${className ?? ""}`;
}

function fits(path: readonly string[], begin: readonly string[]): boolean {
  for (const [at, step] of begin.entries()) {
    if (path[at] === gap) return true;
    if (path[at] !== step) return false;
  }
  return true;
}
