// The flame graph's tree: laid out once per view, searched, described.

import { formatShare, formatTime, shortPath } from "./format.js";

export class FlameModel {
  // `parent` lists a parent before its children; node 0 is the root.
  constructor({ names, files, waits, labels_from, parent, name }) {
    this.names = names;
    this.files = files;
    this.waits = new Set(waits);
    this.parent = parent;
    this.name = name;
    this.count = parent.length;
    this.labelled = { names, files, waits, labels_from };
    this.depth = new Uint16Array(this.count);
    for (let node = 1; node < this.count; node++) this.depth[node] = this.depth[parent[node]] + 1;
  }

  // Another tree of the same names.
  like(parent, name) {
    return new FlameModel({ ...this.labelled, parent, name });
  }

  title(node) {
    return node === 0 ? "all" : this.names[this.name[node]];
  }

  file(node) {
    return node === 0 ? "" : this.files[this.name[node]];
  }

  // Self times by node of one view, whose nodes are listed as differences.
  selfOf(view) {
    const self = new Float64Array(this.count);
    let node = 0;
    view.node.forEach((step, i) => (self[(node += step)] = view.self_ns[i]));
    return self;
  }

  // Total times, and the place of each node: x and width as fractions of the root. Children are in the order of
  // their time ("heavy"), or of their numbers, which is when each was first seen ("time").
  layOut(given, { hideWaiting = false, order = "heavy" } = {}) {
    const self = Float64Array.from(given);
    let waiting = 0;
    for (let node = 1; node < this.count; node++) {
      if (!self[node] || !this.waits.has(this.name[node])) continue;
      waiting += self[node];
      if (hideWaiting) self[node] = 0;
    }
    const total = Float64Array.from(self);
    for (let child = this.count - 1; child > 0; child--) total[this.parent[child]] += total[child];
    return { self, total, waiting, ...this.place(total, order) };
  }

  place(total, order) {
    const x = new Float64Array(this.count);
    const filled = new Float64Array(this.count);
    const whole = total[0] || 1;
    const levels = [];
    for (let node = 0; node < this.count; node++)
      if (total[node] > 0) (levels[this.depth[node]] ??= []).push(node);
    for (const level of levels.slice(1)) {
      // Below each parent; parents keep the order of their own level.
      const heavier = order === "heavy" ? (a, b) => total[b] - total[a] : () => 0;
      level.sort((a, b) => x[this.parent[a]] - x[this.parent[b]] || heavier(a, b) || a - b);
      for (const node of level) {
        const parent = this.parent[node];
        x[node] = x[parent] + filled[parent] / whole;
        filled[parent] += total[node];
      }
    }
    return { x, levels };
  }

  // Nodes whose name or file holds the text, and the time below the outermost of them.
  search(text, layout) {
    const wanted = text.toLowerCase();
    const matches = this.names.map(
      (name, i) =>
        name.toLowerCase().includes(wanted) || shortPath(this.files[i]).toLowerCase().includes(wanted),
    );
    const found = new Set();
    const inside = new Uint8Array(this.count);
    let time = 0;
    for (let node = 1; node < this.count; node++) {
      inside[node] = inside[this.parent[node]];
      if (!layout.total[node] || !matches[this.name[node]]) continue;
      found.add(node);
      if (!inside[node]) time += layout.total[node];
      inside[node] = 1;
    }
    return { found, time };
  }
}

export function describeNode(model, node, layout, { requests, whole }) {
  const mean = (ns) => (requests ? `${formatTime(ns / requests)} per request` : formatTime(ns));
  const lines = [];
  const file = model.file(node);
  if (file) lines.push(shortPath(file).slice(-160));
  lines.push(
    ["total", mean(layout.total[node])],
    ["self", mean(layout.self[node])],
    ["of this view", formatShare(layout.total[node] / (whole || 1))],
  );
  const parent = model.parent[node];
  if (parent > 0) lines.push(["of its caller", formatShare(layout.total[node] / layout.total[parent])]);
  return { title: model.title(node).slice(0, 200), lines };
}
