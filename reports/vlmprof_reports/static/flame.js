// The flame graph on a canvas: shows part of a layout, zooms, highlights, follows pointer and keys.

import { el, onThemeChange, showTooltip, hideTooltip } from "./dom.js";
import { FlameBrush, ROW_HEIGHT } from "./flame_brush.js";
import { sizeCanvas } from "./canvas.js";

const MIN_PIXELS = 0.5;
const LABEL_PIXELS = 34;
const ZOOM_MS = 160;

export class FlameCanvas {
  // `flipped`: the root is at the bottom, as for callers above a function.
  constructor(model, { describe, onselect, flipped = false }) {
    this.model = model;
    this.flipped = flipped;
    this.describe = describe;
    this.onselect = onselect;
    this.canvas = el("canvas", {
      tabindex: "0",
      role: "application",
      "aria-label": "Flame graph. Arrow keys move, Enter zooms, Escape resets.",
    });
    this.scroller = el("div.flame-scroll", {}, this.canvas);
    this.focus = 0;
    this.selected = 0;
    this.found = null;
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", hideTooltip);
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    onThemeChange(() => {
      this.brush = null;
      this.draw();
    });
  }

  show(layout) {
    this.layout = layout;
    this.found = null;
    hideTooltip();
    this.focus = this.selected = 0;
    this.window = { left: 0, width: 1 };
    this.draw();
    this.settle();
  }

  // Scrolls to the root.
  settle() {
    this.scroller.scrollTop = this.flipped ? this.scroller.scrollHeight : 0;
  }

  topOf(level) {
    return (this.flipped ? this.layout.levels.length - 1 - level : level) * ROW_HEIGHT;
  }

  highlight(found) {
    this.found = found;
    this.draw();
  }

  zoom(node) {
    const { x, total } = this.layout;
    this.focus = this.selected = node;
    this.canvas.dataset.focus = this.model.title(node);
    this.animate({ left: x[node], width: total[node] / (total[0] || 1) || 1 });
    const above = Math.max(0, this.topOf(this.model.depth[node]) - 3 * ROW_HEIGHT);
    this.scroller.scrollTo({ top: above, behavior: this.calm() ? "auto" : "smooth" });
    this.onselect(node);
  }

  calm() {
    return matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  animate(target) {
    const from = this.window;
    const begun = performance.now();
    cancelAnimationFrame(this.frame);
    const step = (now) => {
      const done = this.calm() ? 1 : Math.min(1, (now - begun) / ZOOM_MS);
      const eased = 1 - (1 - done) ** 3;
      this.window = {
        left: from.left + (target.left - from.left) * eased,
        width: from.width + (target.width - from.width) * eased,
      };
      this.draw();
      if (done < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  draw() {
    const width = this.scroller.clientWidth;
    if (!this.layout || !width) return;
    const height = Math.max(1, this.layout.levels.length) * ROW_HEIGHT;
    const context = sizeCanvas(this.canvas, width, height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    this.brush ??= new FlameBrush(this.model, context);
    for (const level of this.layout.levels) for (const node of level) this.drawNode(node, width, this.brush);
  }

  // Left edge and width in pixels, cut to the canvas; null where nothing would be seen.
  box(node, width) {
    const whole = this.layout.total[0] || 1;
    const left = ((this.layout.x[node] - this.window.left) / this.window.width) * width;
    const right = left + (this.layout.total[node] / whole / this.window.width) * width;
    const [from, to] = [Math.max(0, left), Math.min(width, right)];
    return to - from < MIN_PIXELS ? null : { left: from, width: to - from };
  }

  drawNode(node, width, brush) {
    const box = this.box(node, width);
    if (!box) return;
    const top = this.topOf(this.model.depth[node]);
    const faded = this.found ? !this.found.has(node) : false;
    brush.fill(node, box, top, {
      faded,
      matched: this.found?.has(node),
      ancestor: this.model.depth[node] < this.model.depth[this.focus],
    });
    if (node === this.selected && node !== 0) brush.outline(box, top);
    if (box.width > LABEL_PIXELS) brush.label(this.model.title(node), box, top, faded);
  }

  nodeAt(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - bounds.top) / ROW_HEIGHT);
    const level = this.layout?.levels[this.flipped ? this.layout.levels.length - 1 - row : row];
    if (!level) return null;
    const at = this.window.left + ((event.clientX - bounds.left) / bounds.width) * this.window.width;
    const whole = this.layout.total[0] || 1;
    let [low, high] = [0, level.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.layout.x[level[middle]] <= at) low = middle + 1;
      else high = middle;
    }
    const node = level[low - 1];
    return node !== undefined && at < this.layout.x[node] + this.layout.total[node] / whole ? node : null;
  }

  hover(event) {
    const node = this.nodeAt(event);
    this.canvas.style.cursor = node === null ? "default" : "pointer";
    if (node === null) return hideTooltip();
    const { title, lines } = this.describe(node, this.layout);
    return showTooltip(title, lines, event);
  }

  click(event) {
    const node = this.nodeAt(event);
    if (node !== null) this.zoom(node);
  }

  key(event) {
    const moves = {
      [this.flipped ? "ArrowDown" : "ArrowUp"]: () => Math.max(0, this.model.parent[this.selected]),
      [this.flipped ? "ArrowUp" : "ArrowDown"]: () => this.child(),
      ArrowLeft: () => this.neighbour(-1),
      ArrowRight: () => this.neighbour(1),
    };
    if (event.key === "Enter") this.zoom(this.selected);
    else if (event.key === "Escape") this.zoom(0);
    else if (moves[event.key]) this.move(moves[event.key]());
    else return;
    event.preventDefault();
  }

  move(node) {
    this.selected = node;
    this.draw();
    this.onselect(node);
  }

  child() {
    const below = this.layout.levels[this.model.depth[this.selected] + 1] ?? [];
    return below.find((node) => this.model.parent[node] === this.selected) ?? this.selected;
  }

  neighbour(by) {
    const level = this.layout.levels[this.model.depth[this.selected]];
    return level[level.indexOf(this.selected) + by] ?? this.selected;
  }
}
