/**
 * Fields that the product writes into every document. A record's own field of that name is stored as `dump_<name>`,
 * so that nothing of the dump is lost and the names mean the same in every format.
 */
export const reservedFields = [
  "_id",
  "type",
  "class",
  "class_name",
  "memsize",
  "references",
  "reference_names",
  "reference_kinds",
  "dangling_references",
  "duplicate_keys",
  "depth",
  "parent",
  "dominator",
  "retained_size",
  "retained_count",
  "referrer_count",
  "part_of",
  "part",
  "parts",
] as const;
