import { wordsOf, wordsStandAt, type Words } from "../word-bytes.js";

/**
 * A key of a record's top level, behind the keys before it: records of one kind have the same keys in the same order, so
 * that a whole dump has a few hundred of these. One comparison of bytes then stands for reading the key, looking it up
 * and seeing that it is no second one of its name.
 */
export type KeyStep = {
  /** The bytes between the value before and this one: separator, key, colon, blanks. */
  readonly text: Words;
  /** The first four of them, which most others differ in. */
  readonly probe: number;
  /** The key and a NUL. */
  readonly name: Words;
  /** FNV-1a, 32 bits. */
  readonly hash: number;
  /** What the reader knows the key by; -1: none of its own. */
  readonly code: number;
  readonly before: KeyStep | undefined;
  /** What has followed, the usual one first. */
  readonly next: KeyStep[];
};

/** Keys met so far, from the record's opening brace on. */
export type KnownKeys = { readonly start: KeyStep; count: number };

/** Steps kept for one reader: beyond, a dump has no shapes and nothing is gained. */
const stepsMax = 4096;
const none = wordsOf(new Uint8Array(0));

export function createKnownKeys(): KnownKeys {
  const start: KeyStep = {
    text: none,
    probe: 0,
    name: none,
    hash: 0,
    code: -1,
    before: undefined,
    next: [],
  };
  return { start, count: 0 };
}

/** The step behind `step` whose text stands at `at`. */
export function knownStep(
  step: KeyStep,
  view: DataView,
  at: number,
  end: number,
): KeyStep | undefined {
  const { next } = step;
  if (at + 4 > end) return undefined;
  const probe = view.getInt32(at, true);
  for (let index = 0; index < next.length; index++) {
    const candidate = next[index] as KeyStep;
    if (candidate.probe !== probe) continue;
    if (!wordsStandAt(candidate.text, view, at, end)) continue;
    if (index > 0) {
      next[index] = next[index - 1] as KeyStep;
      next[index - 1] = candidate;
    }
    return candidate;
  }
  return undefined;
}

/**
 * Keeps a key that was read the long way.
 *
 * @param from - behind the value before
 * @param keyFrom - behind the key's opening quote
 * @param to - where the value begins
 * @returns the key's step, which is not found again when there are too many
 */
export function keepStep(
  known: KnownKeys,
  before: KeyStep,
  bytes: Uint8Array,
  places: { from: number; keyFrom: number; keyTo: number; to: number },
  code: number,
): KeyStep {
  const { from, keyFrom, keyTo, to } = places;
  const name = new Uint8Array(keyTo - keyFrom + 1);
  name.set(bytes.subarray(keyFrom, keyTo));
  const text = wordsOf(bytes.subarray(from, to));
  const step: KeyStep = {
    text,
    probe: text.first,
    name: wordsOf(name),
    hash: hashOfKey(bytes, keyFrom, keyTo),
    code,
    before,
    next: [],
  };
  if (known.count < stepsMax && text.length >= 4) {
    known.count++;
    before.next.push(step);
  }
  return step;
}

/** Whether no key up to `step` has this hash. */
export function isNewIn(step: KeyStep, hash: number): boolean {
  for (let one: KeyStep | undefined = step; one !== undefined; one = one.before) {
    if (one.hash === hash) return false;
  }
  return true;
}

export function hashOfKey(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
  return hash;
}
