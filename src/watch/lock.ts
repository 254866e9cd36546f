import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { MongoServerError, type Collection, type Db } from "mongodb";
import { HeapdumpError } from "../errors.js";
import { isHolderDead, lockHolder, type LockHolder } from "../load/lock-holder.js";

/** Name of the collection that holds a document for each running diff or prune. */
export const locksCollection = "locks";

/** A holder that gave no sign for this long is dead, wherever it ran. Six signs fit in. */
const lifetimeMs = 60_000;
const signEveryMs = 10_000;

type LockDocument = LockHolder & {
  readonly _id: string;
  readonly token: string;
  readonly since: Date;
  /** By the server's clock. */
  readonly expires_at: Date;
};

/** A lock that this run holds. */
export type Lock = {
  /** Aborted when the lock was lost, as after a long sleep of the machine. */
  readonly lost: AbortSignal;
  readonly release: () => Promise<void>;
};

/** The one lock of a database that diffs and prunes take. */
export const watchLock = "heapdump-diff";

/** Between two looks at a lock that another run holds. Unit: milliseconds. */
const lookAgainMs = 250;

export type LockPatience = {
  /** How long another run is waited for; default: not at all. */
  readonly waitMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Takes the lock of that name, or says who has it.
 *
 * A killed holder leaves none: on the same machine its process is looked for, on another its last sign is at most a
 * minute old.
 *
 * @throws {HeapdumpError} `watch/locked` when another run holds it
 */
export async function takeLock(
  database: Db,
  name: string,
  { waitMs = 0, signal }: LockPatience = {},
): Promise<Lock> {
  const until = performance.now() + waitMs;
  for (;;) {
    try {
      return await tryToLock(database, name);
    } catch (error) {
      const isLocked = error instanceof HeapdumpError && error.code === "watch/locked";
      if (!isLocked || performance.now() >= until) throw error;
      await sleep(lookAgainMs, undefined, signal === undefined ? {} : { signal });
    }
  }
}

async function tryToLock(database: Db, name: string): Promise<Lock> {
  const locks = database.collection<LockDocument>(locksCollection);
  const token = randomUUID();
  for (let attempt = 0; attempt < 3; attempt++) {
    if (await insertOrReplaceExpired(locks, name, token)) return held(locks, name, token);
    const holder = await locks.findOne({ _id: name });
    if (holder === null) continue;
    if (!isHolderDead(holder)) throw lockedBy(name, holder);
    await locks.deleteOne({ _id: name, token: holder.token });
  }
  throw new HeapdumpError("watch/locked", `${name}: several other runs begin at this moment`);
}

async function insertOrReplaceExpired(
  locks: Collection<LockDocument>,
  name: string,
  token: string,
): Promise<boolean> {
  const { host, pid, pid_namespace } = lockHolder();
  const ours = {
    _id: "$_id",
    host: { $literal: host },
    pid: { $literal: pid },
    pid_namespace: { $literal: pid_namespace },
    token: { $literal: token },
    since: "$$NOW",
    expires_at: { $add: ["$$NOW", lifetimeMs] },
  };
  const isFree = { $lt: [{ $ifNull: ["$expires_at", new Date(0)] }, "$$NOW"] };
  try {
    const now = await locks.findOneAndUpdate(
      { _id: name },
      [{ $replaceWith: { $cond: [isFree, ours, "$$ROOT"] } }],
      { upsert: true, returnDocument: "after" },
    );
    return now?.token === token;
  } catch (error) {
    // Another run made it at this moment.
    if (error instanceof MongoServerError && error.code === 11000) return false;
    throw error;
  }
}

function held(locks: Collection<LockDocument>, name: string, token: string): Lock {
  const lost = new AbortController();
  const sign = setInterval(() => {
    locks
      .updateOne({ _id: name, token }, [{ $set: { expires_at: { $add: ["$$NOW", lifetimeMs] } } }])
      .then(({ matchedCount }) => {
        if (matchedCount === 0) {
          lost.abort(new HeapdumpError("watch/locked", `${name}: another run took the lock over`));
        }
      })
      // The server may be away for a moment; what the run does next meets the failure itself.
      .catch(() => undefined);
  }, signEveryMs);
  sign.unref();
  return {
    lost: lost.signal,
    release: async () => {
      clearInterval(sign);
      await locks.deleteOne({ _id: name, token });
    },
  };
}

function lockedBy(name: string, { host, pid, since }: LockDocument): HeapdumpError {
  return new HeapdumpError(
    "watch/locked",
    `${name}: process ${pid} on ${host} is at it since ${since.toISOString()}`,
  );
}
