/** A set of small whole numbers, one bit each, that grows. */
export type Bitset = {
  add(index: number): void;
  remove(index: number): void;
  has(index: number): boolean;
};

export function createBitset(): Bitset {
  let words = new Uint32Array(1 << 12);
  return {
    add: (index) => {
      const word = index >>> 5;
      if (word >= words.length) {
        const bigger = new Uint32Array(Math.max(words.length * 2, word + 1));
        bigger.set(words);
        words = bigger;
      }
      words[word] = (words[word] as number) | (1 << (index & 31));
    },
    remove: (index) => {
      const word = index >>> 5;
      if (word < words.length) words[word] = (words[word] as number) & ~(1 << (index & 31));
    },
    has: (index) => {
      const word = index >>> 5;
      return word < words.length && (((words[word] as number) >>> (index & 31)) & 1) === 1;
    },
  };
}
