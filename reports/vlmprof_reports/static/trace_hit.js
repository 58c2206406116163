// Which slice is at a place, and which are before, after, above and below it.

import { firstRow } from "./trace_blocks.js";

const REACH_PIXELS = 2.5;

export class SliceFinder {
  constructor(drawer) {
    this.drawer = drawer;
    this.trace = drawer.trace;
  }

  // The slice of a lane at a time, or next to it within a few pixels; null where there is none.
  at(track, lane, time, nsPerPixel) {
    const reach = REACH_PIXELS * nsPerPixel;
    const level = this.drawer.level(track, time - reach, time + reach, nsPerPixel);
    if (track.kind === "stacks") return this.frameAt(track, lane, time, level);
    let best = null;
    let nearest = Infinity;
    for (const block of this.drawer.blocks(track, level, time - reach, time + reach)) {
      const length = (i) => (block.covered ? block.width : block.length[i]);
      for (let i = firstRow(block, time - reach - block.longest); i < block.rows; i++) {
        if (block.start[i] > time + reach) break;
        if (block.lane[i] !== lane) continue;
        const away = Math.max(block.start[i] - time, time - block.start[i] - length(i), 0);
        // Exact slices come before bins of the same place.
        const cost = away + (block.covered ? reach : 0);
        if (away > reach || cost > nearest) continue;
        nearest = cost;
        best = sliceOf(track, block, i);
      }
    }
    return best;
  }

  // The slice of a lane that starts at a time, whatever the zoom; null where there is none.
  async exact(track, lane, start) {
    const { store } = this.drawer;
    for (const sequence of track.exactSequences()) {
      const [first, last] = track.blocksIn(sequence, start, start + 1);
      for (let index = first; index < last; index++) {
        const block = await store.load(track, sequence, index);
        for (let i = firstRow(block, start); i < block.rows && block.start[i] < start + 1; i++)
          if (block.lane?.[i] === lane) return sliceOf(track, block, i);
      }
    }
    return track.kind === "stacks" ? this.frameAt(track, lane, start, -1) : null;
  }

  frameAt(track, lane, time, level) {
    const runs = [...this.drawer.blocks(track, level, time, time)].flatMap((block) => {
      const i = firstRow(block, time + 1e-9) - 1;
      return i >= 0 && block.start[i] + block.length[i] > time ? [[block, i]] : [];
    });
    if (!runs.length) return null;
    const [block, i] = runs[0];
    const node = this.ancestor(track, block.node[i], lane);
    return node === null ? null : this.frame(track, lane, node, block, i);
  }

  ancestor(track, node, lane) {
    const { model } = this.trace;
    if (track.lanes === 0 || lane < 0) return node;
    const depth = model.depth[track.root] + 1 + lane;
    if (model.depth[node] < depth) return null;
    while (model.depth[node] > depth) node = model.parent[node];
    return node;
  }

  // A frame is as long as its neighbours' stacks go through it, within the block.
  frame(track, lane, node, block, i) {
    const goesOn = (a, b) =>
      block.start[b] <= block.start[a] + block.length[a] + 1 &&
      this.ancestor(track, block.node[b], lane) === node &&
      this.ancestor(track, block.node[a], lane) === node;
    let [first, last] = [i, i];
    while (first > 0 && goesOn(first - 1, first)) first--;
    while (last + 1 < block.rows && goesOn(last, last + 1)) last++;
    const start = block.start[first];
    return { track, lane, node, start, length: block.start[last] + block.length[last] - start };
  }
}

export function sliceOf(track, block, i) {
  const slice = { track, lane: block.lane[i], name: block.name[i], start: block.start[i] };
  if (block.covered)
    return { ...slice, length: block.width, count: block.count[i], busy: (block.covered[i] / 255) * block.width };
  slice.length = block.length[i];
  for (const column of ["requestSet", "origin", "launch", "bytes"])
    if (block[column]) slice[column] = block[column][i];
  return slice;
}
