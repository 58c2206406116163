// What of a track is drawn in a window: slices and bins at the zoom's level, stacks as the frames they share.

import { firstRow } from "./trace_blocks.js";
import { blend } from "./trace_colour.js";

const FULL = 255;
const FADED = 0.3;
const AHEAD = 0.5;

export class TrackDrawer {
  constructor(trace, store, colours) {
    Object.assign(this, { trace, store, colours });
    this.found = null;
  }

  // The level to draw: the zoom's own, or while its blocks are being unpacked a coarser one that is there.
  level(track, from, to, nsPerPixel) {
    const wanted = track.levelFor(nsPerPixel);
    if (this.isReady(track, wanted, from, to)) return wanted;
    const coarser = track.levels.filter((level) => level > wanted).sort((a, b) => a - b);
    return coarser.find((level) => this.isReady(track, level, from, to, false)) ?? wanted;
  }

  // Whether every block of a window is there; those that are not, and their neighbours, are asked for.
  isReady(track, level, from, to, ask = true) {
    const margin = (to - from) * AHEAD;
    let ready = true;
    for (const sequence of track.sequencesAt(level)) {
      const [first, last] = track.blocksIn(sequence, from, to);
      for (let index = first; index < last; index++)
        if (ask ? !this.store.get(track, sequence, index) : !this.store.blocks.has(sequence.block[index]))
          ready = false;
      if (!ask || !ready) continue;
      const [before, after] = track.blocksIn(sequence, from - margin, to + margin);
      for (let index = before; index < after; index++) this.store.get(track, sequence, index, true);
    }
    return ready;
  }

  *blocks(track, level, from, to) {
    for (const sequence of track.sequencesAt(level)) {
      const [first, last] = track.blocksIn(sequence, from, to);
      for (let index = first; index < last; index++) {
        const block = this.store.get(track, sequence, index);
        if (block) yield block;
      }
    }
  }

  draw(painter, row, from, to, nsPerPixel) {
    const { track } = row;
    const level = this.level(track, from, to, nsPerPixel);
    painter.beginTrack(row.top - row.scrolled, row.laneHeight, row.lanes);
    for (const block of this.blocks(track, level, from, to)) {
      if (track.kind === "stacks") this.drawRuns(painter, row, block, from, to);
      else if (block.covered) this.drawBins(painter, row, block, from, to);
      else this.drawSlices(painter, row, block, from, to);
    }
    painter.endTrack();
  }

  drawSlices(painter, { track, folded }, block, from, to) {
    for (let i = firstRow(block, from - block.longest); i < block.rows && block.start[i] <= to; i++) {
      const lane = block.lane[i];
      if (folded && lane) continue;
      const name = block.name[i];
      painter.slice(lane, block.start[i], block.length[i], this.nameColour(track, name));
      if (painter.isWide(block.length[i]))
        painter.label(lane, this.trace.names[name], block.start[i], block.length[i]);
    }
  }

  drawBins(painter, { track, folded }, block, from, to) {
    for (let i = firstRow(block, from - block.width); i < block.rows && block.start[i] <= to; i++) {
      if (folded && block.lane[i]) continue;
      const colour = this.nameColour(track, block.name[i]);
      painter.slice(block.lane[i], block.start[i], block.width, colour, block.covered[i] / FULL);
    }
  }

  nameColour(track, name) {
    const colour = this.colours.ofName(track, name);
    if (!this.found) return colour;
    return this.found.names.has(name) ? this.colours.match : blend(colour, this.colours.ground, FADED);
  }

  nodeColour(node) {
    const colour = this.colours.ofNode(node);
    if (!this.found) return colour;
    const name = this.trace.model.name[node];
    return this.found.functions.has(name) ? this.colours.match : blend(colour, this.colours.ground, FADED);
  }

  // Frames that neighbouring runs share are drawn as one, from where the first of them begins.
  drawRuns(painter, row, block, from, to) {
    const frames = new OpenFrames(this, painter, row);
    const nearly = 1 / painter.perNs;
    let end = -Infinity;
    for (let i = Math.max(0, firstRow(block, from) - 1); i < block.rows && block.start[i] <= to; i++) {
      if (block.start[i] - end > nearly) frames.close(0, end);
      frames.show(block.node[i], block.start[i], end);
      end = block.start[i] + block.length[i];
    }
    frames.close(0, end);
  }
}

// The frames below a track's root that are open, outermost first.
class OpenFrames {
  constructor(drawer, painter, row) {
    Object.assign(this, { drawer, painter, row });
    this.model = drawer.trace.model;
    this.outer = this.model.depth[row.track.root];
    this.nodes = [];
    this.starts = [];
    this.path = [];
  }

  // Opens the frames of a stack that begins at `start`; those that differ from it ended at `end`.
  show(node, start, end) {
    const { model, path } = this;
    let depth = model.depth[node] - this.outer;
    if (this.row.folded || this.row.track.lanes === 0) {
      path[0] = node;
      depth = 1;
    } else for (let at = depth - 1, each = node; at >= 0; at--, each = model.parent[each]) path[at] = each;
    let shared = 0;
    while (shared < depth && shared < this.nodes.length && this.nodes[shared] === path[shared]) shared++;
    this.close(shared, end);
    for (let at = shared; at < depth; at++) {
      this.nodes[at] = path[at];
      this.starts[at] = start;
    }
    this.nodes.length = depth;
  }

  close(shared, end) {
    for (let lane = this.nodes.length - 1; lane >= shared; lane--) {
      const [node, start] = [this.nodes[lane], this.starts[lane]];
      this.painter.slice(lane, start, end - start, this.drawer.nodeColour(node));
      if (this.painter.isWide(end - start)) this.painter.label(lane, this.model.title(node), start, end - start);
    }
    this.nodes.length = Math.min(this.nodes.length, shared);
  }
}
