import type { ObjectFields, ObjectId } from "./sorted-objects.js";

/** Objects of one class made at one place. */
export type ObjectGroup = {
  readonly className: string;
  /** `file:line`; empty: the dump does not say. */
  readonly site: string;
  count: number;
  bytes: number;
  /** Some of them, evenly spread over the address space. */
  readonly sample: ObjectId[];
};

/** Ids remembered of a group: enough to see who holds them, little enough to look each up. */
const sampleMax = 2_000;

/** Counts objects by class and allocation site. Memory grows with classes and sites, not with objects. */
export class ObjectGroups {
  readonly #groups = new Map<string, ObjectGroup & { stride: number }>();

  add(id: ObjectId, { type, className, file, line, memsize }: ObjectFields): void {
    const name = className === "" ? `(${type})` : className;
    const site = file === "" ? "" : `${file}:${line}`;
    const key = `${name}\0${site}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { className: name, site, count: 0, bytes: 0, sample: [], stride: 1 };
      this.#groups.set(key, group);
    }
    if (group.count % group.stride === 0) {
      group.sample.push(id);
      if (group.sample.length > sampleMax) {
        const half = group.sample.filter((_, index) => index % 2 === 0);
        group.sample.splice(0, group.sample.length, ...half);
        group.stride *= 2;
      }
    }
    group.count++;
    group.bytes += memsize;
  }

  /** The most bytes first, then the most objects. */
  largestFirst(): ObjectGroup[] {
    return [...this.#groups.values()].sort(
      (one, two) =>
        two.bytes - one.bytes ||
        two.count - one.count ||
        compareText(one.className, two.className) ||
        compareText(one.site, two.site),
    );
  }
}

function compareText(one: string, two: string): number {
  return one < two ? -1 : one > two ? 1 : 0;
}
