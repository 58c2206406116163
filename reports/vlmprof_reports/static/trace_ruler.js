// Above the tracks: the whole capture with the window in it, and the ruler of the window.

import { NS_PER_MS } from "./format.js";
import { RowPainter } from "./trace_rows.js";
import { sizeCanvas } from "./canvas.js";

const MAP_LANE = 7;
const MAP_TRACKS = 6;
export const RULER_HEIGHT = 24;

export class TraceMap {
  constructor(canvas, trace, drawer) {
    Object.assign(this, { canvas, trace, drawer });
    this.tracks = mapTracks(trace);
    this.height = this.tracks.length * MAP_LANE + 6;
  }

  // The picture of the capture is drawn once for each width, theme and search; the window over it each time.
  draw(window, width, colours, marks) {
    const context = sizeCanvas(this.canvas, width, this.height);
    const key = `${width} ${colours.dark} ${this.ready}`;
    if (this.key !== key || !this.ready) {
      this.painter = this.paint(width, colours);
      this.key = `${width} ${colours.dark} ${this.ready}`;
    }
    this.painter.show(context, colours);
    const { first, last } = window;
    const x = (time) => ((time - first) / (last - first)) * width;
    context.fillStyle = colours.dark ? "rgba(0,0,0,0.5)" : "rgba(120,120,120,0.28)";
    context.fillRect(0, 0, x(window.from), this.height);
    context.fillRect(x(window.to), 0, width - x(window.to), this.height);
    context.strokeStyle = colours.accent;
    context.lineWidth = 1.5;
    context.strokeRect(x(window.from), 0.75, Math.max(3, x(window.to) - x(window.from)), this.height - 1.5);
    context.fillStyle = colours.accent;
    for (const time of marks) context.fillRect(x(time) - 0.5, 0, 1, this.height);
  }

  paint(width, colours) {
    const { extent_ns } = this.trace;
    const scale = devicePixelRatio || 1;
    const painter = new RowPainter(Math.round(width * scale), Math.round(this.height * scale), scale, colours.ground);
    const [from, to] = [-0.02 * extent_ns, 1.02 * extent_ns + 1];
    painter.begin(from, to);
    const nsPerPixel = (to - from) / painter.width;
    this.ready = true;
    this.tracks.forEach((track, number) => {
      const level = track.levelFor(nsPerPixel);
      if (!this.drawer.isReady(track, level, from, to)) this.ready = false;
      const row = { track, top: 3 + number * MAP_LANE, scrolled: 0, laneHeight: MAP_LANE, lanes: 1, folded: true };
      this.drawer.draw(painter, row, from, to, nsPerPixel);
    });
    return painter;
  }
}

// Requests, the threads that work most, the busiest streams.
function mapTracks(trace) {
  const of = (kind, work) =>
    trace.tracks.filter((track) => track.kind === kind).sort((a, b) => work(b) - work(a));
  const chosen = [
    ...of("requests", () => 0),
    ...of("stacks", (track) => trace.weightOf(track)).slice(0, 3),
    ...of("kernels", (track) => track.total_ns).slice(0, 2),
  ];
  return (chosen.length ? chosen : of("spans", (track) => track.total_ns)).slice(0, MAP_TRACKS);
}

// Ticks at round times, counted from the first request; returns their times.
export function drawRuler(canvas, window, width, colours, origin) {
  const context = sizeCanvas(canvas, width, RULER_HEIGHT);
  const step = roundStep((window.length / width) * 110);
  const digits = Math.max(0, -Math.floor(Math.log10(step / NS_PER_MS) + 1e-9));
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.fillStyle = colours.muted;
  context.strokeStyle = colours.line;
  const ticks = [];
  for (let tick = Math.ceil((window.from - origin) / step); tick * step + origin <= window.to; tick++) {
    ticks.push(tick * step + origin);
    const x = Math.round(((tick * step + origin - window.from) / window.length) * width) + 0.5;
    context.beginPath();
    context.moveTo(x, RULER_HEIGHT - 6);
    context.lineTo(x, RULER_HEIGHT);
    context.stroke();
    context.fillText(tickText(tick * step, step, digits), x + 4, RULER_HEIGHT / 2);
  }
  return ticks;
}

// Left of the ruler: how much time is in view, which changes with every frame. As text of the page it would have
// much of it laid out and painted again each time, several times the work of the timeline itself.
export function drawScale(canvas, text, width, colours) {
  const context = sizeCanvas(canvas, width, RULER_HEIGHT);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.fillStyle = colours.muted;
  context.fillText(text, width - 10, RULER_HEIGHT / 2);
}

function tickText(ns, step, digits) {
  if (step >= 1e8) return `${(ns / 1e9).toFixed(step >= 1e9 ? 0 : 1)} s`;
  return `${(ns / NS_PER_MS).toFixed(Math.min(6, digits))} ms`;
}

function roundStep(ns) {
  const power = 10 ** Math.floor(Math.log10(ns));
  return power * ([1, 2, 5].find((factor) => factor * power >= ns) ?? 10);
}
