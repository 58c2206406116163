// The timeline on its canvases: draws a frame when something changed, and says what is where.

import { el, onThemeChange } from "./dom.js";
import { formatDuration } from "./format.js";
import { BlockStore } from "./trace_blocks.js";
import { TraceColours } from "./trace_colour.js";
import { TrackDrawer } from "./trace_draw.js";
import { SliceFinder } from "./trace_hit.js";
import { TraceLabels } from "./trace_labels.js";
import { TraceLayout } from "./trace_layout.js";
import { drawArrows, drawMarks, drawOutline } from "./trace_overlay.js";
import { RowPainter } from "./trace_rows.js";
import { TextFitter } from "./text_fitter.js";
import { TraceMap, drawRuler, drawScale } from "./trace_ruler.js";
import { TimeWindow } from "./trace_window.js";
import { sizeCanvas } from "./canvas.js";

export const GUTTER = 218;

export class TraceView {
  constructor(trace, archive, onchange) {
    this.trace = trace;
    this.onchange = onchange;
    this.store = new BlockStore(archive, () => this.schedule());
    this.colours = new TraceColours(trace);
    this.drawer = new TrackDrawer(trace, this.store, this.colours);
    this.finder = new SliceFinder(this.drawer);
    this.layout = new TraceLayout(trace);
    this.window = new TimeWindow(trace, () => this.changed());
    this.selected = null;
    this.range = null;
    this.marks = [];
    this.build();
    this.map = new TraceMap(this.mapCanvas, trace, this.drawer);
    new ResizeObserver(() => this.schedule()).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this.schedule());
    onThemeChange(() => this.useTheme());
  }

  build() {
    this.mapCanvas = el("canvas.trace-map", { "aria-hidden": "true" });
    this.scale = el("canvas.trace-scale", { "aria-hidden": "true" });
    this.ruler = el("canvas.trace-ruler", { "aria-hidden": "true" });
    this.canvas = el("canvas.trace-canvas", {
      tabindex: "0",
      role: "application",
      "aria-label":
        "Timeline. W and S zoom, A and D move, arrow keys walk from slice to slice, Enter zooms to one, slash searches, M measures, question mark lists all keys.",
    });
    this.labels = new TraceLabels(this);
    this.body = el("div.trace-body", {}, this.canvas, this.labels.element);
    this.scroller = el("div.trace-scroll", {}, this.body);
    const head = el("div.trace-head", {}, this.scale, this.ruler);
    this.element = el("div.trace", {}, this.mapCanvas, head, this.scroller);
    this.relayout();
  }

  useTheme() {
    this.colours = this.drawer.colours = new TraceColours(this.trace);
    this.painter = null;
    this.schedule();
  }

  // Rows came or went.
  relayout() {
    this.layout.place();
    this.body.style.height = `${this.layout.height}px`;
    this.labels.show();
    this.schedule();
  }

  changed() {
    this.schedule();
    this.onchange();
  }

  schedule() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.draw();
    });
  }

  // Width of the tracks and height of what is seen of them, in CSS pixels.
  get width() {
    return Math.max(1, this.scroller.clientWidth - GUTTER);
  }

  get nsPerPixel() {
    return this.window.length / this.width;
  }

  x(time) {
    return (time - this.window.from) / this.nsPerPixel;
  }

  time(x) {
    return this.window.from + x * this.nsPerPixel;
  }

  draw() {
    const { width, window, colours } = this;
    const height = this.scroller.clientHeight;
    if (this.scroller.clientWidth <= GUTTER || !height) return;
    this.store.nextFrame();
    drawScale(this.scale, `${formatDuration(window.length)} in view`, GUTTER, colours);
    const ticks = drawRuler(this.ruler, window, width, colours, this.trace.start_ns);
    this.map.draw(window, width, colours, this.marks);
    const context = sizeCanvas(this.canvas, width, height, true);
    this.fitter ??= new TextFitter(context);
    const painter = this.preparedPainter(width, height, ticks);
    for (const row of this.shownRows(height))
      if (row.track) this.drawer.draw(painter, row, window.from, window.to, window.length / painter.width);
    painter.show(context, colours);
    this.drawGroupLines(context, height);
    this.drawLabels(context, painter);
    this.drawOverlay(context, height);
  }

  preparedPainter(width, height, ticks) {
    const scale = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.painter?.width !== wide || this.painter?.height !== high)
      this.painter = new RowPainter(wide, high, scale, this.colours.ground);
    this.painter.begin(this.window.from, this.window.to, ticks, this.colours.grid);
    return this.painter;
  }

  *shownRows(height) {
    const scrolled = this.scroller.scrollTop;
    for (const row of this.layout.rows)
      if (row.top + row.height > scrolled && row.top < scrolled + height) yield Object.assign(row, { scrolled });
  }

  drawGroupLines(context, height) {
    context.fillStyle = this.colours.line;
    for (const row of this.shownRows(height))
      if (!row.track) context.fillRect(0, row.top - row.scrolled, this.width, 1);
  }

  drawLabels(context, painter) {
    context.font = "11.5px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = this.colours.ink;
    for (const { text, left, room, y } of painter.labels) {
      const fitted = this.fitter.fit(text, room);
      if (fitted) context.fillText(fitted, left, y);
    }
  }

  drawOverlay(context, height) {
    if (this.range) {
      context.fillStyle = this.colours.accent;
      context.globalAlpha = 0.13;
      const left = this.x(this.range.from);
      context.fillRect(left, 0, this.x(this.range.to) - left, height);
      context.globalAlpha = 1;
    }
    drawArrows(context, this);
    if (this.selected) drawOutline(context, this, this.selected);
    drawMarks(context, this, height, formatDuration);
  }

  // Row, lane and time at a place of the canvas; lane is null outside of tracks.
  place(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const y = event.clientY - bounds.top + this.scroller.scrollTop;
    const row = this.layout.rowAt(y);
    const time = this.time(event.clientX - bounds.left);
    if (!row?.track) return { row, lane: null, time };
    const lane = Math.floor((y - row.top) / row.laneHeight);
    return { row, lane: lane < row.lanes ? lane : null, time };
  }

  sliceAt(event) {
    const { row, lane, time } = this.place(event);
    if (lane === null) return null;
    return this.finder.at(row.track, this.drawnLane(row, lane), time, this.nsPerPixel);
  }

  // A folded stack shows each stack's innermost frame.
  drawnLane(row, lane) {
    return row.folded && row.track.kind === "stacks" ? -1 : lane;
  }

  select(slice) {
    this.selected = slice;
    this.changed();
  }

  setRange(from, to) {
    this.range = { from: Math.min(from, to), to: Math.max(from, to) };
    this.changed();
  }

  // Brings a slice into view, opening whatever hides its track.
  reveal(slice) {
    this.layout.reveal(slice.track);
    this.relayout();
    const row = this.layout.rowOfTrack.get(slice.track.number);
    const y = row.top + Math.max(0, slice.lane) * row.laneHeight;
    const { scrollTop, clientHeight } = this.scroller;
    if (y < scrollTop + 10 || y > scrollTop + clientHeight - 40) this.scroller.scrollTop = y - clientHeight / 3;
    this.window.reveal(slice.start, slice.length);
    this.select(slice);
  }
}
