import { setTimeout as sleep } from "node:timers/promises";
import type { Db } from "mongodb";

/** The server is asked this often. Unit: milliseconds. */
const askEveryMs = 400;
/** Of a build's time, reading the documents and sorting their keys; the rest writes the sorted keys. */
const scanShare = 0.6;

type Operation = { readonly msg?: string; readonly progress?: { done: number; total: number } };

/**
 * Tells how far the index builds of a collection are, until it is stopped. A server that shows a user no builds is not
 * asked again: its progress is unknown then.
 *
 * @param onShare - from 0 to 1, never less than before
 */
export async function watchIndexBuilds(
  db: Db,
  collection: string,
  onShare: (share: number) => void,
  signal: AbortSignal,
): Promise<void> {
  let told = 0;
  while (!signal.aborted) {
    await sleep(askEveryMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      const builds = await db.client
        .db("admin")
        .aggregate<Operation>([
          { $currentOp: { allUsers: true } },
          { $match: { ns: `${db.databaseName}.${collection}`, "progress.total": { $gt: 0 } } },
          { $project: { msg: 1, progress: 1 } },
        ])
        .toArray();
      const shares = builds.map(shareOf);
      // The slowest of those side by side ends the phase.
      if (shares.length > 0) told = Math.max(told, Math.min(...shares));
      onShare(told);
    } catch {
      return;
    }
  }
}

function shareOf({ msg, progress }: Operation): number {
  const { done, total } = progress ?? { done: 0, total: 1 };
  const share = Math.min(1, Number(done) / Number(total));
  return /scanning/.test(msg ?? "") ? share * scanShare : scanShare + share * (1 - scanShare);
}
