import type { DominatorTree } from "./dominators.js";

/** What would be freed with each node, itself included. */
export type RetainedSizes = {
  readonly retainedSize: Float64Array;
  readonly retainedCount: Uint32Array;
};

/** Sums sizes up the dominator tree. A node that is not reached retains itself. */
export function retainedSizesOf(tree: DominatorTree, shallowSize: Float64Array): RetainedSizes {
  const retainedSize = shallowSize.slice();
  const retainedCount = new Uint32Array(shallowSize.length).fill(1);
  // A dominator has a smaller position: from the last one up, each sum is whole before it is passed on.
  for (let position = tree.reached; position > 0; position--) {
    const above = tree.dominatorAt[position] as number;
    if (above === 0) continue;
    const node = tree.nodeAt[position] as number;
    const dominator = tree.nodeAt[above] as number;
    retainedSize[dominator] = (retainedSize[dominator] as number) + (retainedSize[node] as number);
    retainedCount[dominator] =
      (retainedCount[dominator] as number) + (retainedCount[node] as number);
  }
  return { retainedSize, retainedCount };
}
