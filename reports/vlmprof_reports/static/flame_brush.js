// How a frame of the flame graph is painted, and what its colour says.

import { cssColour } from "./dom.js";
import { shortPath } from "./format.js";
import { TextFitter } from "./text_fitter.js";

export const ROW_HEIGHT = 20;

// Hue says whose code it is, so that a glance separates the engine from torch and from Python itself.
const PACKAGE_HUES = new Map([
  ["vllm", 212],
  ["torch", 24],
  ["transformers", 160],
  ["torchvision", 45],
  ["PIL", 285],
  ["numpy", 60],
  ["uvicorn", 190],
  ["starlette", 190],
  ["fastapi", 190],
  ["zmq", 330],
  ["msgspec", 330],
  ["GPU kernel", 100],
  ["span", 212],
]);
// What a frame is where it has no file: work of the GPU, spans.
const KINDS_OF_FRAMES = new Set(["GPU kernel", "span"]);
const SPARE_HUES = [95, 250, 130, 310, 55];

export function packageOf(file) {
  if (!file) return "";
  if (KINDS_OF_FRAMES.has(file)) return file;
  const short = shortPath(file);
  if (/\/lib\/python3\.\d+\//.test(file) && !/-packages\//.test(file)) return "Python";
  if (short === file) return file.startsWith("<") ? "Python" : "other code";
  return short.split("/")[0].replace(/\.py$/, "");
}

export function packageHue(name) {
  if (name === "" || name === "Python" || name === "other code") return null;
  if (PACKAGE_HUES.has(name)) return PACKAGE_HUES.get(name);
  return SPARE_HUES[hashOf(name) % SPARE_HUES.length];
}

function hashOf(text) {
  let hash = 2166136261;
  for (let i = 0; i < text.length && i < 64; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return hash >>> 0;
}

export function packageColour(name, variation = 0) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const hue = packageHue(name);
  const light = dark ? 34 + variation * 8 : 76 + variation * 9;
  return hue === null
    ? `hsl(220 8% ${light + (dark ? -4 : 5)}%)`
    : `hsl(${hue} ${dark ? 45 : 68}% ${light}%)`;
}

// Good until the theme changes: asking for colours and measuring text is most of what a frame would cost.
export class FlameBrush {
  constructor(model, context) {
    this.model = model;
    this.context = context;
    this.fitter = new TextFitter(context);
    this.ink = cssColour("--ink");
    this.background = cssColour("--panel");
    this.match = cssColour("--match");
    this.accent = cssColour("--accent");
    this.colours = new Map();
  }

  colour(node) {
    const name = this.model.name[node];
    if (!this.colours.has(name)) {
      const variation = (hashOf(this.model.title(node)) % 100) / 100;
      this.colours.set(name, packageColour(packageOf(this.model.file(node)), variation));
    }
    return this.colours.get(name);
  }

  fill(node, box, top, { faded, matched, ancestor }) {
    const { context } = this;
    context.globalAlpha = matched ? 1 : faded ? 0.3 : ancestor ? 0.55 : 1;
    context.fillStyle = matched ? this.match : this.colour(node);
    // A hairline between neighbours, unless it would eat the box.
    context.fillRect(box.left, top, box.width > 3 ? box.width - 1 : box.width, ROW_HEIGHT - 1);
    context.globalAlpha = 1;
  }

  outline(box, top) {
    this.context.strokeStyle = this.accent;
    this.context.lineWidth = 2;
    this.context.strokeRect(box.left + 1, top + 1, Math.max(1, box.width - 3), ROW_HEIGHT - 3);
  }

  label(text, box, top, faded) {
    const { context } = this;
    context.fillStyle = this.ink;
    context.globalAlpha = faded ? 0.55 : 1;
    context.fillText(this.fitter.fit(text, box.width - 9), box.left + 4, top + ROW_HEIGHT / 2);
    context.globalAlpha = 1;
  }
}
