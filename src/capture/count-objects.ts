import { HeapdumpError } from "../errors.js";

/** The gem's answer to `count_objects`. */
export type ObjectCounts = {
  /** Ruby: slots of the heap. Node: objects found (V8 has no slots). */
  readonly total_slots: number;
  /** Node: always 0. */
  readonly free_slots: number;
  readonly basic_types: Readonly<Record<string, number>>;
  readonly user_types: Readonly<Record<string, number>>;
};

/** Sends one command of the inspector protocol; the same in the process (a Session) and from outside (a WebSocket). */
export type Post = (
  method: string,
  parameters: Readonly<Record<string, unknown>>,
) => Promise<unknown>;

type Remote = { result?: { objectId?: string; value?: unknown }; objects?: { objectId?: string } };
type Properties = { result: readonly { name: string; value?: { className?: string } }[] };
type Found = {
  total: number;
  kinds: Record<string, number>;
  classes: readonly (readonly [name: string, count: number])[];
};

const objectGroup = "heapdump-mongo";

/**
 * Counts the JavaScript objects of a heap by kind, and by constructor those that `names` ask for.
 *
 * One full collection and one walk of the heap, in which the main thread stands still: bench/count-objects.ts. Strings,
 * numbers, closures' contexts, V8's own objects, objects without a prototype and those of other `vm` contexts are no
 * objects to this walk.
 *
 * @param names - a constructor's name, or a namespace that ends in a dot: `MyApp.`
 */
export async function countObjectsThrough(
  post: Post,
  names: readonly string[],
): Promise<ObjectCounts> {
  const call = async (
    objectId: string,
    declaration: string,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<Remote> =>
    (await post("Runtime.callFunctionOn", {
      objectId,
      functionDeclaration: declaration,
      objectGroup,
      silent: true,
      ...more,
    })) as Remote;
  const evaluate = async (expression: string): Promise<string> =>
    idOf(
      (await post("Runtime.evaluate", {
        expression,
        objectGroup,
        includeCommandLineAPI: true,
        silent: true,
      })) as Remote,
    );
  try {
    const types = await evaluate(`require("node:util").types`);
    const prototypeObjectId = await evaluate("Object.prototype");
    const all = (await post("Runtime.queryObjects", { prototypeObjectId, objectGroup })) as Remote;
    const grouped = idOf(
      await call(idOf({ result: all.objects ?? {} }), groupByConstructor.toString(), {
        arguments: [{ objectId: types }, { value: names }],
      }),
    );
    const anonymous = idOf(await call(grouped, "function () { return this.anonymous }"));
    const classNames = new Map<string, string>();
    const properties = (await post("Runtime.getProperties", {
      objectId: anonymous,
      ownProperties: true,
    })) as Properties;
    for (const { name, value } of properties.result) classNames.set(name, value?.className ?? "");
    const found = (
      await call(grouped, "function () { return this.found }", { returnByValue: true })
    ).result?.value as Found;
    return {
      total_slots: found.total,
      free_slots: 0,
      basic_types: found.kinds,
      user_types: userTypes(found.classes, classNames, names),
    };
  } finally {
    // The list of all objects must not outlive the call. The process may be gone: that failure is told elsewhere.
    await post("Runtime.releaseObjectGroup", { objectGroup }).catch(() => undefined);
  }
}

function idOf(remote: Remote): string {
  const id = remote.result?.objectId;
  if (id === undefined) {
    throw new HeapdumpError(
      "capture/failed",
      "the inspector gave no object: its main context ends",
    );
  }
  return id;
}

/** Constructors whose name V8 alone knows (`MyApp.Foo = class {}`) come as `#<index>` and are named here. */
function userTypes(
  classes: readonly (readonly [string, number])[],
  classNames: ReadonlyMap<string, string>,
  names: readonly string[],
): Record<string, number> {
  const counts = new Map<string, number>();
  for (const [key, count] of classes) {
    const name = key.startsWith("#") ? (classNames.get(key.slice(1)) ?? "") : key;
    if (!names.some((wanted) => (wanted.endsWith(".") ? name.startsWith(wanted) : name === wanted)))
      continue;
    counts.set(name, (counts.get(name) ?? 0) + count);
  }
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)));
}

