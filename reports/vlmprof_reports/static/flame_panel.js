// The flame graph with its controls: whose time, in which order, of which request; search, legend, link.

import { el, section, onThemeChange } from "./dom.js";
import { formatShare, formatTime } from "./format.js";
import { FlameCanvas } from "./flame.js";
import { packageColour, packageOf } from "./flame_brush.js";
import { describeNode } from "./flame_model.js";
import { bothSides, callersTree, hottest } from "./flame_trees.js";

const MODES = [
  ["heavy", "left-heavy", "Width is time, the caller is above; the widest child comes first."],
  ["time", "time order", "Width is time, the caller is above; children in the order in which they first ran."],
  ["inverted", "inverted", "Width is time; functions with time of their own on top, below each its callers."],
  ["sandwich", "sandwich", "One function wherever it ran: above it its callers, below it what it called."],
];

export class FlamePanel {
  constructor({ requestSelf, onstate, copyLink }) {
    Object.assign(this, { requestSelf, onstate });
    this.choice = select("what the flame graph shows", () => this.show());
    this.mode = select("order", () => this.show());
    this.mode.append(...MODES.map(([value, text]) => el("option", { value }, text)));
    this.request = select("of which requests", () => this.show());
    this.query = el("input", {
      type: "search",
      placeholder: "search functions and files  ( / )",
      "aria-label": "search",
      oninput: () => this.search(),
      onkeydown: (event) => event.key === "Escape" && this.clear(),
    });
    this.result = el("output", { id: "flame-matches" });
    this.hideWaiting = el("input", { type: "checkbox", checked: true, onchange: () => this.show() });
    this.waiting = el("label.check", {}, this.hideWaiting, el("span", {}, "hide waiting"));
    this.reset = el("button", { onclick: () => this.clear() }, "Reset");
    this.sandwich = el("button", { onclick: () => this.openFunction(this.selectedName()) }, "Callers and callees");
    this.link = el("button", { onclick: () => copyLink(this.link) }, "Copy link");
    this.frame = el("p.frame", { "aria-live": "polite" }, "Click a frame to zoom, Escape to go back.");
    this.legend = el("p.legend");
    this.body = el("div", {}, el("p.note", {}, "Unpacking…"));
    this.note = el("p.note", {}, MODES[0][2]);
    this.bar = el(
      "div.toolbar",
      {},
      ...[this.choice, this.mode, this.request, this.query, this.result],
      ...[this.waiting, this.sandwich, this.reset, this.link],
    );
    this.element = section("flame", "Flame graph", "", this.bar, this.body, this.frame, this.legend);
    this.element.querySelector("header").append(this.note);
    onThemeChange(() => this.drawLegend());
  }

  // `trees`: models, each with its views; the first is that of the sampled stacks. `requests`: the sampled ones.
  async start(trees, requests) {
    const views = trees.flatMap(({ model, views }) => views.map((view) => ({ ...view, model })));
    this.views = new Map(views.map((view) => [view.key, view]));
    this.sampled = this.model = trees[0].model;
    if (!this.views.size) {
      this.body.replaceChildren(el("p.note", {}, "No stacks were sampled in this run."));
      for (const part of [this.bar, this.frame]) part.hidden = true;
      return;
    }
    for (const group of new Set(views.map((view) => view.group))) {
      const own = views.filter((view) => view.group === group);
      this.choice.append(
        el("optgroup", { label: group }, ...own.map((view) => el("option", { value: view.key }, view.title))),
      );
    }
    this.request.append(
      el("option", { value: "" }, "all requests"),
      ...requests.map((id, number) => el("option", { value: id }, `request ${number + 1}: ${id}`.slice(0, 60))),
    );
    await this.show();
  }

  open(key) {
    if (!this.views?.has(key)) return;
    this.choice.value = key;
    this.show();
    this.element.scrollIntoView({ behavior: "smooth" });
  }

  // The sandwich of one function, by its number among the names of the view's tree, in the whole capture if it is nowhere else.
  async openFunction(name) {
    if (name === null || !this.views?.size) return;
    const { model } = this.view;
    const holds = model.layOut(model.selfOf(this.view)).total.some((ns, node) => ns && model.name[node] === name);
    if (!holds && this.views.has("all")) this.choice.value = "all";
    this.named = name;
    this.mode.value = "sandwich";
    await this.show();
    this.element.scrollIntoView();
  }

  // The same for a function as the tables name it.
  async openNamed({ function: name, file }) {
    if (!this.sampled) return;
    const { names, files } = this.sampled;
    const number = names.findIndex((each, i) => each === name && files[i].endsWith(file));
    if (number >= 0) await this.openSampled(number);
  }

  // The same for a function of the sampled stacks, whatever is shown now.
  async openSampled(name) {
    if (!this.views?.size) return;
    if (this.view.model !== this.sampled) this.view = this.views.get(this.views.has("critical") ? "critical" : "all");
    this.choice.value = this.view.key;
    await this.openFunction(name);
  }

  async show() {
    const asked = (this.asked = Symbol("one of several at a time"));
    this.view = this.views.get(this.choice.value);
    if (this.model !== this.view.model) this.named = null;
    this.model = this.view.model;
    const onPath = this.view.requests > 0;
    this.request.hidden = !onPath;
    const id = onPath ? this.request.value : "";
    const stage = this.view.key.startsWith("stage:") ? this.view.key.slice(6) : "";
    const self = id ? await this.requestSelf(id, stage) : this.model.selfOf(this.view);
    if (this.asked !== asked) return;
    this.requests = id ? 1 : this.view.requests;
    const layout = this.model.layOut(self, { hideWaiting: this.hideWaiting.checked && !onPath, order: this.order() });
    this.waiting.hidden = onPath || layout.waiting === 0;
    this.whole = layout.total[0];
    this.self = layout.self;
    this.note.replaceChildren(MODES.find(([mode]) => mode === this.mode.value)[2]);
    this.place(layout);
    this.describe(0);
    this.drawLegend();
    this.search();
  }

