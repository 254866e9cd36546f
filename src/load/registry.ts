import { randomUUID } from "node:crypto";
import type { Collection, Db } from "mongodb";
import { isHolderDead, lockHolder } from "./lock-holder.js";
import { patiently, type Patience } from "./patience.js";
import { HeapdumpError } from "../errors.js";
import { loadingNameOf, registryCollection } from "../../schemas/collection-names.js";
import type { DumpEntry } from "../../schemas/dump-entry.js";

/** The holder of a lock shows that it lives this often; one not seen for the longer time is dead. */
const heartbeatMs = 5_000;
const deadAfterMs = 60_000;

export function registryOf(db: Db): Collection<DumpEntry> {
  return db.collection<DumpEntry>(registryCollection);
}

/** The right to load a dump of a name: one importer at a time. */
export type LoadLock = {
  /** The unfinished dump as it was found, if there was one. */
  readonly unfinished: DumpEntry | undefined;
  /** Whose lock it was, where that one ended without giving it back. */
  readonly deadHolder: Lock | undefined;
  readonly token: string;
  /** Aborted when another import took the lock over, as after a long sleep of this machine. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
};

/**
 * Takes the lock of a dump's name. A dead holder's lock is taken over.
 *
 * @param fresh - the entry to begin with where there is none
 * @throws {HeapdumpError} `load/locked` naming host, pid and time
 */
export async function lockDump(
  db: Db,
  dumpName: string,
  fresh: DumpEntry,
  patience: Patience,
): Promise<LoadLock> {
  const registry = registryOf(db);
  const _id = loadingNameOf(dumpName);
  const now = await patiently(() => serverTime(db), patience);
  const lock = { ...lockHolder(), since: now, seen: now, token: randomUUID() };
  const take = (): Promise<DumpEntry | undefined> => takeLock(db, { ...fresh, _id, lock });
  const unfinished = await patiently(take, patience);
  const lost = new AbortController();
  const show = async (): Promise<void> => {
    const ours = { _id, "lock.token": lock.token };
    const { matchedCount } = await registry.updateOne(ours, {
      $currentDate: { "lock.seen": true },
    });
    if (matchedCount === 1) return;
    // Without an entry, the load is at its end: by us or by another, the swap tells.
    const { lock: other } = (await registry.findOne({ _id })) ?? {};
    if (other !== undefined && other.token !== lock.token) lost.abort(lockLost(dumpName));
  };
  const beat = setInterval(() => {
    show().catch(() => undefined); // The load itself will tell of a lost server.
  }, heartbeatMs);
  beat.unref();
  return {
    unfinished,
    // A lost reply: the lock found is our own.
    deadHolder: unfinished?.lock?.token === lock.token ? undefined : unfinished?.lock,
    token: lock.token,
    lost: lost.signal,
    release: async () => {
      clearInterval(beat);
      await registry.updateOne({ _id, "lock.token": lock.token }, { $unset: { lock: 1 } });
    },
  };
}

/** What an import says that stood still for so long that another one was let in. */
export function lockLost(dumpName: string): HeapdumpError {
  return new HeapdumpError(
    "load/locked",
    `another import of ${dumpName} took over while this one gave no sign for ${deadAfterMs / 1000} s`,
  );
}

/** Clocks of importers on several hosts differ: the server's is the one that counts. */
async function serverTime(db: Db): Promise<Date> {
  const { localTime } = await db.command({ hello: 1 });
  return localTime as Date;
}

/** Writes the lock into the unfinished entry, which is given as it was found, or begins a fresh one. */
async function takeLock(db: Db, fresh: DumpEntry & { lock: Lock }): Promise<DumpEntry | undefined> {
  const registry = registryOf(db);
  const { _id, lock } = fresh;
  for (;;) {
    const found = await registry.findOne({ _id });
    if (found === null) {
      const options = { upsert: true, writeConcern: { journal: true } };
      const outcome = await registry.updateOne({ _id }, { $setOnInsert: fresh }, options);
      if (outcome.upsertedCount === 1) return undefined;
      continue;
    }
    const token = found.lock?.token;
    // Ours already: the reply to an earlier try was lost.
    if (token === lock.token) return found;
    if (found.lock !== undefined && isAlive(found.lock, await serverTime(db))) {
      const { host, pid, since } = found.lock;
      throw new HeapdumpError(
        "load/locked",
        `${found.collection} is being loaded by process ${pid} on ${host} since ${since.toISOString()}`,
      );
    }
    const taken = await registry.updateOne(
      token === undefined ? { _id, lock: { $exists: false } } : { _id, "lock.token": token },
      { $set: { lock } },
      { writeConcern: { journal: true } },
    );
    if (taken.modifiedCount === 1) return found;
  }
}

export type Lock = NonNullable<DumpEntry["lock"]>;

function isAlive(lock: Lock, now: Date): boolean {
  if (now.getTime() - lock.seen.getTime() > deadAfterMs) return false;
  return !isHolderDead(lock);
}