/**
 * Runs inside the counted process, sent as text: it may use nothing from outside itself.
 *
 * It calls nothing of the application: no getter, no proxy's trap. Kind and constructor are looked up once for each
 * prototype, so an object costs one look-up.
 */
function groupByConstructor(
  this: readonly object[],
  types: Record<string, (value: unknown) => boolean>,
  names: readonly string[],
): unknown {
  type Group = { kind: string; constructor: unknown; sample: object; count: number };
  const valueOf = (object: object, key: string): unknown =>
    types["isProxy"]?.(object) === true
      ? undefined
      : Object.getOwnPropertyDescriptor(object, key)?.value;
  const isObject = (value: unknown): value is object =>
    (typeof value === "object" && value !== null) || typeof value === "function";

  // Members of the namespaces asked for, by identity: their own names lack the namespace.
  const paths = new Map<unknown, string>();
  const addMembers = (namespace: object, path: string, levelsLeft: number): void => {
    for (const key of Object.getOwnPropertyNames(namespace)) {
      const member = valueOf(namespace, key);
      if (typeof member === "function") {
        if (!paths.has(member)) paths.set(member, path + key);
      } else if (isObject(member) && levelsLeft > 0 && types["isProxy"]?.(member) !== true) {
        addMembers(member, `${path}${key}.`, levelsLeft - 1);
      }
    }
  };
  for (const name of names) {
    if (!name.endsWith(".")) continue;
    let namespace: unknown = globalThis;
    for (const part of name.slice(0, -1).split("."))
      namespace = isObject(namespace) ? valueOf(namespace, part) : undefined;
    if (isObject(namespace) && types["isProxy"]?.(namespace) !== true)
      addMembers(namespace, name, 3);
  }

  const kindOf = (object: object): string => {
    if (typeof object === "function") return "function";
    if (Array.isArray(object)) return "array";
    for (const [test, kind] of [
      ["isMap", "map"],
      ["isSet", "set"],
      ["isWeakMap", "weakmap"],
      ["isWeakSet", "weakset"],
      ["isPromise", "promise"],
      ["isRegExp", "regexp"],
      ["isDate", "date"],
      ["isNativeError", "error"],
      ["isTypedArray", "typedarray"],
      ["isDataView", "dataview"],
      ["isAnyArrayBuffer", "arraybuffer"],
      ["isGeneratorObject", "generator"],
      ["isBoxedPrimitive", "boxed"],
    ] as const)
      if (types[test]?.(object) === true) return kind;
    return "object";
  };
  const constructorOf = (prototype: object): unknown => {
    for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at) as object) {
      if (types["isProxy"]?.(at) === true) return undefined;
      const constructor = valueOf(at, "constructor");
      if (typeof constructor === "function") return constructor;
    }
    return undefined;
  };

  const groups = new Map<object, Group>();
  const hasOwn = Object.prototype.hasOwnProperty;
  let prototypes = 0;
  for (const object of this) {
    const prototype = Object.getPrototypeOf(object) as object | null;
    if (prototype === null) continue;
    let group = groups.get(prototype);
    if (group === undefined) {
      const constructor = constructorOf(prototype);
      group = { kind: kindOf(object), constructor, sample: object, count: 0 };
      groups.set(prototype, group);
    }
    // A class's prototype object is no instance of the class above.
    if (hasOwn.call(object, "constructor")) {
      const constructor = valueOf(object, "constructor");
      if (typeof constructor === "function" && valueOf(constructor, "prototype") === object) {
        prototypes++;
        continue;
      }
    }
    group.count++;
  }

  const kinds: Record<string, number> = { prototype: prototypes };
  const classes: [string, number][] = [];
  const anonymous: object[] = [];
  for (const { kind, constructor, sample, count } of groups.values()) {
    if (count === 0) continue;
    kinds[kind] = (kinds[kind] ?? 0) + count;
    const path = paths.get(constructor);
    const name = typeof constructor === "function" ? valueOf(constructor, "name") : undefined;
    if (path !== undefined) classes.push([path, count]);
    if (typeof name === "string" && name !== "") {
      if (path !== name) classes.push([name, count]);
    } else if (path === undefined && anonymous.length < 10_000) {
      classes.push([`#${anonymous.length}`, count]);
      anonymous.push(sample);
    }
  }
  return { found: { total: this.length, kinds, classes }, anonymous };
}
