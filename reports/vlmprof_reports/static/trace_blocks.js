// Blocks of the timeline as columns in nanoseconds since its origin, kept while they are in use.

import { ColumnReader } from "./archive.js";

const KEPT_BLOCKS = 500;
const AT_A_TIME = 2;
const STALE_FRAMES = 2;

export class BlockStore {
  constructor(archive, onload) {
    this.archive = archive;
    this.onload = onload;
    this.blocks = new Map();
    this.wanted = new Map();
    this.reading = new Set();
    this.frame = 0;
  }

  // A new frame: blocks that the one before did not use may be dropped.
  nextFrame() {
    this.frame++;
    if (this.blocks.size <= KEPT_BLOCKS) return;
    for (const [number, block] of this.blocks) {
      if (block.used < this.frame - 1) this.blocks.delete(number);
      if (this.blocks.size <= KEPT_BLOCKS) return;
    }
  }

  // The block, or null while it is not there; `onload` is called when it is. `ahead`: not in view yet.
  get(track, sequence, index, ahead = false) {
    const number = sequence.block[index];
    const block = this.blocks.get(number);
    if (block) {
      block.used = this.frame;
      return block;
    }
    if (this.reading.has(number)) return null;
    this.wanted.set(number, { track, sequence, index, rank: this.frame - (ahead ? 0.5 : 0) });
    this.readNext();
    return null;
  }

  // Blocks one after the other, the latest wanted first, so that no frame waits for all of them. What was wanted
  // some frames ago and is no longer is out of view.
  async readNext() {
    if (this.reading.size >= AT_A_TIME || !this.wanted.size) return;
    let latest = null;
    for (const [number, each] of this.wanted) {
      if (each.rank < this.frame - STALE_FRAMES) this.wanted.delete(number);
      else if (!latest || each.rank > latest.rank) latest = each;
    }
    if (!latest) return;
    const { track, sequence, index } = latest;
    const number = sequence.block[index];
    this.wanted.delete(number);
    this.reading.add(number);
    await this.load(track, sequence, index);
    this.reading.delete(number);
    this.onload();
    setTimeout(() => this.readNext());
  }

  // Unpacks a block and keeps it.
  async load(track, sequence, index) {
    const block = await this.read(track, sequence, index);
    block.used = this.frame;
    this.blocks.set(sequence.block[index], block);
    return block;
  }

  // Unpacks a block for one look at it.
  async read(track, sequence, index) {
    const number = sequence.block[index];
    if (this.blocks.has(number)) return this.blocks.get(number);
    const reader = new ColumnReader(await this.archive.unpack(number), sequence.rows[index]);
    return decode(reader, track, sequence, index);
  }
}

function decode(reader, track, sequence, index) {
  if (sequence.bins) return decodeBins(reader, track, sequence, index);
  if (track.kind === "stacks") return decodeRuns(reader, track, sequence, index);
  return decodeSlices(reader, track, sequence, index);
}

function decodeSlices(reader, track, sequence, index) {
  const first = sequence.start[index] * track.unit_ns;
  const start = running(reader.next(), track.unit_ns, first);
  const length = scaled(reader.next(), track.unit_ns);
  const block = { rows: reader.rows, start, length, lane: reader.next(), name: reader.next() };
  block.longest = 0;
  for (let row = 0; row < length.length; row++) if (length[row] > block.longest) block.longest = length[row];
  if (track.kind === "spans") block.requestSet = reader.next();
  if (track.kind === "kernels" || track.kind === "copies") block.origin = reader.next();
  if (track.kind === "copies") block.bytes = reader.next();
  if (block.origin) block.launch = running(withSigns(reader.next()), track.unit_ns, first);
  return block;
}

function decodeRuns(reader, track, sequence, index) {
  const gap = reader.next();
  const length = scaled(reader.next(), track.unit_ns);
  const start = new Float64Array(reader.rows);
  let at = sequence.start[index] * track.unit_ns;
  for (let row = 0; row < reader.rows; row++) {
    start[row] = at + gap[row] * track.unit_ns;
    at = start[row] + length[row];
  }
  return { rows: reader.rows, start, length, node: reader.next(), longest: Infinity };
}

function decodeBins(reader, track, sequence, index) {
  const width = track.widthOf(sequence.level);
  const start = running(reader.next(), width, sequence.start[index] * track.unit_ns);
  const [lane, covered, count, name] = [reader.next(), reader.next(), reader.next(), reader.next()];
  return { rows: reader.rows, start, width, lane, covered, count, name, longest: width };
}

// Loops, not Float64Array.from with a function: that costs ten times as much, in the middle of a frame.
function scaled(values, unit) {
  const times = new Float64Array(values.length);
  for (let row = 0; row < values.length; row++) times[row] = values[row] * unit;
  return times;
}

// Zigzag: 0, 1, 2, 3 stand for 0, -1, 1, -2.
function withSigns(values) {
  const steps = new Float64Array(values.length);
  for (let row = 0; row < values.length; row++)
    steps[row] = values[row] % 2 ? -(values[row] + 1) / 2 : values[row] / 2;
  return steps;
}

function running(steps, unit, first) {
  const values = new Float64Array(steps.length);
  let at = first;
  for (let row = 0; row < steps.length; row++) values[row] = at += steps[row] * unit;
  return values;
}

// The first row that starts at or after a time.
export function firstRow(block, time) {
  let [low, high] = [0, block.rows];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (block.start[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
