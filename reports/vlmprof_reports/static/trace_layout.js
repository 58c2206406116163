// Where each track lies: groups of processes and GPUs, threads within them, what is folded up.

import { KINDS } from "./trace_tracks.js";

const HEADER_HEIGHT = 26;
const TRACK_GAP = 5;
const LANE_HEIGHT = { requests: 16, spans: 16, calls: 15, stacks: 14, kernels: 18, copies: 18 };
const FOLDED_HEIGHT = 16;
const DEEP_LANES = 3;
const OPEN_STACKS = 2;

export class TraceLayout {
  constructor(trace) {
    this.trace = trace;
    this.closed = new Set();
    this.idleShown = new Set();
    this.groups = groupsOf(trace);
    // Stacks of the threads that matter most are open at first; the others are one lane each until asked for.
    const stacks = trace.tracks.filter((track) => track.kind === "stacks");
    stacks.sort((a, b) => trace.weightOf(b) - trace.weightOf(a));
    this.folded = new Set(stacks.slice(OPEN_STACKS).map((track) => track.number));
    this.place();
  }

  // Rows from the top: headers, and tracks with their lanes; heights in CSS pixels.
  place() {
    this.rows = [];
    this.rowOfTrack = new Map();
    let top = 0;
    const push = (row) => {
      this.rows.push({ ...row, top });
      if (row.track) this.rowOfTrack.set(row.track.number, this.rows.at(-1));
      top += row.height;
    };
    for (const group of this.groups) {
      push({ group, height: HEADER_HEIGHT });
      if (this.closed.has(group.id)) continue;
      for (const track of group.tracks) push(this.trackRow(track));
      if (!group.idle.length) continue;
      const shown = this.idleShown.has(group.id);
      push({ idleOf: group, shown, height: HEADER_HEIGHT - 4 });
      if (shown) for (const track of group.idle) push(this.trackRow(track));
    }
    this.height = top;
  }

  trackRow(track) {
    const folded = this.isFolded(track);
    const lanes = folded ? 1 : Math.max(1, track.lanes);
    const laneHeight = folded ? FOLDED_HEIGHT : LANE_HEIGHT[track.kind];
    return { track, folded, lanes, laneHeight, height: lanes * laneHeight + TRACK_GAP };
  }

  isFolded(track) {
    return track.lanes > 1 && this.folded.has(track.number);
  }

  foldable(track) {
    return track.lanes > 1 && (track.kind === "stacks" || track.lanes >= DEEP_LANES);
  }

  toggle(set, key) {
    if (!set.delete(key)) set.add(key);
    this.place();
  }

  rowAt(y) {
    return this.rows.find((row) => y >= row.top && y < row.top + row.height) ?? null;
  }

  // Opens whatever hides a track.
  reveal(track) {
    const group = this.groups.find((each) => each.tracks.includes(track) || each.idle.includes(track));
    this.closed.delete(group.id);
    if (group.idle.includes(track)) this.idleShown.add(group.id);
    this.folded.delete(track.number);
  }

  isShown(track) {
    return this.rowOfTrack.has(track.number);
  }
}

// What a track is called beside it: its thread where it is the thread's first, else what it holds.
export function trackLabel(trace, track) {
  if (track.kind === "requests") return "sent to done; below, stages";
  if (track.stream !== undefined) return `stream ${track.stream}, ${KINDS[track.kind].title}`;
  return `${trace.processOf.get(track.pid)?.threads[track.tid] ?? track.tid} · ${KINDS[track.kind].title}`;
}

function groupsOf(trace) {
  const groups = new Map();
  const add = (id, title, track, idle) => {
    if (!groups.has(id)) groups.set(id, { id, title, tracks: [], idle: [] });
    groups.get(id)[idle ? "idle" : "tracks"].push(track);
  };
  for (const track of inOrder(trace)) {
    if (track.kind === "requests") add("requests", "Requests", track, false);
    else if (track.stream !== undefined) add(`gpu:${track.device}`, `GPU ${track.device}`, track, false);
    else add(`pid:${track.pid}`, trace.processTitle(track.pid), track, isAside(trace, track));
  }
  return [...groups.values()];
}

// A thread that only waits, or that no request waited for and that has no spans.
function isAside(trace, track) {
  const own = (each) => each.tid === track.tid && each.pid === track.pid;
  if (trace.tracks.some((each) => own(each) && (each.kind === "spans" || each.kind === "calls"))) return false;
  return track.idle || (trace.waited_for.length > 0 && !trace.waitedFor(track));
}

const KIND_ORDER = ["requests", "spans", "calls", "stacks", "copies", "kernels"];

// Requests, processes as the run lists them with their weightiest thread first, GPUs by device and stream.
function inOrder(trace) {
  const weight = new Map();
  const thread = (track) => `${track.pid}/${track.tid}`;
  for (const track of trace.tracks)
    weight.set(thread(track), Math.max(weight.get(thread(track)) ?? 0, trace.weightOf(track)));
  const process = (track) => [...trace.processOf.keys()].indexOf(track.pid);
  const rank = (track) => (track.kind === "requests" ? 0 : track.stream === undefined ? 1 : 2);
  return [...trace.tracks].sort(
    (a, b) =>
      rank(a) - rank(b) ||
      (rank(a) === 2 ? a.device - b.device || a.stream - b.stream : process(a) - process(b)) ||
      (rank(a) === 1 ? weight.get(thread(b)) - weight.get(thread(a)) || a.tid - b.tid : 0) ||
      KIND_ORDER.indexOf(a.kind) - KIND_ORDER.indexOf(b.kind),
  );
}
