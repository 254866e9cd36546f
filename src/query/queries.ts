import type { Query } from "./define-query.js";
import { closures } from "./one-dump/closures.js";
import { dominators } from "./one-dump/dominators.js";
import { object, path, references, referrers } from "./one-dump/one-object.js";
import { retainers } from "./one-dump/retainers.js";
import {
  classes,
  countObjects,
  garbage,
  generations,
  sites,
  summary,
  types,
} from "./one-dump/summaries.js";
import { suspects } from "./one-dump/suspects.js";
import { collections, strings } from "./one-dump/values.js";

/** Every canned question, in the order that help prints them. */
export const queries: readonly Query[] = [
  summary,
  suspects,
  retainers,
  path,
  object,
  referrers,
  references,
  dominators,
  closures,
  types,
  classes,
  sites,
  generations,
  countObjects,
  strings,
  collections,
  garbage,
];
