// Two flame graphs in one tree: totals of both sides, and a layout in which either side sets the widths.

export class DiffModel {
  constructor(diff) {
    Object.assign(this, diff);
    this.count = diff.parent.length;
    this.depth = new Uint16Array(this.count);
    for (let node = 1; node < this.count; node++) this.depth[node] = this.depth[diff.parent[node]] + 1;
  }

  title(node) {
    return node === 0 ? "all" : this.names[this.name[node]];
  }

  file(node) {
    return node === 0 ? "" : this.files[this.name[node]];
  }

  // width: "before", "after", or "both", in which every frame is as wide as on its larger side.
  layOut(view, width) {
    const before = new Float64Array(this.count);
    const after = new Float64Array(this.count);
    view.node.forEach((node, i) => {
      before[node] = view.before_ns[i];
      after[node] = view.after_ns[i];
    });
    const wide = Float64Array.from(before, (ns, node) =>
      width === "before" ? ns : width === "after" ? after[node] : Math.max(ns, after[node]),
    );
    const layout = { self: { before: before.slice(), after: after.slice() }, before, after, wide };
    for (const totals of [before, after, wide])
      for (let node = this.count - 1; node > 0; node--) totals[this.parent[node]] += totals[node];
    return { ...layout, ...this.place(wide) };
  }

  place(wide) {
    const x = new Float64Array(this.count);
    const filled = new Float64Array(this.count);
    const levels = [];
    for (let node = 0; node < this.count; node++)
      if (wide[node] > 0) (levels[this.depth[node]] ??= []).push(node);
    for (const level of levels.slice(1)) {
      level.sort((a, b) => x[this.parent[a]] - x[this.parent[b]] || wide[b] - wide[a] || a - b);
      for (const node of level) {
        const parent = this.parent[node];
        x[node] = x[parent] + filled[parent];
        filled[parent] += wide[node];
      }
    }
    return { x, levels };
  }

  search(text, layout) {
    const wanted = text.toLowerCase();
    const matches = this.names.map(
      (name, i) => name.toLowerCase().includes(wanted) || this.files[i].toLowerCase().includes(wanted),
    );
    const found = new Set();
    const inside = new Uint8Array(this.count);
    const total = { before: 0, after: 0 };
    for (let node = 1; node < this.count; node++) {
      inside[node] = inside[this.parent[node]];
      if (!matches[this.name[node]] || layout.before[node] + layout.after[node] === 0) continue;
      found.add(node);
      if (!inside[node]) {
        total.before += layout.before[node];
        total.after += layout.after[node];
      }
      inside[node] = 1;
    }
    return { found, total };
  }
}

// From -1, vanished, over 0, as it was, to 1, new.
export function changeShare(before, after) {
  const larger = Math.max(before, after);
  return larger ? (after - before) / larger : 0;
}
