import { totalmem } from "node:os";

const gigabyte = 2 ** 30;
/** Of the machine's memory: it is the user's, and the importer needs some, too. */
const cacheShare = 1 / 8;
const cacheGigabytesMin = 1;
const cacheGigabytesMax = 2;

/**
 * Shares of the cache that may hold what is not written to disk yet, in percent. MongoDB begins to write at 5, and a load
 * then writes pages that it is still filling; all of it is in the journal anyway.
 */
const dirtyTarget = 60;
const dirtyTrigger = 80;

/** What mongod is told of memory and disk: for the managed server, and for benches, which are to measure that one. */
export function tuningWords(): string[] {
  const eviction = ["dirty", "updates"].flatMap((kind) => [
    `eviction_${kind}_target=${dirtyTarget}`,
    `eviction_${kind}_trigger=${dirtyTrigger}`,
  ]);
  return [
    ...["--wiredTigerCacheSizeGB", cacheGigabytes().toFixed(2)],
    ...["--wiredTigerEngineConfigString", eviction.join(",")],
    ...["--setParameter", "diagnosticDataCollectionEnabled=false"],
  ];
}

function cacheGigabytes(): number {
  // In a container, its own limit; where there is none, a number beyond any machine's.
  const limit = process.constrainedMemory();
  const memory = Math.min(totalmem(), limit > 0 ? limit : Infinity) / gigabyte;
  return Math.min(cacheGigabytesMax, Math.max(cacheGigabytesMin, memory * cacheShare));
}
