// The differential flame graph on a canvas: widths of either side, colour says what became of each frame.

import { cssColour, el, hideTooltip, onThemeChange, section, showTooltip } from "./dom.js";
import { formatTime } from "./format.js";
import { sortableTable } from "./sortable.js";
import { DiffModel, changeShare } from "./comparison_flame_model.js";

const ROW_HEIGHT = 20;
const MIN_PIXELS = 0.5;
const LABEL_PIXELS = 34;
const WIDTHS = [
  ["both", "widest of both"],
  ["before", "as before"],
  ["after", "as after"],
];

export class DiffFlame {
  constructor(diff) {
    this.model = new DiffModel(diff);
    this.view = diff.views[0];
    this.width = "both";
    this.found = null;
    this.canvas = el("canvas", {
      tabindex: "0",
      role: "application",
      "aria-label": "Differential flame graph. Arrow keys move, Enter zooms, Escape resets.",
      onpointermove: (event) => this.hover(event),
      onpointerleave: hideTooltip,
      onclick: (event) => this.click(event),
      onkeydown: (event) => this.key(event),
    });
    this.scroller = el("div.flame-scroll", {}, this.canvas);
    this.result = el("output", { "aria-live": "polite" });
    this.element = this.build(diff);
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    onThemeChange(() => this.draw());
    this.layOut();
  }

  build(diff) {
    const views = el(
      "select",
      { "aria-label": "stage", onchange: () => this.choose(diff.views.find(({ key }) => key === views.value)) },
      ...diff.views.map((view) => el("option", { value: view.key }, view.title)),
    );
    const widths = el(
      "select",
      { "aria-label": "widths", onchange: () => this.setWidth(widths.value) },
      ...WIDTHS.map(([value, name]) => el("option", { value }, `widths: ${name}`)),
    );
    this.query = el("input", {
      type: "search",
      placeholder: "search functions and files",
      "aria-label": "search",
      oninput: () => this.search(),
    });
    const reset = el("button", { onclick: () => this.reset() }, "Reset");
    return section(
      "flame",
      "Differential flame graph",
      "Self time on the critical path per request. Blue frames take less time than before, orange ones more; " +
        "hatched ones are on one side only.",
      el("div.toolbar", {}, views, widths, this.query, this.result, reset, scaleLegend()),
      this.scroller,
      changedFunctions(diff.functions),
    );
  }

  choose(view) {
    this.view = view;
    this.layOut();
  }

  setWidth(width) {
    this.width = width;
    this.layOut();
  }

  layOut() {
    this.layout = this.model.layOut(this.view, this.width);
    this.focus = this.selected = 0;
    this.canvas.dataset.beforeNs = this.layout.before[0];
    this.canvas.dataset.afterNs = this.layout.after[0];
    this.search();
  }

  reset() {
    this.query.value = "";
    this.focus = this.selected = 0;
    this.search();
  }

  search() {
    const text = this.query.value.trim();
    const { found, total } = text ? this.model.search(text, this.layout) : { found: null, total: null };
    this.found = found;
    this.result.textContent = found
      ? `${found.size} frames, ${formatTime(total.before)} → ${formatTime(total.after)}`
      : "";
    this.draw();
  }

  zoom(node) {
    this.focus = this.selected = node;
    this.canvas.dataset.focus = this.model.title(node);
    this.draw();
  }

  box(node, width) {
    const scale = width / (this.layout.wide[this.focus] || 1);
    const left = (this.layout.x[node] - this.layout.x[this.focus]) * scale;
    const right = left + this.layout.wide[node] * scale;
    const [from, to] = [Math.max(0, left), Math.min(width, right)];
    return to - from < MIN_PIXELS ? null : { left: from, width: to - from };
  }

  draw() {
    const width = this.scroller.clientWidth;
    if (!this.layout || !width) return;
    const height = Math.max(1, this.layout.levels.length) * ROW_HEIGHT;
    const scale = devicePixelRatio || 1;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const paint = { context, ink: cssColour("--ink"), accent: cssColour("--accent"), ...diffColours() };
    for (const level of this.layout.levels) for (const node of level) this.drawNode(node, width, paint);
  }

  drawNode(node, width, paint) {
    const box = this.box(node, width);
    if (!box) return;
    const { context } = paint;
    const top = this.model.depth[node] * ROW_HEIGHT;
    const [before, after] = [this.layout.before[node], this.layout.after[node]];
    const faded = this.found && !this.found.has(node);
    context.globalAlpha = faded ? 0.25 : this.model.depth[node] < this.model.depth[this.focus] ? 0.55 : 1;
    context.fillStyle = paint.of(changeShare(before, after));
    const inner = box.width > 3 ? box.width - 1 : box.width;
    context.fillRect(box.left, top, inner, ROW_HEIGHT - 1);
    if (!before !== !after) hatch(context, box.left, top, inner, paint.hatch);
    if (node === this.selected && node !== 0) {
      context.strokeStyle = paint.accent;
      context.lineWidth = 2;
      context.strokeRect(box.left + 1, top + 1, Math.max(1, box.width - 3), ROW_HEIGHT - 3);
    }
    if (box.width > LABEL_PIXELS) {
      context.fillStyle = paint.ink;
      const text = `${this.model.title(node)}  ${signedTime(after - before)}`;
      context.fillText(fit(context, text, box.width - 9), box.left + 4, top + ROW_HEIGHT / 2);
    }
    context.globalAlpha = 1;
  }

