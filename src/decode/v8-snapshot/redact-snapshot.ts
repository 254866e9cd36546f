import { textRedactorOf, type Redaction } from "../../redaction.js";
import { isProgramName } from "./class-names.js";

/** Hides what a snapshot says, in documents and lines alike. */
export type SnapshotRedactor = {
  /** What a string of the heap says. */
  readonly text: (text: string) => string;
  /** A property's name: may be data where an object serves as a map. */
  readonly property: (name: string) => string;
};

/** Names that look like identifiers stay, but for those that a pattern fits. */
export function snapshotRedactorOf(redaction: Redaction): SnapshotRedactor {
  const text = textRedactorOf(redaction);
  const keepsNames = typeof redaction.mode === "string";
  return {
    text,
    property: (name) => (keepsNames && isProgramName(name) ? name : text(name)),
  };
}
