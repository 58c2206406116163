// The timeline's tracks: what each is called, which of its blocks a window needs, what its slices are.

import { formatBytes, formatCount, formatDuration, formatTime, shortPath } from "./format.js";
import { page } from "./data.js";

export const KINDS = {
  requests: { title: "requests", one: "request" },
  spans: { title: "spans", one: "span" },
  calls: { title: "CUDA API", one: "CUDA call" },
  stacks: { title: "stacks", one: "frame" },
  kernels: { title: "kernels", one: "kernel" },
  copies: { title: "copies", one: "copy" },
};

export class Track {
  constructor(described, number, trace) {
    Object.assign(this, described);
    this.number = number;
    this.trace = trace;
    for (const sequence of this.sequences) {
      let latest = 0;
      // Ends are not in order where a slice outlasts later ones; their running maximum is.
      sequence.latest = sequence.end.map((end) => (latest = Math.max(latest, end)));
    }
    this.levels = this.sequences
      .filter((sequence) => sequence.bins || this.kind === "stacks")
      .map((sequence) => sequence.level);
  }

  widthOf(level) {
    return level < 0 ? 0 : this.unit_ns * 4 ** level;
  }

  // The coarsest level whose bins are no wider than a pixel; -1 where every slice is drawn.
  levelFor(nsPerPixel) {
    return this.levels.reduce(
      (best, level) => (level > best && this.widthOf(level) <= nsPerPixel ? level : best),
      -1,
    );
  }

  // The sequences that are drawn at a level: slices long enough, and the bins of the others.
  sequencesAt(level) {
    if (this.kind === "stacks") return this.sequences.filter((sequence) => sequence.level === level);
    return this.sequences.filter((sequence) =>
      sequence.bins ? sequence.level === level : sequence.level >= level,
    );
  }

  // Numbers within a sequence of the blocks that meet a window, as [first, end).
  blocksIn(sequence, from, to) {
    const [begin, end] = [from / this.unit_ns, to / this.unit_ns];
    let first = 0;
    while (first < sequence.latest.length && sequence.latest[first] < begin) first++;
    let last = first;
    while (last < sequence.start.length && sequence.start[last] <= end) last++;
    return [first, last];
  }

  // Every slice, whatever the zoom: all sequences but bins, of stacks the finest.
  exactSequences() {
    return this.sequences.filter(
      (sequence) => !sequence.bins && (this.kind !== "stacks" || sequence.level < 0),
    );
  }
}

export class Trace {
  constructor(described, model, lanes) {
    Object.assign(this, described);
    this.model = model;
    this.processOf = new Map(this.processes.map((process) => [process.pid, process]));
    this.tracks = this.tracks.map((track, number) => new Track(track, number, this));
    this.lanes = lanes.lanes;
    this.requests = new Map(lanes.requests.map((request) => [request.id, request]));
  }

  // What requests waited for a track's thread, in ns.
  waitedFor({ pid, tid }) {
    return this.waited_for.find(([ofPid, ofTid]) => ofPid === pid && ofTid === tid)?.[2] ?? 0;
  }

  // How much a thread's track matters: what requests waited for it, else the time in which it did something.
  weightOf(track) {
    if (track.stream !== undefined || track.tid === undefined) return 0;
    if (this.waited_for.length) return this.waitedFor(track);
    return track.total_ns - (track.waited_ns ?? 0);
  }

  processTitle(pid) {
    return `${this.processOf.get(pid)?.label ?? "process"} (${pid})`;
  }

  threadTitle(pid, tid) {
    const name = this.processOf.get(pid)?.threads[tid];
    return name ? `${name} (${tid})` : `thread ${tid}`;
  }

  placeOf(track) {
    if (track.kind === "requests") return "requests";
    if (track.stream !== undefined) return `GPU ${track.device}, stream ${track.stream}`;
    return `${this.processTitle(track.pid)}, ${this.threadTitle(track.pid, track.tid)}`;
  }

  nameOf(slice) {
    if (slice.node !== undefined) return this.model.title(slice.node);
    return this.names[slice.name];
  }

  stageOf(slice) {
    if (slice.track.kind !== "spans" && slice.track.kind !== "requests") return null;
    return page.stages[this.categories[slice.name]] ?? null;
  }

  // What is known of a slice, as pairs and lines for a tooltip or the panel.
  describe(slice) {
    const { track } = slice;
    const lines = [[KINDS[track.kind].one, this.placeOf(track)]];
    if (track.kind === "requests") lines.shift();
    if (slice.count)
      return [...lines, [`${formatCount(slice.count)} short ones, busy`, formatDuration(slice.busy)]];
    lines.push(["duration", formatDuration(slice.length)], ["starts at", formatTime(slice.start - this.start_ns)]);
    if (slice.node !== undefined) {
      const file = this.model.file(slice.node);
      if (file) lines.splice(1, 0, shortPath(file).slice(-160));
    }
    const stage = this.stageOf(slice);
    if (stage) lines.push(["stage", stage.label]);
    if (track.kind === "kernels") lines.push(["family", this.families[this.categories[slice.name]]]);
    if (slice.bytes) {
      const rate = slice.length ? `, ${formatBytes((slice.bytes / slice.length) * 1e9)}/s` : "";
      lines.push(["size", formatBytes(slice.bytes) + rate]);
    }
    if (slice.origin) lines.push(["launched before", formatDuration(slice.start - slice.launch)]);
    const ids = this.request_sets[slice.requestSet ?? 0] ?? [];
    if (ids.length) lines.push([ids.length > 1 ? "requests" : "request", ids.join(", ").slice(0, 80)]);
    if (track.unit_ns > 1) lines.push(["times are rounded to", `${track.unit_ns} ns`]);
    return lines;
  }
}
