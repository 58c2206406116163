// Paints the lanes of a track as rows of pixels: many short slices share a pixel by how much of it they cover.

import { el } from "./dom.js";
import { blend } from "./trace_colour.js";

const FAINTEST = 0.28;
const LABEL_PIXELS = 28;

export class RowPainter {
  // Width and height in device pixels, of which `scale` are one CSS pixel.
  constructor(width, height, scale, ground) {
    Object.assign(this, { width, height, scale, ground });
    this.strip = el("canvas");
    this.background = new Uint32Array(width);
    this.grow(1);
    this.growStrip(32);
  }

  // `ticks`: times at which a line of colour `line` goes from top to bottom, behind the slices.
  begin(from, to, ticks = [], line = 0) {
    this.from = from;
    this.perNs = this.width / (to - from);
    this.labels = [];
    this.lines = [];
    this.isHandedOver = false;
    this.background.fill(this.ground);
    this.ticks = ticks.map((time) => Math.floor((time - from) * this.perNs)).filter((x) => x >= 0 && x < this.width);
    for (const x of this.ticks) this.background[x] = line;
  }

  // `top` and `laneHeight` in CSS pixels; a lane's last pixel stays empty.
  beginTrack(top, laneHeight, lanes) {
    Object.assign(this, { top, laneHeight, lanes });
    this.grow(lanes);
    this.cover.fill(0, 0, lanes * this.width);
    this.most.fill(-1, 0, lanes * this.width);
  }

  grow(lanes) {
    const size = lanes * this.width;
    if (this.cover?.length >= size) return;
    this.cover = new Float32Array(size);
    this.most = new Float32Array(size);
    this.colour = new Uint32Array(size);
  }

  // A slice: its first and last pixel in part, those between whole. `busy` is the covered share of a bin.
  slice(lane, start, length, colour, busy = 1) {
    const left = (start - this.from) * this.perNs;
    const right = left + length * this.perNs;
    if (right < 0 || left >= this.width || lane >= this.lanes) return;
    const at = lane * this.width;
    if (right - left <= 1) {
      this.add(at + Math.max(0, Math.floor(left)), (right - left) * busy, colour);
      return;
    }
    // A gap between neighbours, unless it would eat the slice.
    const end = busy === 1 && right - left > 4 * this.scale ? right - 0.75 * this.scale : right;
    const first = Math.max(0, Math.floor(left));
    const last = Math.min(this.width - 1, Math.ceil(end) - 1);
    for (let x = first; x <= last; x++)
      this.add(at + x, (Math.min(x + 1, end) - Math.max(x, left)) * busy, colour);
  }

  add(at, share, colour) {
    this.cover[at] += share;
    if (share >= this.most[at]) {
      this.most[at] = share;
      this.colour[at] = colour;
    }
  }

  // Remembers a name to be written on a slice that has room for it; positions in CSS pixels.
  label(lane, text, start, length) {
    const left = Math.max(0, ((start - this.from) * this.perNs) / this.scale);
    const right = Math.min(this.width, (start + length - this.from) * this.perNs) / this.scale;
    if (right - left < LABEL_PIXELS) return;
    const y = this.top + (lane + 0.5) * this.laneHeight - 0.5;
    this.labels.push({ text, left: left + 3, room: right - left - 7, y });
  }

  isWide(length) {
    return length * this.perNs >= LABEL_PIXELS * this.scale;
  }

  endTrack() {
    for (let lane = 0; lane < this.lanes; lane++) {
      const top = Math.round((this.top + lane * this.laneHeight) * this.scale);
      const bottom = Math.round((this.top + (lane + 1) * this.laneHeight - 1) * this.scale);
      if (bottom > 0 && top < this.height) this.writeLane(lane, Math.max(0, top), Math.min(this.height, bottom));
    }
  }

  // The lane as one row of pixels of the strip.
  writeLane(lane, top, bottom) {
    const { width } = this;
    if (this.lines.length === this.image.height) this.growStrip(2 * this.lines.length);
    const { pixels } = this;
    const from = lane * width;
    const at = this.lines.push({ top, bottom }) * width - width;
    pixels.set(this.background, at);
    for (let x = 0; x < width; x++) {
      if (this.most[from + x] < 0) continue;
      const share = Math.min(1, Math.max(FAINTEST, this.cover[from + x]));
      const colour = this.colour[from + x];
      pixels[at + x] = share === 1 ? colour : blend(colour, this.ground, share);
    }
  }

  growStrip(rows) {
    const before = this.pixels;
    Object.assign(this.strip, { width: this.width, height: rows });
    this.stripContext = this.strip.getContext("2d", { alpha: false });
    this.image = new ImageData(this.width, rows);
    this.pixels = new Uint32Array(this.image.data.buffer);
    if (before) this.pixels.set(before);
  }

  // Puts what was painted on a canvas, each row of the strip as high as its lane: a screenful of pixels need not be
  // made and handed over for it.
  show(context, { panel, line }) {
    const { strip, lines, width, height } = this;
    if (lines.length && !this.isHandedOver)
      this.stripContext.putImageData(this.image, 0, 0, 0, 0, width, lines.length);
    this.isHandedOver = true;
    context.save();
    context.resetTransform();
    context.imageSmoothingEnabled = false;
    context.fillStyle = panel;
    context.fillRect(0, 0, width, height);
    context.fillStyle = line;
    for (const x of this.ticks) context.fillRect(x, 0, 1, height);
    lines.forEach(({ top, bottom }, row) => context.drawImage(strip, 0, row, width, 1, 0, top, width, bottom - top));
    context.restore();
  }
}
