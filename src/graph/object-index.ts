/** Finds the node of an id. Typed arrays: 12 to 24 bytes an object. */
export type ObjectIndex = {
  /** Adds the id of the next node. Gives that node, or -1 when an earlier one has the id. */
  add(id: number | string | bigint): number;
  /** The id's node, or -1. */
  nodeOf(id: number | string | bigint): number;
  readonly count: number;
  /** The ids in node order; NaN: see `other`. Not a copy: add nothing afterwards. */
  integers(): Float64Array;
  readonly other: ReadonlyMap<number, string | bigint>;
};

/** Room for the ids of an ordinary dump, made at once: pages never written take no memory. Unit: objects. */
const idsReserved = 1 << 23;

/** Open addressing, at most two thirds full. */
export function createObjectIndex(): ObjectIndex {
  let mask = (1 << 16) - 1;
  let slots = new Int32Array(mask + 1).fill(-1);
  let ids = new Float64Array(1 << 15);
  let count = 0;
  const other = new Map<number, string | bigint>();
  const otherNodes = new Map<string | bigint, number>();

  function grow(): void {
    mask = mask * 2 + 1;
    slots = new Int32Array(mask + 1).fill(-1);
    for (let node = 0; node < count; node++) {
      const id = ids[node] as number;
      if (Number.isNaN(id)) continue;
      let slot = hashOf(id) & mask;
      while (slots[slot] !== -1) slot = (slot + 1) & mask;
      slots[slot] = node;
    }
  }

  function append(id: number): number {
    if (count === ids.length) {
      const bigger = new Float64Array(Math.max(count * 2, idsReserved));
      bigger.set(ids);
      ids = bigger;
    }
    ids[count] = id;
    return count++;
  }

  function add(id: number | string | bigint): number {
    if (typeof id !== "number") {
      if (otherNodes.has(id)) return -1;
      other.set(count, id);
      otherNodes.set(id, count);
      return append(NaN);
    }
    if (count * 3 > mask * 2) grow();
    let slot = hashOf(id) & mask;
    for (; ; slot = (slot + 1) & mask) {
      const node = slots[slot] as number;
      if (node === -1) break;
      if (ids[node] === id) return -1;
    }
    slots[slot] = count;
    return append(id);
  }

  function nodeOf(id: number | string | bigint): number {
    if (typeof id !== "number") return otherNodes.get(id) ?? -1;
    for (let slot = hashOf(id) & mask; ; slot = (slot + 1) & mask) {
      const node = slots[slot] as number;
      if (node === -1 || ids[node] === id) return node;
    }
  }

  return {
    add,
    nodeOf,
    get count() {
      return count;
    },
    integers: () => ids.subarray(0, count),
    other,
  };
}

/** Mixes both halves of a safe integer: addresses differ in their middle bits only. @see MurmurHash3's finaliser */
function hashOf(id: number): number {
  const high = Math.floor(id / 0x1_0000_0000);
  let hash = (id - high * 0x1_0000_0000) | 0;
  hash = Math.imul(hash ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
