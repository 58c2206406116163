// How plotly's charts look here: colours of the theme, axes, and text that is only text.

import { cssColour } from "./dom.js";
import { page } from "./data.js";

export const CHART_CONFIG = {
  displayModeBar: false,
  responsive: true,
  displaylogo: false,
  scrollZoom: false,
};

// Plotly reads some markup in its texts; whatever comes from a capture is escaped first.
export function plotlyText(text) {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll("%{", "%\u200b{");
}

// A name beside an axis or in a legend, which take the room that it asks for.
export function chartLabel(text, longest = 42) {
  return plotlyText(text.length > longest ? `${text.slice(0, longest - 1)}…` : text);
}

// Black or white, whichever stands out more: the groups' hues are mid-tones, of which the yellow ones take black.
export function inkOn(hex) {
  const part = (at) => parseInt(hex.slice(at, at + 2), 16) / 255;
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = 0.2126 * linear(part(1)) + 0.7152 * linear(part(3)) + 0.0722 * linear(part(5));
  return (light + 0.05) ** 2 > 0.05 * 1.05 ? "#14171c" : "#ffffff";
}

// Stages of one group share its hue and differ in lightness.
export function stageColour(stage) {
  const siblings = page.stages.filter((other) => other.group === stage.group);
  const position = siblings.findIndex((other) => other.id === stage.id);
  const shift = siblings.length < 2 ? 0 : (position / (siblings.length - 1) - 0.5) * 0.36;
  return mixHex(
    cssColour(`--group-${page.groups.indexOf(stage.group)}`),
    shift > 0 ? "#ffffff" : "#000000",
    Math.abs(shift),
  );
}

function mixHex(from, to, share) {
  const part = (hex, at) => parseInt(hex.slice(at, at + 2), 16);
  const mixed = [1, 3, 5].map((at) => Math.round(part(from, at) * (1 - share) + part(to, at) * share));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

// Plotly asks the element how high it is whenever the window changes; a height in the layout is forgotten then.
export function setHeight(chart, pixels) {
  chart.style.height = `${pixels}px`;
}

export function axisStyle() {
  return {
    gridcolor: cssColour("--line"),
    linecolor: cssColour("--line"),
    zeroline: false,
    tickfont: { color: cssColour("--muted"), size: 12 },
  };
}

export function axisTitle(text) {
  return { text, standoff: 8, font: { color: cssColour("--muted"), size: 12 } };
}

export function chartLayout(layout) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: cssColour("--ink") },
    margin: { l: 56, r: 16, t: 26, b: 52 },
    showlegend: false,
    hoverlabel: {
      align: "left",
      bgcolor: cssColour("--panel"),
      bordercolor: cssColour("--line"),
      font: { family: "system-ui, sans-serif", color: cssColour("--ink") },
    },
    dragmode: false,
    ...layout,
  };
}
