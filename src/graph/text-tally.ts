import type { RepeatedText } from "../../schemas/heap-graph.js";

/** Texts that are told: of the others nobody asks. */
const repeatedMax = 5_000;

/** Counts strings of one text, by its hash. */
export type TextTally = {
  add(hash: number, node: number, sizeBytes: number): void;
  /** Texts met several times, the most wasteful first; undefined: no text was met. */
  repeated(): RepeatedText[] | undefined;
};

/** Open addressing, at most half full; 24 bytes a text and 8 to 16 for its slot. */
export function createTextTally(): TextTally {
  let mask = (1 << 12) - 1;
  let slots = new Int32Array(mask + 1).fill(-1);
  let hashes = new Float64Array(1 << 11);
  let counts = new Uint32Array(1 << 11);
  let bytes = new Float64Array(1 << 11);
  let samples = new Int32Array(1 << 11);
  let textCount = 0;

  const slotOf = (hash: number): number => {
    let slot = ((hash / 0x20_0000) | 0) & mask;
    for (;;) {
      const text = slots[slot] as number;
      if (text === -1 || hashes[text] === hash) return slot;
      slot = (slot + 1) & mask;
    }
  };

  function grow(): void {
    mask = mask * 2 + 1;
    slots = new Int32Array(mask + 1).fill(-1);
    const old = { hashes, counts, bytes, samples };
    hashes = new Float64Array(textCount * 2);
    counts = new Uint32Array(textCount * 2);
    bytes = new Float64Array(textCount * 2);
    samples = new Int32Array(textCount * 2);
    hashes.set(old.hashes);
    counts.set(old.counts);
    bytes.set(old.bytes);
    samples.set(old.samples);
    for (let text = 0; text < textCount; text++) slots[slotOf(hashes[text] as number)] = text;
  }

  return {
    add: (hash, node, sizeBytes) => {
      const slot = slotOf(hash);
      let text = slots[slot] as number;
      if (text === -1) {
        text = textCount++;
        slots[slot] = text;
        hashes[text] = hash;
        samples[text] = node;
      }
      counts[text] = (counts[text] as number) + 1;
      bytes[text] = (bytes[text] as number) + sizeBytes;
      if (textCount === hashes.length) grow();
    },
    repeated: () => {
      if (textCount === 0) return undefined;
      const rows: RepeatedText[] = [];
      for (let text = 0; text < textCount; text++) {
        const count = counts[text] as number;
        if (count < 2) continue;
        const all = bytes[text] as number;
        const wasted = Math.floor(all - all / count);
        rows.push({ count, bytes: all, wasted, sample: samples[text] as number });
      }
      rows.sort((one, two) => two.wasted - one.wasted || two.count - one.count);
      return rows.slice(0, repeatedMax);
    },
  };
}
