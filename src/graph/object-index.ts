/** Finds the node of an id. Typed arrays: 13 to 24 bytes an object. */
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
/** A page of addresses. Unit: bytes, or whatever ids count. */
const pageSpan = 1 << 16;
/** Pages may have so many places an object, and this many to begin with: ids far apart are not worth a page. */
const placesPerObjectMax = 4;
const placesFree = 1 << 18;
/** Ids after which it is known how close they are to one another. */
const sampleSize = 1024;

/**
 * An id's place is told by its page and where in the page it lies: a heap's objects lie side by side, and refer to
 * neighbours, so that what is looked up next is in the processor's cache already. A hash of ids would scatter them.
 *
 * Ids in no page, and the second one of a place, are in a hash.
 */
export function createObjectIndex(): ObjectIndex {
  let ids = new Float64Array(1 << 15);
  let count = 0;
  const other = new Map<number, string | bigint>();
  const otherNodes = new Map<string | bigint, number>();
  const scattered = createScattered((node) => ids[node] as number);
  let pages: Pages | undefined;

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
    if (pages === undefined && count >= sampleSize) pages = createPages(ids.subarray(0, count));
    const place = pages === undefined ? -1 : pages.placeFor(id, count);
    if (place >= 0) {
      const { places } = pages as Pages;
      const node = places[place] as number;
      if (node < 0) {
        if (scattered.count > 0 && scattered.nodeOf(id) >= 0) return -1;
        places[place] = count;
        return append(id);
      }
      if (ids[node] === id) return -1;
    }
    if (scattered.nodeOf(id) >= 0) return -1;
    const node = append(id);
    scattered.add(node);
    return node;
  }

  function nodeOf(id: number | string | bigint): number {
    if (typeof id !== "number") return otherNodes.get(id) ?? -1;
    const place = pages === undefined ? -1 : pages.placeOf(id);
    if (place >= 0) {
      const node = (pages as Pages).places[place] as number;
      if (node >= 0 && ids[node] === id) return node;
    }
    return scattered.count === 0 ? -1 : scattered.nodeOf(id);
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

type Pages = {
  /** The id's place, or -1: its page is none of ours. */
  placeOf(id: number): number;
  /** The same; the page is made, if there is room for it. */
  placeFor(id: number, objectCount: number): number;
  /** Node of each place; -1: none. */
  readonly places: Int32Array;
};

/** @param sample - ids, to tell how close they are to one another: few are to share a place */
function createPages(sample: Float64Array): Pages {
  const shift = Math.min(6, Math.floor(Math.log2(usualGap(sample))));
  const placesOfPage = pageSpan >>> shift;
  let places = new Int32Array(0);
  let used = 0;
  /** Open addressing, at most half full: the page's number, and its first place. */
  let numbers = new Float64Array(1 << 12).fill(-1);
  let firsts = new Int32Array(1 << 12);
  let pageCount = 0;
  let lastNumber = -1;
  let lastFirst = -1;

  function slotOf(number: number): number {
    const mask = numbers.length - 1;
    const hash = Math.imul(number | 0, 0x9e3779b1);
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (numbers[slot] !== number && numbers[slot] !== -1) slot = (slot + 1) & mask;
    return slot;
  }

  /** Makes the page that was looked for last. */
  function make(): void {
    if ((pageCount + 1) * 2 > numbers.length) {
      const [oldNumbers, oldFirsts] = [numbers, firsts];
      numbers = new Float64Array(oldNumbers.length * 2).fill(-1);
      firsts = new Int32Array(numbers.length);
      for (const [old, page] of oldNumbers.entries()) {
        if (page === -1) continue;
        const slot = slotOf(page);
        numbers[slot] = page;
        firsts[slot] = oldFirsts[old] as number;
      }
    }
    if (used + placesOfPage > places.length) {
      const bigger = new Int32Array(Math.max(places.length * 2, placesFree));
      bigger.set(places);
      places = bigger;
    }
    places.fill(-1, used, used + placesOfPage);
    const slot = slotOf(lastNumber);
    numbers[slot] = lastNumber;
    firsts[slot] = lastFirst = used;
    used += placesOfPage;
    pageCount++;
  }

  /** Remembers where the id's page begins. */
  function find(number: number): void {
    const slot = slotOf(number);
    lastNumber = number;
    lastFirst = numbers[slot] === -1 ? -1 : (firsts[slot] as number);
  }

  function placeOf(id: number): number {
    const number = Math.floor(id / pageSpan);
    if (number !== lastNumber) find(number);
    return lastFirst < 0 ? -1 : lastFirst + ((id - number * pageSpan) >>> shift);
  }

  function placeFor(id: number, objectCount: number): number {
    const place = placeOf(id);
    if (place >= 0 || id < 0 || used + placesOfPage > placesFree + objectCount * placesPerObjectMax)
      return place;
    make();
    return placeOf(id);
  }

  return {
    placeOf,
    placeFor,
    get places() {
      return places;
    },
  };
}

/** What nine of ten ids are apart from the next one at least; 1 or more. */
function usualGap(ids: Float64Array): number {
  const sorted = ids.filter((id) => id === id).sort();
  const gaps = sorted.subarray(1).map((id, index) => id - (sorted[index] as number));
  return Math.max(1, gaps.sort()[Math.floor(gaps.length / 10)] ?? 1);
}

/** Nodes by the hash of their ids. */
type Scattered = {
  add(node: number): void;
  nodeOf(id: number): number;
  readonly count: number;
};

/** Open addressing, at most two thirds full. */
function createScattered(idOf: (node: number) => number): Scattered {
  let mask = (1 << 12) - 1;
  let slots = new Int32Array(mask + 1).fill(-1);
  let count = 0;

  function insert(node: number): void {
    let slot = hashOf(idOf(node)) & mask;
    while (slots[slot] !== -1) slot = (slot + 1) & mask;
    slots[slot] = node;
  }

  return {
    add: (node) => {
      if (++count * 3 > mask * 2) {
        const old = slots;
        mask = mask * 2 + 1;
        slots = new Int32Array(mask + 1).fill(-1);
        for (const one of old) if (one !== -1) insert(one);
      }
      insert(node);
    },
    nodeOf: (id) => {
      for (let slot = hashOf(id) & mask; ; slot = (slot + 1) & mask) {
        const node = slots[slot] as number;
        if (node === -1 || idOf(node) === id) return node;
      }
    },
    get count() {
      return count;
    },
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
