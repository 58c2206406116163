// The timeline with its controls: search, zoom, measuring, and what is known of the slice or range that is chosen.

import { el, section } from "./dom.js";
import { stageById } from "./data.js";
import { formatCount, formatDuration } from "./format.js";
import { TraceInput, KEYS } from "./trace_input.js";
import { RangePanel } from "./trace_range_panel.js";
import { TraceSearch } from "./trace_search.js";
import { Trace } from "./trace_tracks.js";
import { TraceView } from "./trace_view.js";
import { neighbour } from "./trace_walk.js";

const STATUS_MS = 160;

export class TracePanel {
  constructor({ openFunction, onstate, copyLink }) {
    Object.assign(this, { openFunction, onstate });
    this.query = el("input", {
      type: "search",
      placeholder: "search the timeline  ( / )",
      "aria-label": "search the timeline",
      oninput: () => this.search(),
      onkeydown: (event) => this.queryKey(event),
    });
    this.matches = el("output", { id: "trace-matches" });
    this.status = el("output.trace-status", { "aria-live": "off" });
    const button = (name, label, action) => el("button", { "aria-label": label, title: label, onclick: action }, name);
    this.bar = el(
      "div.toolbar",
      {},
      this.query,
      button("‹", "previous occurrence", () => this.step(false)),
      button("›", "next occurrence", () => this.step(true)),
      this.matches,
      this.status,
      button("−", "zoom out", () => this.view.window.zoom(1.6, this.input.focusTime(), true)),
      button("+", "zoom in", () => this.view.window.zoom(0.6, this.input.focusTime(), true)),
      button("Fit", "fit the requests, then the whole capture", () => this.fit()),
      el("button", { onclick: (event) => copyLink(event.target) }, "Copy link"),
      button("Keys", "keys of the timeline", () => this.toggleKeys()),
    );
    this.keys = el("dl.trace-keys", { hidden: true }, ...KEYS.flatMap(([key, what]) => [el("dt", {}, key), el("dd", {}, what)]));
    this.body = el("div", {}, el("p.note", {}, "Unpacking…"));
    this.details = el("div.trace-details", { "aria-live": "polite" });
    const note =
      "Everything on one clock. W S zoom, A D move, click a slice, Shift + drag a range, / searches, M measures.";
    this.element = section("timeline", "Timeline", note, this.bar, this.keys, this.body, this.details);
  }

  start(described, archive, model, lanes) {
    if (!described.tracks.length) {
      this.body.replaceChildren(el("p.note", {}, "This run has nothing with a time."));
      this.bar.hidden = true;
      return;
    }
    this.trace = new Trace(described, model, lanes);
    this.view = new TraceView(this.trace, archive, () => this.changed());
    this.finder = new TraceSearch(this.view);
    this.range = new RangePanel(this.view, this.openFunction);
    this.input = new TraceInput(this.view, this);
    this.body.replaceChildren(this.view.element);
    this.changed();
  }

  changed() {
    const { window, marks, range, selected } = this.view;
    clearTimeout(this.statusTimer);
    this.statusTimer = setTimeout(() => this.showStatus(), STATUS_MS);
    Object.assign(this.element.dataset, {
      from: Math.round(window.from),
      to: Math.round(window.to),
      selected: selected ? this.trace.nameOf(selected).slice(0, 200) : "",
      range: range ? `${Math.round(range.from)}-${Math.round(range.to)}` : "",
      measured: marks.length === 2 ? Math.round(Math.abs(marks[1] - marks[0])) : "",
    });
    this.onstate();
  }

  showStatus() {
    const { marks, range } = this.view;
    const parts = [];
    if (range) parts.push(`${formatDuration(range.to - range.from)} selected`);
    if (marks.length === 2) parts.push(`measured ${formatDuration(Math.abs(marks[1] - marks[0]))}`);
    this.status.value = parts.join(" · ");
  }

  // Zoom to all requests; where that is what is shown, to the whole capture.
  fit() {
    const { window } = this.view;
    const [from, to] = window.clamped(...window.withMargin(...window.home));
    const there = Math.abs(window.from - from) + Math.abs(window.to - to) < 1e-6 * window.length;
    if (there) window.go(window.first, window.last);
    else window.goHome();
  }

  toggleKeys() {
    this.keys.hidden = !this.keys.hidden;
  }

  choose(slice) {
    this.view.select(slice);
    this.showSelected();
  }

  showSelected() {
    const { selected } = this.view;
    this.showDetails();
    if (selected?.track.kind === "calls" && !selected.launched) this.findLaunched(selected);
  }

  async findLaunched(call) {
    const found = { names: { has: () => true, size: 1 }, functions: new Set(), kinds: ["kernels", "copies"] };
    const isIts = (slice) => slice.origin === call.track.number + 1 && slice.launch === call.start;
    const launched = await this.finder.next(found, { ...call, track: { number: -1 } }, true, isIts);
    if (this.view.selected !== call || !launched) return;
    call.launched = launched;
    this.view.schedule();
    this.showDetails();
  }

  chooseRange() {
    this.details.replaceChildren(this.range.element);
    this.range.show(this.view.range);
  }

