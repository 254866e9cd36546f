import type { RepeatedText } from "../../schemas/heap-graph.js";

/** Texts that are told: of the others nobody asks. */
const repeatedMax = 5_000;

/** Counts strings of one text, by its hash. */
export type TextTally = {
  add(hash: number, node: number, sizeBytes: number): void;
  /** Texts met several times, the most wasteful first; undefined: no text was met. */
  repeated(): RepeatedText[] | undefined;
};

/**
 * Open addressing, at most two thirds full; 12 bytes a slot, and 16 more for a text that several strings have. Most have
 * one: all that is known of it stands in its slot, as each step to another place is a wait for memory.
 *
 * @param sizeOf - shallow size of an earlier string. Unit: bytes
 */
export function createTextTally(sizeOf: (node: number) => number): TextTally {
  let mask = (1 << 16) - 1;
  let hashes = new Float64Array(mask + 1);
  /** 0: free; below: the only string so far, as -1 - node; above: the text among those of several strings, from 1. */
  let links = new Int32Array(mask + 1);
  let textCount = 0;
  let repeatedCount = 0;
  let counts = new Uint32Array(1 << 12);
  let bytes = new Float64Array(1 << 12);
  let samples = new Int32Array(1 << 12);

  const slotOf = (hash: number): number => {
    let slot = ((hash / 0x20_0000) | 0) & mask;
    while (links[slot] !== 0 && hashes[slot] !== hash) slot = (slot + 1) & mask;
    return slot;
  };

  function grow(): void {
    const old = { hashes, links };
    mask = mask * 2 + 1;
    hashes = new Float64Array(mask + 1);
    links = new Int32Array(mask + 1);
    for (let from = 0; from < old.links.length; from++) {
      const link = old.links[from] as number;
      if (link === 0) continue;
      const hash = old.hashes[from] as number;
      const slot = slotOf(hash);
      hashes[slot] = hash;
      links[slot] = link;
    }
  }

  /** A second string of the text of one. */
  function repeat(first: number): number {
    if (repeatedCount === samples.length) {
      const old = { counts, bytes, samples };
      counts = new Uint32Array(repeatedCount * 2);
      bytes = new Float64Array(repeatedCount * 2);
      samples = new Int32Array(repeatedCount * 2);
      counts.set(old.counts);
      bytes.set(old.bytes);
      samples.set(old.samples);
    }
    counts[repeatedCount] = 1;
    bytes[repeatedCount] = sizeOf(first);
    samples[repeatedCount] = first;
    return repeatedCount++;
  }

  return {
    add: (hash, node, sizeBytes) => {
      const slot = slotOf(hash);
      const link = links[slot] as number;
      if (link === 0) {
        hashes[slot] = hash;
        links[slot] = -1 - node;
        if (++textCount * 3 > mask * 2) grow();
        return;
      }
      const text = link > 0 ? link - 1 : repeat(-1 - link);
      links[slot] = text + 1;
      counts[text] = (counts[text] as number) + 1;
      bytes[text] = (bytes[text] as number) + sizeBytes;
    },
    repeated: () => {
      if (textCount === 0) return undefined;
      const rows: RepeatedText[] = [];
      for (let text = 0; text < repeatedCount; text++) {
        const count = counts[text] as number;
        const all = bytes[text] as number;
        const wasted = Math.floor(all - all / count);
        rows.push({ count, bytes: all, wasted, sample: samples[text] as number });
      }
      rows.sort(
        (one, two) => two.wasted - one.wasted || two.count - one.count || one.sample - two.sample,
      );
      return rows.slice(0, repeatedMax);
    },
  };
}