  nodeAt(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const level = this.layout.levels[Math.floor((event.clientY - bounds.top) / ROW_HEIGHT)] ?? [];
    const at = event.clientX - bounds.left;
    return level.find((node) => {
      const box = this.box(node, bounds.width);
      return box && box.left <= at && at < box.left + box.width;
    });
  }

  hover(event) {
    const node = this.nodeAt(event);
    this.canvas.style.cursor = node === undefined ? "default" : "pointer";
    if (node === undefined) return hideTooltip();
    const { before, after, self } = this.layout;
    return showTooltip(
      this.model.title(node).slice(0, 200),
      [
        ...(this.model.file(node) ? [this.model.file(node).slice(-160)] : []),
        ["total", `${formatTime(before[node])} → ${formatTime(after[node])}`],
        ["difference", signedTime(after[node] - before[node])],
        ["self", `${formatTime(self.before[node])} → ${formatTime(self.after[node])}`],
        ...(before[node] ? [] : ["only after"]),
        ...(after[node] ? [] : ["only before"]),
      ],
      event,
    );
  }

  click(event) {
    const node = this.nodeAt(event);
    if (node !== undefined) this.zoom(node);
  }

  key(event) {
    const level = this.layout.levels[this.model.depth[this.selected]] ?? [];
    const below = this.layout.levels[this.model.depth[this.selected] + 1] ?? [];
    const beside = (by) => level[level.indexOf(this.selected) + by] ?? this.selected;
    const moves = {
      ArrowUp: () => Math.max(0, this.model.parent[this.selected]),
      ArrowDown: () => below.find((node) => this.model.parent[node] === this.selected) ?? this.selected,
      ArrowLeft: () => beside(-1),
      ArrowRight: () => beside(1),
    };
    if (event.key === "Enter") this.zoom(this.selected);
    else if (event.key === "Escape") this.zoom(0);
    else if (moves[event.key]) {
      this.selected = moves[event.key]();
      this.draw();
    } else return;
    event.preventDefault();
  }
}

function signedTime(ns) {
  return `${ns < 0 ? "−" : "+"}${formatTime(Math.abs(ns))}`;
}

function fit(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let length = Math.min(text.length, Math.ceil(room / 4));
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > room)
    length -= Math.max(1, length >> 4);
  return `${text.slice(0, length)}…`;
}

function hatch(context, left, top, width, colour) {
  context.save();
  context.beginPath();
  context.rect(left, top, width, ROW_HEIGHT - 1);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = left - ROW_HEIGHT; x < left + width; x += 7) {
    context.moveTo(x, top + ROW_HEIGHT);
    context.lineTo(x + ROW_HEIGHT, top);
  }
  context.stroke();
  context.restore();
}

// Blue and orange of Okabe and Ito over a neutral: apart for every common colour blindness.
function diffColours() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const neutral = dark ? [62, 66, 74] : [226, 226, 222];
  const less = dark ? [26, 108, 168] : [96, 170, 222];
  const more = dark ? [190, 96, 20] : [240, 158, 92];
  const of = (share) => {
    const [end, part] = [share < 0 ? less : more, Math.min(1, Math.abs(share) * 1.15)];
    return `rgb(${neutral.map((from, i) => Math.round(from + (end[i] - from) * part)).join(" ")})`;
  };
  return { of, hatch: dark ? "rgb(255 255 255 / 22%)" : "rgb(0 0 0 / 16%)" };
}

function scaleLegend() {
  const names = ["−100%", "−50%", "as before", "+50%", "new"];
  const shares = [-1, -0.5, 0, 0.33, 1];
  const keys = shares.map((share, i) =>
    el("span", {}, el("i.swatch", { style: { background: diffColours().of(share) } }), names[i]),
  );
  return el("span.legend", {}, ...keys);
}

function changedFunctions(functions) {
  const time = (name) => ({
    number: true,
    value: (row) => row[name],
    cell: (row) => formatTime(row[name]),
  });
  const columns = [
    { head: "function", value: (row) => row.function, cell: (row) => el("code.strong", { title: row.function }, row.function) },
    { head: "file", value: (row) => row.file, cell: (row) => el("code.place", { title: row.file }, row.file) },
    { head: "before", ...time("before_ns") },
    { head: "after", ...time("after_ns") },
    {
      head: "difference",
      number: true,
      value: (row) => row.after_ns - row.before_ns,
      cell: (row) => signedTime(row.after_ns - row.before_ns),
    },
    {
      head: "",
      value: (row) => (row.before_ns ? (row.after_ns ? "" : "vanished") : "new"),
    },
  ];
  if (!functions.length) return el("p.note", {}, "No function's self time changed.");
  return el(
    "details",
    { open: true },
    el("summary", {}, `The ${functions.length} functions whose self time changed most`),
    sortableTable(columns, functions, { caption: "Changed functions", filter: true }),
  );
}
