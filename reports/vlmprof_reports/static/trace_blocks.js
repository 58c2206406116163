// Blocks of the timeline as columns in nanoseconds since its origin, kept while they are in use.

import { ColumnReader, signed } from "./archive.js";

const KEPT_BLOCKS = 500;

export class BlockStore {
  constructor(archive, onload) {
    this.archive = archive;
    this.onload = onload;
    this.blocks = new Map();
    this.loading = new Map();
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

  // The block, or null while it is being unpacked; `onload` is called when it is there.
  get(track, sequence, index) {
    const number = sequence.block[index];
    const block = this.blocks.get(number);
    if (block) {
      block.used = this.frame;
      return block;
    }
    if (!this.loading.has(number)) this.load(track, sequence, index).then(this.onload);
    return null;
  }

  // Unpacks a block and keeps it.
  async load(track, sequence, index) {
    const number = sequence.block[index];
    if (this.blocks.has(number)) return this.blocks.get(number);
    if (!this.loading.has(number)) this.loading.set(number, this.read(track, sequence, index));
    const block = await this.loading.get(number);
    this.loading.delete(number);
    block.used = this.frame;
    this.blocks.set(number, block);
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
  block.longest = length.reduce((most, each) => Math.max(most, each), 0);
  if (track.kind === "spans") block.requestSet = reader.next();
  if (track.kind === "kernels" || track.kind === "copies") block.origin = reader.next();
  if (track.kind === "copies") block.bytes = reader.next();
  if (block.origin) block.launch = running(Float64Array.from(reader.next(), signed), track.unit_ns, first);
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

function scaled(values, unit) {
  return Float64Array.from(values, (value) => value * unit);
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
