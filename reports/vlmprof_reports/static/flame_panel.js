// The flame graph with its controls: which view, search, hidden waiting, legend.

import { el, section, onThemeChange } from "./dom.js";
import { formatShare, formatTime } from "./format.js";
import { FlameCanvas } from "./flame.js";
import { packageColour, packageOf } from "./flame_brush.js";
import { describeNode } from "./flame_model.js";

export class FlamePanel {
  constructor() {
    this.choice = el("select", {
      "aria-label": "what the flame graph shows",
      onchange: () => this.show(this.choice.value),
    });
    this.query = el("input", {
      type: "search",
      placeholder: "search functions and files  ( / )",
      "aria-label": "search",
      oninput: () => this.search(),
    });
    this.result = el("output", { id: "flame-matches" });
    this.hideWaiting = el("input", {
      type: "checkbox",
      checked: true,
      onchange: () => this.show(this.choice.value),
    });
    this.waiting = el("label.check", {}, this.hideWaiting, el("span", {}, "hide waiting"));
    this.reset = el("button", { onclick: () => this.clear() }, "Reset");
    this.frame = el("p.frame", { "aria-live": "polite" }, "Click a frame to zoom, Escape to go back.");
    this.legend = el("p.legend");
    this.body = el("div", {}, el("p.note", {}, "Unpacking…"));
    const bar = el("div.toolbar", {}, this.choice, this.query, this.result, this.waiting, this.reset);
    this.element = section(
      "flame",
      "Flame graph",
      "Width is time, the caller is above; the widest child comes first.",
      bar,
      this.body,
      this.frame,
      this.legend,
    );
    document.addEventListener("keydown", (event) => this.shortcut(event));
    onThemeChange(() => this.drawLegend());
  }

  start(flames, model) {
    this.views = new Map(flames.views.map((view) => [view.key, view]));
    if (!this.views.size) {
      this.body.replaceChildren(el("p.note", {}, "No stacks were sampled in this run."));
      for (const part of [this.choice, this.query, this.waiting, this.reset, this.frame]) part.hidden = true;
      return;
    }
    for (const group of new Set(flames.views.map((view) => view.group))) {
      const own = flames.views.filter((view) => view.group === group);
      this.choice.append(
        el("optgroup", { label: group }, ...own.map((view) => el("option", { value: view.key }, view.title))),
      );
    }
    this.model = model;
    this.graph = new FlameCanvas(this.model, {
      describe: (node, layout) =>
        describeNode(this.model, node, layout, { requests: this.view.requests, whole: layout.total[0] }),
      onselect: (node) => this.describe(node),
    });
    this.body.replaceChildren(this.graph.scroller);
    this.show(flames.views[0].key);
  }

  open(key) {
    if (!this.views?.has(key)) return;
    this.choice.value = key;
    this.show(key);
    this.element.scrollIntoView({ behavior: "smooth" });
  }

  show(key) {
    this.view = this.views.get(key);
    const onPath = this.view.requests > 0;
    this.layout = this.model.layOut(this.model.selfOf(this.view), { hideWaiting: this.hideWaiting.checked && !onPath });
    this.waiting.hidden = onPath || this.layout.waiting === 0;
    this.graph.show(this.layout);
    Object.assign(this.graph.canvas.dataset, {
      view: key,
      totalNs: this.layout.total[0],
      viewNs: this.view.total_ns,
      focus: "all",
    });
    this.describe(0);
    this.drawLegend();
    this.search();
  }

  search() {
    const text = this.query.value.trim();
    if (!text) {
      this.result.value = "";
      this.graph.highlight(null);
      return;
    }
    const { found, time } = this.model.search(text, this.layout);
    this.graph.highlight(found);
    this.result.value = `${found.size} frames, ${formatShare(time / (this.layout.total[0] || 1))}`;
    Object.assign(this.graph.canvas.dataset, { matches: found.size, matchedNs: time });
  }

  clear() {
    this.query.value = "";
    this.search();
    this.graph.zoom(0);
  }

  describe(node) {
    const { requests, title } = this.view;
    const { total, self } = this.layout;
    const mean = (ns) => formatTime(requests ? ns / requests : ns);
    const per = requests ? " per request" : "";
    const text =
      node === 0
        ? `${title}, ${mean(total[0])}${per}`
        : `${this.model.title(node)}: ${mean(total[node])}${per}, ${formatShare(total[node] / (total[0] || 1))}; itself ${mean(self[node])}`;
    this.frame.replaceChildren(text.slice(0, 400));
  }

  drawLegend() {
    if (!this.layout) return;
    const time = new Map();
    this.layout.self.forEach((ns, node) => {
      if (!ns) return;
      const name = packageOf(this.model.file(node));
      time.set(name, (time.get(name) ?? 0) + ns);
    });
    const largest = [...time].sort((a, b) => b[1] - a[1]).slice(0, 8);
    const whole = this.layout.total[0] || 1;
    this.legend.replaceChildren(
      ...largest.map(([name, ns]) =>
        el(
          "span.key",
          {},
          el("i.swatch", { style: { background: packageColour(name, 0.5) } }),
          name.slice(0, 40) || "small frames",
          el("span.number", {}, formatShare(ns / whole)),
        ),
      ),
    );
  }

  shortcut(event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      this.query.focus();
    } else if (event.key === "Escape" && document.activeElement === this.query) this.clear();
  }
}
