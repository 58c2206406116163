// TTFT distributions, and the paired difference of every round over the interval and the noise floor.

import { cssColour, el, section } from "./dom.js";
import { NS_PER_MS } from "./format.js";
import { axisStyle, axisTitle, chartLayout, CHART_CONFIG, chartLabel, setHeight } from "./chart_style.js";
import { changeOf, sideName } from "./comparison_format.js";

const HEIGHT = 330;

export class Charts {
  constructor(comparison, details) {
    this.comparison = comparison;
    this.details = details;
    this.distribution = el("div.chart");
    this.rounds = el("div.chart");
    this.element = section(
      "ttft",
      "TTFT of both sides",
      "Left: the share of requests that had their first token by then. Right: each round's median paired difference.",
      el("div.pair-of-charts", {}, this.distribution, this.rounds),
    );
  }

  draw(plotly) {
    for (const chart of [this.distribution, this.rounds]) setHeight(chart, HEIGHT);
    plotly.react(this.distribution, this.curves(), this.curveLayout(), CHART_CONFIG);
    plotly.react(this.rounds, [this.dots()], this.dotLayout(), CHART_CONFIG);
  }

  curves() {
    const sides = [this.comparison.baseline, this.comparison.trial];
    return this.details.ttft_ns.map((times, place) => ({
      type: "scatter",
      mode: "lines",
      line: { shape: "hv", width: 2.5, dash: place ? "solid" : "dot", color: sideColour(place) },
      x: times.map((ns) => ns / NS_PER_MS),
      y: times.map((_, rank) => (100 * (rank + 1)) / times.length),
      name: chartLabel(sideName(sides[place])),
      hovertemplate: "%{y:.0f}% within %{x:.1f} ms<extra>%{fullData.name}</extra>",
    }));
  }

  curveLayout() {
    return chartLayout({
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1.13 },
      xaxis: { ...axisStyle(), title: axisTitle("TTFT, ms"), rangemode: "normal" },
      yaxis: { ...axisStyle(), title: axisTitle("share of requests, %"), range: [0, 102] },
    });
  }

  dots() {
    const { rounds } = this.details;
    return {
      type: "scatter",
      mode: "markers",
      marker: { size: 9, color: cssColour("--accent"), line: { width: 1.5, color: cssColour("--panel") } },
      x: rounds.map((_, number) => number + 1),
      y: rounds.map((round) => round.difference_ns / NS_PER_MS),
      customdata: rounds.map((round) => [round.baseline_ns / NS_PER_MS, round.trial_ns / NS_PER_MS]),
      hovertemplate:
        "round %{x}: %{y:+.1f} ms<br>%{customdata[0]:.1f} ms → %{customdata[1]:.1f} ms<extra></extra>",
    };
  }

  dotLayout() {
    const ttft = changeOf(this.comparison, "ttft_p50");
    const count = this.details.rounds.length;
    const noise = ttft.noise_low === null ? [] : [band(ttft.noise_low, ttft.noise_high, "--muted", 0.16)];
    return chartLayout({
      xaxis: { ...axisStyle(), title: axisTitle("round"), dtick: Math.ceil(count / 12), range: [0.4, count + 0.6] },
      yaxis: { ...axisStyle(), title: axisTitle("trial − baseline, ms"), rangemode: "tozero" },
      shapes: [
        ...noise,
        band(ttft.low, ttft.high, "--accent", 0.18),
        line(0, "--muted", "dash"),
        line(ttft.difference, "--accent", "solid"),
      ],
      annotations: [
        note(ttft.difference, "median", "right"),
        ...(noise.length ? [note(ttft.noise_high, "noise floor", "left")] : []),
      ],
    });
  }
}

export function sideColour(place) {
  return cssColour(place ? "--trial" : "--baseline");
}

function band(low, high, colour, opacity) {
  return {
    type: "rect",
    layer: "below",
    xref: "paper",
    x0: 0,
    x1: 1,
    y0: low / NS_PER_MS,
    y1: high / NS_PER_MS,
    line: { width: 0 },
    fillcolor: cssColour(colour),
    opacity,
  };
}

function line(ns, colour, dash) {
  const style = { color: cssColour(colour), width: 1.5, dash };
  return { type: "line", layer: "below", xref: "paper", x0: 0, x1: 1, y0: ns / NS_PER_MS, y1: ns / NS_PER_MS, line: style };
}

function note(ns, text, side) {
  return {
    text,
    xref: "paper",
    x: side === "left" ? 0.01 : 1,
    xanchor: side,
    y: ns / NS_PER_MS,
    yanchor: side === "left" ? "top" : "bottom",
    showarrow: false,
    font: { size: 11, color: cssColour("--muted") },
  };
}
