/** Nodes whose name is what the string says. */
export const stringTypes: ReadonlySet<string> = new Set([
  "string",
  "concatenated string",
  "sliced string",
]);

/** Nodes of these types are called what their constructor is called. */
export const isNamedByConstructor = (type: string): boolean =>
  type === "object" || type === "native";

/**
 * What the objects of a type are called together.
 *
 * @see Chrome DevTools, front_end/entrypoints/heap_snapshot_worker/HeapSnapshot.ts, className()
 */
export function classNameOf(type: string, name: string): string {
  if (isNamedByConstructor(type)) return name === "" ? "(unnamed)" : name;
  if (type === "hidden") return "(system)";
  if (type === "code") return "(compiled code)";
  return `(${type})`;
}

/** Identifiers and V8's own words (`<symbol …>`) are the program's; other keys may be data. */
export function isProgramName(name: string): boolean {
  return /^[#$\w]*$/.test(name) || name.startsWith("<symbol ");
}