  order() {
    return this.mode.value === "time" ? "time" : "heavy";
  }

  // One canvas, or in the sandwich two.
  place(layout) {
    const mode = this.mode.value;
    if (mode === "sandwich") {
      this.named ??= hottest(this.model, layout.self);
      const { callers, callees } = bothSides(this.model, layout.self, this.named);
      this.graphs = [this.canvas(callers.model, { flipped: true }), this.canvas(callees.model)];
      this.graphs[0].show(callers.model.layOut(callers.self));
      this.graphs[1].show(callees.model.layOut(callees.self));
    } else {
      const { model, self } = mode === "inverted" ? callersTree(this.model, layout.self) : { model: this.model };
      this.graphs = [this.canvas(model)];
      this.graphs[0].show(self ? model.layOut(self) : layout);
    }
    this.body.replaceChildren(
      ...(mode === "sandwich" ? [this.sandwichTitle()] : []),
      ...this.graphs.map((graph) => graph.scroller),
    );
    this.body.className = mode === "sandwich" ? "sandwiched" : "";
    for (const graph of this.graphs) graph.settle();
    this.graph = this.graphs.at(-1);
    Object.assign(this.graph.canvas.dataset, {
      view: this.view.key,
      mode,
      request: this.request.hidden ? "" : this.request.value,
      named: mode === "sandwich" ? this.model.names[this.named].slice(0, 200) : "",
      totalNs: this.graph.layout.total[0],
      viewNs: this.view.total_ns,
      focus: "all",
    });
  }

  sandwichTitle() {
    const total = this.graphs[1].layout.total[0];
    return el(
      "p.frame",
      {},
      el("code.strong", {}, this.model.names[this.named].slice(0, 300)),
      ` ${this.perRequest(total)}, ${formatShare(total / (this.whole || 1))} of this view; callers above, callees below`,
    );
  }

  canvas(model, options = {}) {
    return new FlameCanvas(model, {
      ...options,
      describe: (node, layout) => describeNode(model, node, layout, { requests: this.requests, whole: layout.total[0] }),
      onselect: (node) => this.describe(node, model),
    });
  }

  search() {
    if (!this.graphs) return;
    const text = this.query.value.trim();
    const results = this.graphs.map((graph) => (text ? graph.model.search(text, graph.layout) : null));
    this.graphs.forEach((graph, number) => graph.highlight(results[number]?.found ?? null));
    const last = results.at(-1);
    this.result.value = last
      ? `${last.found.size} frames, ${formatShare(last.time / (this.graph.layout.total[0] || 1))}`
      : "";
    Object.assign(this.graph.canvas.dataset, { matches: last?.found.size ?? "", matchedNs: last?.time ?? "" });
    this.onstate();
  }

  clear() {
    this.query.value = "";
    this.search();
    for (const graph of this.graphs) graph.zoom(0);
  }

  selectedName() {
    const { selected, model } = this.graph;
    return selected ? model.name[selected] : hottest(this.model, this.self);
  }

  perRequest(ns) {
    return this.requests ? `${formatTime(ns / this.requests)} per request` : formatTime(ns);
  }

  describe(node, model = this.graph.model) {
    const { layout } = this.graphs.find((graph) => graph.model === model) ?? this.graph;
    const whole = layout.total[0] || 1;
    const text =
      node === 0
        ? `${this.view.title}, ${this.perRequest(layout.total[0])}`
        : `${model.title(node)}: ${this.perRequest(layout.total[node])}, ${formatShare(layout.total[node] / whole)}; itself ${this.perRequest(layout.self[node])}`;
    this.frame.replaceChildren(text.slice(0, 400));
    this.onstate();
  }

  drawLegend() {
    if (!this.self) return;
    const time = new Map();
    this.self.forEach((ns, node) => {
      if (!ns) return;
      const name = packageOf(this.model.file(node));
      time.set(name, (time.get(name) ?? 0) + ns);
    });
    const largest = [...time].sort((a, b) => b[1] - a[1]).slice(0, 8);
    this.legend.replaceChildren(
      ...largest.map(([name, ns]) =>
        el(
          "span.key",
          {},
          el("i.swatch", { style: { background: packageColour(name, 0.5) } }),
          name.slice(0, 40) || "small frames",
          el("span.number", {}, formatShare(ns / (this.whole || 1))),
        ),
      ),
    );
  }

  state() {
    const focus = this.graph?.focus ?? 0;
    return {
      view: this.choice.value,
      mode: this.mode.value,
      request: this.request.hidden ? "" : this.request.value,
      function: this.mode.value === "sandwich" ? this.named : "",
      waiting: this.hideWaiting.checked ? "" : "shown",
      search: this.query.value,
      frame: focus || "",
    };
  }

  async restore(state) {
    if (!this.views?.size) return;
    if (this.views.has(state.view)) this.choice.value = state.view;
    if (MODES.some(([mode]) => mode === state.mode)) this.mode.value = state.mode;
    const ids = [...this.request.options].map((option) => option.value);
    this.request.value = ids.includes(state.request) ? state.request : "";
    const named = Number(state.function);
    if (state.function && this.model.names[named] !== undefined) this.named = named;
    this.hideWaiting.checked = state.waiting !== "shown";
    this.query.value = state.search ?? "";
    await this.show();
    const frame = Number(state.frame);
    if (this.graph.layout.total[frame] > 0 && frame > 0) this.graph.zoom(frame);
  }
}

function select(label, onchange) {
  return el("select", { "aria-label": label, onchange });
}
