// Totals of a stretch of time: each name's share of it, and the stacks' self times for a flame graph.

import { firstRow } from "./trace_blocks.js";

// Reads every block that meets the range; `isWanted` ends it when another range has been chosen.
export async function rangeTotals(view, { from, to }, isWanted = () => true) {
  const { trace, store } = view;
  const totals = { names: new Map(), self: new Float64Array(trace.model.count), sampled: 0 };
  for (const track of trace.tracks)
    for (const sequence of track.exactSequences()) {
      const [first, last] = track.blocksIn(sequence, from, to);
      for (let index = first; index < last; index++) {
        const block = await store.read(track, sequence, index);
        if (!isWanted()) return null;
        if (track.kind === "stacks") addRuns(totals, block, from, to);
        else addSlices(totals, track, block, from, to);
      }
    }
  return totals;
}

function overlap(block, i, from, to) {
  return Math.min(to, block.start[i] + block.length[i]) - Math.max(from, block.start[i]);
}

function addRuns(totals, block, from, to) {
  for (let i = Math.max(0, firstRow(block, from) - 1); i < block.rows && block.start[i] < to; i++) {
    const ns = overlap(block, i, from, to);
    if (ns <= 0) continue;
    totals.self[block.node[i]] += ns;
    totals.sampled += ns;
  }
}

function addSlices(totals, track, block, from, to) {
  for (let i = firstRow(block, from - block.longest); i < block.rows && block.start[i] < to; i++) {
    const ns = overlap(block, i, from, to);
    if (ns < 0 || (ns === 0 && block.length[i] > 0)) continue;
    const key = `${track.kind}/${block.name[i]}`;
    let total = totals.names.get(key);
    if (!total) totals.names.set(key, (total = { kind: track.kind, name: block.name[i], ns: 0, count: 0, bytes: 0 }));
    total.ns += ns;
    total.count++;
    if (block.bytes) total.bytes += block.bytes[i];
  }
}

// Self times of the stacks that a request waited for: its segments laid over the samples of their threads.
export async function requestSelf(view, segments) {
  const { trace, store } = view;
  const self = new Float64Array(trace.model.count);
  const stacks = new Map(
    trace.tracks.filter((track) => track.kind === "stacks").map((track) => [`${track.pid}/${track.tid}`, track]),
  );
  for (const { pid, tid, from, to } of segments) {
    const track = stacks.get(`${pid}/${tid}`);
    if (!track) continue;
    for (const sequence of track.exactSequences()) {
      const [first, last] = track.blocksIn(sequence, from, to);
      for (let index = first; index < last; index++) {
        const totals = { self, sampled: 0 };
        addRuns(totals, await store.load(track, sequence, index), from, to);
      }
    }
  }
  return self;
}
