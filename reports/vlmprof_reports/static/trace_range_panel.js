// What happened in the selected range: the totals of every name as a table, the stacks as a flame graph.

import { el } from "./dom.js";
import { formatBytes, formatCount, formatMs, formatShare, formatDuration } from "./format.js";
import { FlameCanvas } from "./flame.js";
import { describeNode } from "./flame_model.js";
import { sortableTable } from "./sortable.js";
import { rangeTotals } from "./trace_range.js";
import { KINDS } from "./trace_tracks.js";

const MOST_ROWS = 300;

export class RangePanel {
  constructor(view) {
    this.view = view;
    this.element = el("div.trace-range");
  }

  async show(range) {
    this.range = range;
    this.element.replaceChildren(el("p.note", {}, "Adding up…"));
    this.element.dataset.ready = "";
    const totals = await rangeTotals(this.view, range, () => this.view.range === range);
    if (!totals) return;
    this.totals = totals;
    this.element.replaceChildren(this.head(), this.flame(), this.table());
    this.element.dataset.ready = `${Math.round(range.from)}-${Math.round(range.to)}`;
    this.element.dataset.sampledNs = Math.round(totals.sampled);
    this.graph?.draw();
  }

  head() {
    const { from, to } = this.range;
    const first = this.view.trace.start_ns;
    return el(
      "h3",
      {},
      `${formatDuration(to - from)} from ${formatDuration(from - first)} to ${formatDuration(to - first)} after the first request`,
    );
  }

  flame() {
    const { model } = this.view.trace;
    this.graph = null;
    if (!this.totals.sampled) return el("p.note", {}, "No stacks were sampled in this range.");
    const layout = model.layOut(this.totals.self, { hideWaiting: true, order: "heavy" });
    const shown = layout.total[0];
    this.graph = new FlameCanvas(model, {
      describe: (node, drawn) => describeNode(model, node, drawn, { requests: 0, whole: shown }),
      onselect: () => {},
    });
    this.graph.show(layout);
    this.graph.canvas.dataset.totalNs = Math.round(shown);
    const waiting = layout.waiting ? `; ${formatDuration(layout.waiting)} of waiting threads left out` : "";
    return el(
      "div.range-flame",
      {},
      el("p.note", {}, `Stacks in this range, of the threads shown: ${formatDuration(shown)}${waiting}`),
      this.graph.scroller,
    );
  }

  table() {
    const length = this.range.to - this.range.from;
    const rows = this.rows().sort((a, b) => b.ns - a.ns);
    const columns = [
      { head: "what", value: (row) => row.what },
      {
        head: "name",
        value: (row) => row.name,
        cell: (row) => el("code.strong", { title: row.name.slice(0, 500) }, row.name.slice(0, 200)),
      },
      { head: "ms", number: true, value: (row) => row.ns, cell: (row) => formatMs(row.ns) },
      { head: "of the range", number: true, value: (row) => row.ns, cell: (row) => formatShare(row.ns / length) },
      {
        head: "count",
        number: true,
        value: (row) => row.count ?? -1,
        cell: (row) => (row.count === undefined ? "" : formatCount(row.count)),
      },
      {
        head: "size",
        number: true,
        value: (row) => row.bytes ?? 0,
        cell: (row) => (row.bytes ? formatBytes(row.bytes) : ""),
      },
    ];
    const note = rows.length > MOST_ROWS ? el("p.note", {}, `The ${MOST_ROWS} longest of ${rows.length}.`) : null;
    return el(
      "div",
      {},
      sortableTable(columns, rows.slice(0, MOST_ROWS), { caption: "Totals of the range", filter: true }),
      note,
    );
  }

  // Slices by name, and functions by the time in which they were innermost.
  rows() {
    const { trace } = this.view;
    const rows = [...this.totals.names.values()]
      .filter((total) => total.kind !== "requests" || trace.categories[total.name] >= 0)
      .map((total) => ({
        ...total,
        what: total.kind === "requests" ? "stage" : KINDS[total.kind].one,
        name: trace.names[total.name],
      }));
    const functions = new Map();
    this.totals.self.forEach((ns, node) => {
      const name = trace.model.name[node];
      if (ns && name >= 0 && !trace.model.waits.has(name)) functions.set(name, (functions.get(name) ?? 0) + ns);
    });
    for (const [name, ns] of functions) rows.push({ what: "function, self", name: trace.model.names[name], ns });
    return rows;
  }
}
