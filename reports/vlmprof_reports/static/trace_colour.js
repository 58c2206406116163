// Colours of slices as pixels. Hue says what kind of work it is; names on the slices say the same in words.

import { cssColour } from "./dom.js";
import { packageColour, packageOf } from "./flame_brush.js";
import { stageColour } from "./chart_style.js";

// Okabe and Ito's set, apart for every common colour blindness.
const FAMILY_COLOURS = {
  gemm: "#3d7fd0",
  attention: "#d55e00",
  norm: "#009e73",
  activation: "#e69f00",
  rotary: "#cc79a7",
  copy: "#56b4e9",
  quantize: "#a89600",
  communication: "#9a7bc8",
};
const COPY_COLOURS = { HtoD: "#d55e00", DtoH: "#009e73", DtoD: "#56b4e9", PtoP: "#9a7bc8" };
const NEUTRAL = "#8a93a3";

export class TraceColours {
  constructor(trace) {
    this.trace = trace;
    this.dark = matchMedia("(prefers-color-scheme: dark)").matches;
    this.ink = cssColour("--ink");
    this.muted = cssColour("--muted");
    this.line = cssColour("--line");
    this.accent = cssColour("--accent");
    this.match = pixelOf(cssColour("--match"));
    this.panel = cssColour("--panel");
    this.ground = pixelOf(this.panel);
    this.grid = pixelOf(cssColour("--line"));
    this.waiting = pixelOf(this.dark ? "#2a2e36" : "#e9eaec");
    // By number of the function, and of the name; 0, which no opaque pixel is, where it has not been asked for.
    this.byFunction = new Uint32Array(trace.model.names.length);
    this.byName = new Uint32Array(trace.names.length);
  }

  ofNode(node) {
    const { model } = this.trace;
    const name = model.name[node];
    return this.byFunction[name] || (this.byFunction[name] = this.functionColour(node, name));
  }

  functionColour(node, name) {
    const { model } = this.trace;
    if (model.waits.has(name)) return this.waiting;
    return pixelOf(packageColour(packageOf(model.file(node)), variation(model.title(node))));
  }

  ofName(track, name) {
    return this.byName[name] || (this.byName[name] = this.nameColour(track, name));
  }

  nameColour(track, name) {
    return this.softened(this.hexOf(track, name), variation(this.trace.names[name]));
  }

  hexOf(track, name) {
    const stage = this.trace.stageOf({ track, name });
    if (stage) return stageColour(stage);
    if (track.kind === "requests") return "#8a93a3";
    if (track.kind === "kernels")
      return FAMILY_COLOURS[this.trace.families[this.trace.categories[name]]] ?? NEUTRAL;
    if (track.kind === "copies") return COPY_COLOURS[this.trace.names[name]] ?? NEUTRAL;
    if (track.kind === "calls")
      return /sync/i.test(this.trace.names[name]) ? "#c0894a" : /launch/i.test(this.trace.names[name]) ? "#5b8fc7" : NEUTRAL;
    return NEUTRAL;
  }

  // Towards the ground, so that the ink of the theme reads on every colour.
  softened(hex, varied) {
    const share = (this.dark ? 0.42 : 0.4) + 0.14 * (varied - 0.5);
    return blend(pixelOf(hex), this.dark ? pixelOf("#101216") : pixelOf("#ffffff"), 1 - share);
  }
}

function variation(text) {
  let hash = 0;
  for (let i = 0; i < text.length && i < 64; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0;
  return ((hash >>> 0) % 100) / 100;
}

// An opaque colour as the 32 bits of a canvas pixel on a little-endian machine.
export function pixelOf(css) {
  const context = (pixelOf.context ??= document.createElement("canvas").getContext("2d"));
  context.fillStyle = css;
  // What a context says of its style is #rrggbb, whichever way it was given.
  const rgb = parseInt(context.fillStyle.slice(1), 16);
  return (0xff000000 | ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
}

// `share` of the first colour over the second.
export function blend(over, under, share) {
  const part = Math.max(0, Math.min(256, Math.round(share * 256)));
  const rest = 256 - part;
  const redBlue = ((over & 0xff00ff) * part + (under & 0xff00ff) * rest) >>> 8;
  const green = ((over & 0x00ff00) * part + (under & 0x00ff00) * rest) >>> 8;
  return (0xff000000 | (redBlue & 0xff00ff) | (green & 0x00ff00)) >>> 0;
}
