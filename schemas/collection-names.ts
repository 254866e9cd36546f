/** Names of the collections that are not dumps. A dump may not take one of them. */
export const registryCollection = "dumps";
export const summariesCollection = "summaries";
export const diffsCollection = "diffs";
/** While it loads, a dump stands beside an older one of its name, under this name. */
export const loadingNameOf = (dumpName: string): string => `${dumpName}.loading`;
export const rejectsCollectionOf = (dumpName: string): string => `${dumpName}.rejects`;
/** How the objects of a dump are held. */
export const shapesCollectionOf = (dumpName: string): string => `${dumpName}.shapes`;
/** Texts that several strings of a dump have. */
export const stringsCollectionOf = (dumpName: string): string => `${dumpName}.strings`;
/** A view: of each object, what a path from a root shows. */
export const chainViewOf = (dumpName: string): string => `${dumpName}.chain`;
