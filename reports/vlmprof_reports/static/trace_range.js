// Totals of a stretch of time: each name's share of it, and the stacks' self times for a flame graph.

import { page } from "./data.js";
import { firstRow } from "./trace_blocks.js";

// Reads every block of the tracks shown that meets the range; `isWanted` ends it when another range has been chosen.
export async function rangeTotals(view, { from, to }, isWanted = () => true) {
  const { trace, store } = view;
  const totals = { names: new Map(), self: new Float64Array(trace.model.count), sampled: 0 };
  for (const track of trace.tracks.filter((each) => view.layout.isShown(each)))
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

// Self times of the stacks that a request waited for, in all stages or one: the segments of its critical path laid
// over the samples of their threads.
export async function requestSelf(view, id, stage) {
  const { trace, store } = view;
  const totals = { self: new Float64Array(trace.model.count), sampled: 0 };
  for (const { track, from, to } of sampledSegments(trace, id, stage))
    for (const sequence of track.exactSequences()) {
      const [first, last] = track.blocksIn(sequence, from, to);
      for (let index = first; index < last; index++)
        addRuns(totals, await store.load(track, sequence, index), from, to);
    }
  return totals.self;
}

function* sampledSegments(trace, id, stage) {
  const request = trace.requests.get(id);
  for (let i = 0; i < (request?.stage.length ?? 0); i++) {
    const { pid, tid } = trace.lanes[request.lane[i]];
    const track = trace.tracks.find((each) => each.kind === "stacks" && each.pid === pid && each.tid === tid);
    if (!track || (stage && page.stages[request.stage[i]].id !== stage)) continue;
    const from = request.sent_ns + request.start_ns[i];
    yield { track, from, to: from + request.length_ns[i] };
  }
}
