// Pointer and keys on the timeline.

import { hideTooltip, showTooltip } from "./dom.js";

const ZOOM_KEY = 0.6;
const PAN_KEY = 0.18;
const DRAG_PIXELS = 4;
const SNAP_PIXELS = 7;

export const KEYS = [
  ["W, S", "zoom in and out where the pointer is"],
  ["A, D", "move to the left and right"],
  ["Ctrl + wheel, pinch", "zoom where the pointer is"],
  ["drag, Shift + wheel", "move"],
  ["Shift + drag, or drag on the ruler", "select a range: its totals and its flame graph"],
  ["click", "select a slice"],
  ["double click, Enter", "zoom to the slice"],
  ["← → ↑ ↓", "to the slice before, after, around and inside"],
  ["/", "search; Enter or N for the next, Shift + Enter or P for the previous occurrence"],
  ["M", "measure: once for each end, at the edge next to the pointer"],
  ["F", "fit the requests, again: the whole capture"],
  ["Escape", "drop the measurement, the range, the selection"],
];

export class TraceInput {
  constructor(view, panel) {
    this.view = view;
    this.panel = panel;
    const { canvas, ruler, mapCanvas, scroller } = view;
    canvas.addEventListener("pointerdown", (event) => this.down(event, event.shiftKey ? "range" : "pan"));
    ruler.addEventListener("pointerdown", (event) => this.down(event, "range"));
    mapCanvas.addEventListener("pointerdown", (event) => this.down(event, "map"));
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("dblclick", (event) => this.zoomTo(view.sliceAt(event)));
    canvas.addEventListener("keydown", (event) => this.key(event));
    for (const target of [scroller, ruler])
      target.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  timeAt(event) {
    return this.view.time(event.clientX - this.view.canvas.getBoundingClientRect().left);
  }

  down(event, mode) {
    if (event.button !== 0) return;
    const { view } = this;
    const begun = { x: event.clientX, y: event.clientY, time: this.timeAt(event), from: view.window.from };
    const scrolled = view.scroller.scrollTop;
    let moved = false;
    hideTooltip();
    const move = (now) => {
      const [dx, dy] = [now.clientX - begun.x, now.clientY - begun.y];
      moved ||= Math.abs(dx) + Math.abs(dy) > DRAG_PIXELS;
      if (mode === "map") return this.moveMap(now);
      if (!moved) return undefined;
      this.dragging = true;
      if (mode === "range") return view.setRange(begun.time, this.timeAt(now));
      const { length } = view.window;
      const from = begun.from - dx * view.nsPerPixel;
      view.window.set(from, from + length);
      view.scroller.scrollTop = scrolled - dy;
      return undefined;
    };
    const up = (now) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", up);
      removeEventListener("pointercancel", up);
      this.dragging = false;
      if (mode === "map") return;
      if (!moved && mode === "pan") this.panel.choose(view.sliceAt(now));
      if (moved && mode === "range") this.panel.chooseRange();
      view.canvas.focus({ preventScroll: true });
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up);
    addEventListener("pointercancel", up);
    if (mode === "map") this.moveMap(event);
    event.preventDefault();
  }

  moveMap(event) {
    const { window, mapCanvas } = this.view;
    const bounds = mapCanvas.getBoundingClientRect();
    const middle = window.first + ((event.clientX - bounds.left) / bounds.width) * (window.last - window.first);
    window.set(middle - window.length / 2, middle + window.length / 2);
  }

  wheel(event) {
    const { window } = this.view;
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.ctrlKey || event.metaKey) window.zoom(Math.exp(event.deltaY * unit * 0.003), this.timeAt(event));
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
      window.pan(((event.deltaX || event.deltaY) * unit) / this.view.width);
    else return;
    event.preventDefault();
    this.last = event;
    hideTooltip();
  }

  hover(event) {
    this.last = event;
    if (this.dragging) return;
    const { view } = this;
    const slice = view.sliceAt(event);
    if (slice?.origin !== view.hovered?.origin || slice?.start !== view.hovered?.start) view.schedule();
    view.hovered = slice;
    view.canvas.style.cursor = slice ? "pointer" : "default";
    if (!slice) return hideTooltip();
    return showTooltip(view.trace.nameOf(slice).slice(0, 300), view.trace.describe(slice), event);
  }

  leave() {
    this.last = null;
    this.view.hovered = null;
    this.view.schedule();
    hideTooltip();
  }

  // Where keys zoom: the pointer, else what is selected, else the middle.
  focusTime() {
    const { window, selected } = this.view;
    if (this.last) return this.timeAt(this.last);
    const middle = selected ? selected.start + selected.length / 2 : NaN;
    return middle >= window.from && middle <= window.to ? middle : window.from + window.length / 2;
  }

  zoomTo(slice) {
    if (!slice) return;
    this.view.window.go(slice.start - slice.length * 0.15, slice.start + slice.length * 1.15);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { view, panel } = this;
    const actions = {
      w: () => view.window.zoom(ZOOM_KEY, this.focusTime(), true),
      s: () => view.window.zoom(1 / ZOOM_KEY, this.focusTime(), true),
      a: () => view.window.pan(-PAN_KEY, true),
      d: () => view.window.pan(PAN_KEY, true),
      "+": () => view.window.zoom(ZOOM_KEY, this.focusTime(), true),
      "-": () => view.window.zoom(1 / ZOOM_KEY, this.focusTime(), true),
      f: () => panel.fit(),
      m: () => this.measure(),
      n: () => panel.step(true),
      p: () => panel.step(false),
      "?": () => panel.toggleKeys(),
      enter: () => this.zoomTo(view.selected),
      escape: () => panel.dropLast(),
      arrowleft: () => panel.walk("before"),
      arrowright: () => panel.walk("after"),
      arrowup: () => panel.walk("above"),
      arrowdown: () => panel.walk("below"),
    };
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    hideTooltip();
    action();
  }

  // The next end of a measurement: the edge of the slice next to the pointer, or the pointer itself.
  measure() {
    const { view } = this;
    let time = view.selected?.start ?? view.window.from + view.window.length / 2;
    if (this.last) {
      time = this.timeAt(this.last);
      const slice = view.sliceAt(this.last);
      const edges = slice ? [slice.start, slice.start + slice.length] : [];
      const nearest = edges.sort((a, b) => Math.abs(a - time) - Math.abs(b - time))[0];
      if (Math.abs(nearest - time) < SNAP_PIXELS * view.nsPerPixel) time = nearest;
    }
    this.panel.mark(time);
  }
}