  showDetails() {
    const slice = this.view.selected;
    if (!slice) {
      this.details.replaceChildren();
      return;
    }
    const { trace } = this;
    const pairs = trace.describe(slice).map((line) => (Array.isArray(line) ? line : ["file", line]));
    if (slice.launched) pairs.push(["launched", trace.nameOf(slice.launched).slice(0, 200)]);
    const name = trace.nameOf(slice);
    this.details.replaceChildren(
      el("h3.trace-name", {}, name.slice(0, 600)),
      el("dl.trace-facts", {}, ...pairs.map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, value)))),
      el("div.toolbar", {}, ...this.actions(slice, name)),
    );
  }

  actions(slice, name) {
    const button = (text, action) => el("button", { onclick: action }, text);
    const actions = [
      button("Zoom to it", () => this.input.zoomTo(slice)),
      button("Select its range", () => {
        this.view.setRange(slice.start, slice.start + slice.length);
        this.chooseRange();
      }),
    ];
    if (slice.node !== undefined)
      actions.push(button("Callers and callees", () => this.openFunction(this.trace.model.name[slice.node])));
    if (slice.launched) actions.push(button("Go to the kernel", () => this.goTo(slice.launched)));
    actions.push(button("Find all of this name", () => this.searchFor(name)));
    return actions;
  }

  goTo(slice) {
    this.view.reveal(slice);
    this.showSelected();
  }

  search() {
    this.found = this.finder.find(this.query.value);
    this.showMatches();
    this.onstate();
  }

  searchFor(text, options = {}) {
    this.query.value = text;
    this.found = this.finder.find(text, options);
    this.showMatches();
    this.onstate();
  }

  showMatches() {
    const { found } = this;
    this.view.drawer.found = found;
    this.view.map.ready = false;
    this.view.schedule();
    const count = found ? found.names.size + found.functions.size : 0;
    this.matches.value = found ? `${formatCount(count)} name${count === 1 ? "" : "s"}` : "";
    this.element.dataset.matches = found ? count : "";
  }

  // To the next or previous occurrence, from what is selected or from the window's edge; round at the end.
  async step(forward) {
    if (!this.found) return null;
    const { window, selected } = this.view;
    const edge = { start: forward ? window.from : window.to, lane: -1 };
    const slice =
      (await this.finder.next(this.found, selected ?? edge, forward)) ??
      (await this.finder.next(this.found, null, forward));
    if (slice) this.goTo(slice);
    else this.matches.value = "no occurrence";
    return slice;
  }

  // Shows where a piece of evidence is: the function's longest stay in a request, else its stage.
  async goToFunction({ function: name, file, stage }) {
    if (!this.view) return;
    this.element.scrollIntoView({ block: "start" });
    this.view.select(null);
    if (name) {
      this.searchFor(name, { exact: true, file: file ?? "" });
      if (await this.step(true)) return;
    }
    await this.goToStage(stageById.get(stage) ?? { label: stage });
  }

  // Shows the first slice of a name.
  async goToName(name) {
    this.element.scrollIntoView({ block: "start" });
    this.view.select(null);
    this.searchFor(name, { exact: true });
    await this.step(true);
  }

  // Shows a stage on the critical path of the first request that has it.
  async goToStage({ label }) {
    if (!this.view) return;
    this.element.scrollIntoView({ block: "start" });
    this.view.select(null);
    this.searchFor(label, { exact: true });
    this.found = { ...this.found, functions: new Set(), kinds: ["requests"] };
    await this.step(true);
  }

  queryKey(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      this.step(!event.shiftKey);
    } else if (event.key === "Escape") {
      this.query.value = "";
      this.search();
      this.view.canvas.focus({ preventScroll: true });
    }
  }

  state() {
    const { window, range, selected } = this.view ?? {};
    if (!window) return {};
    return {
      from: Math.round(window.from),
      to: Math.round(window.to),
      range: range ? `${Math.round(range.from)},${Math.round(range.to)}` : "",
      slice: selected ? `${selected.track.number},${selected.lane},${selected.start}` : "",
      search: this.query.value,
    };
  }

  async restore({ from, to, range, slice, search }) {
    const { view, trace } = this;
    if (!view) return;
    this.searchFor(search ?? "");
    if (Number(to) > Number(from)) view.window.set(Number(from), Number(to));
    const [track, lane, start] = (slice ?? "").split(",").map(Number);
    view.select(start >= 0 && trace.tracks[track] ? await view.finder.exact(trace.tracks[track], lane, start) : null);
    const [first, last] = (range ?? "").split(",").map(Number);
    view.range = null;
    if (last > first) {
      view.setRange(first, last);
      this.chooseRange();
    } else this.showDetails();
    view.changed();
  }

  mark(time) {
    const { view } = this;
    view.marks = view.marks.length === 1 ? [view.marks[0], time] : [time];
    view.changed();
  }

  dropLast() {
    const { view } = this;
    if (view.marks.length) view.marks = [];
    else if (view.range) view.range = null;
    else view.selected = null;
    view.changed();
    this.showDetails();
  }

  walk(where) {
    const slice = neighbour(this.view, where);
    if (slice) this.goTo(slice);
  }
}
