// Finds names in the whole timeline: which names match, how often, and the next or the previous occurrence.

import { sliceOf } from "./trace_hit.js";
import { shortPath } from "./format.js";

export class TraceSearch {
  constructor(view) {
    this.view = view;
    this.trace = view.trace;
  }

  // The names that hold a text; null where there is nothing to look for. `exact` wants the whole name.
  find(text, { exact = false, file = "" } = {}) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return null;
    const fits = (name) => (exact ? name.toLowerCase() === wanted : name.toLowerCase().includes(wanted));
    const { names, model } = this.trace;
    const numbers = (list, test) => new Set(list.flatMap((name, number) => (test(name, number) ? [number] : [])));
    const inFile = (number) => shortPath(model.files[number]).toLowerCase();
    return {
      names: exact && file ? new Set() : numbers(names, fits),
      functions: numbers(model.names, (name, number) =>
        exact
          ? fits(name) && (!file || model.files[number].endsWith(file))
          : fits(name) || inFile(number).includes(wanted),
      ),
      nodes: null,
    };
  }

  // Per node of the tree the outermost matching frame on its path, or -1.
  matchedNodes(found) {
    const { model } = this.trace;
    found.nodes ??= model.parent.reduce((outermost, parent, node) => {
      outermost[node] = parent >= 0 && outermost[parent] >= 0 ? outermost[parent] : -1;
      if (outermost[node] < 0 && node && found.functions.has(model.name[node])) outermost[node] = node;
      return outermost;
    }, new Int32Array(model.count));
    return found.nodes;
  }

  // The occurrence next to a slice's start in a direction, or null; looks through as few blocks as it can.
  async next(found, after, forward, accept = () => true) {
    const here = after ?? { start: forward ? -Infinity : Infinity, order: -1 };
    let best = null;
    for (const { track, sequence, index, start, end } of this.blocksInOrder(found, here, forward)) {
      if (best && (forward ? start > best.start : end < best.start)) break;
      const block = await this.view.store.read(track, sequence, index);
      const fits = (slice) => isBeyond(slice, here, forward) && accept(slice);
      for (const slice of this.matches(track, block, found, fits, forward))
        if (!best || isBeyond(best, slice, forward)) best = slice;
    }
    return best;
  }

  blocksInOrder(found, here, forward) {
    const blocks = [];
    for (const track of this.trace.tracks) {
      const used = track.kind === "stacks" ? found.functions : found.names;
      if (!used.size || (found.kinds && !found.kinds.includes(track.kind))) continue;
      for (const sequence of track.exactSequences())
        sequence.block.forEach((_, index) => {
          const [start, end] = [sequence.start[index] * track.unit_ns, sequence.end[index] * track.unit_ns];
          if (forward ? end >= here.start : start <= here.start) blocks.push({ track, sequence, index, start, end });
        });
    }
    return blocks.sort((a, b) => (forward ? a.start - b.start : b.end - a.end));
  }

  *matches(track, block, found, fits, forward) {
    if (track.kind === "stacks") {
      for (const slice of this.matchedRuns(track, block, found)) if (fits(slice)) yield slice;
      return;
    }
    let nearest = null;
    for (let n = 0; n < block.rows; n++) {
      const i = forward ? n : block.rows - 1 - n;
      if (!found.names.has(block.name[i])) continue;
      const slice = sliceOf(track, block, i);
      if (!fits(slice)) continue;
      yield slice;
      nearest ??= slice.start;
      // Rows are in order of start: what follows lies further away, but for those of the same start.
      if (slice.start !== nearest) return;
    }
  }

  // Runs of samples below the same outermost matching frame, as one slice.
  *matchedRuns(track, block, found) {
    const outermost = this.matchedNodes(found);
    const { depth } = this.trace.model;
    let open = null;
    for (let i = 0; i < block.rows; i++) {
      const node = outermost[block.node[i]];
      const end = block.start[i] + block.length[i];
      if (open && open.node === node && block.start[i] <= open.end + 1) {
        open.length = end - open.start;
        open.end = end;
        continue;
      }
      if (open) yield open;
      const lane = node < 0 ? 0 : depth[node] - depth[track.root] - 1;
      open = node < 0 ? null : { track, lane, node, start: block.start[i], length: end - block.start[i], end };
    }
    if (open) yield open;
  }
}

// Order of occurrences: by start, then track, then lane.
function isBeyond(a, b, forward) {
  const order =
    a.start - b.start ||
    a.track.number - (b.track?.number ?? -1) ||
    a.lane - (b.lane ?? 0);
  return forward ? order > 0 : order < 0;
}
