// The ladder beside the paper's, what each recipe is worth in the end, predicted beside measured.

import { cssColour, el, section } from "./dom.js";
import { NS_PER_MS } from "./format.js";
import { axisStyle, axisTitle, chartLayout, CHART_CONFIG, chartLabel, setHeight } from "./chart_style.js";
import { ladder, lastMeasured, measured, METRICS, noiseOf, predictions, rowOf } from "./ladder_rows.js";

export class LadderChart {
  constructor() {
    this.chosen = METRICS[0];
    this.chart = el("div.chart");
    const choice = el(
      "select",
      { "aria-label": "metric", onchange: () => this.choose(METRICS[choice.selectedIndex]) },
      ...METRICS.map(({ name }) => el("option", {}, name)),
    );
    const beside = ladder.paper_table
      ? `Ratios to the baseline, so that machines can differ; ${ladder.paper_table} of the paper was measured on one H100.`
      : "Ratios to the baseline of the same server.";
    this.element = section("ladder", "Row by row", beside, el("div.toolbar", {}, choice), this.chart);
  }

  choose(metric) {
    this.chosen = metric;
    if (this.plotly) this.draw(this.plotly);
  }

  draw(plotly) {
    this.plotly = plotly;
    const rows = ladder.steps.map((step) => rowOf(step, this.chosen));
    const names = ["baseline", ...ladder.steps.map((step) => step.title)].map((name) => chartLabel(name));
    setHeight(this.chart, 400);
    plotly.react(this.chart, this.traces(rows, names), this.layout(names), CHART_CONFIG);
  }

  traces(rows, names) {
    const own = rows.map(({ ours }) => ours);
    const series = [ours(names, [{ value: 1, low: 1, high: 1 }, ...own])];
    if (rows.some(({ paper }) => paper !== null))
      series.push(points("the paper", names, rows.map(({ paper }) => paper), "diamond-open", "--baseline"));
    if (rows.some(({ predicted }) => predicted !== null))
      series.push(points("predicted", names, rows.map(({ predicted }) => predicted), "line-ew-open", "--bad"));
    return series;
  }

  layout(names) {
    const noise = noiseOf(this.chosen);
    return chartLayout({
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1.12 },
      margin: { l: 60, r: 16, t: 30, b: 72 },
      xaxis: { ...axisStyle(), type: "category", categoryorder: "array", categoryarray: names, tickangle: -30 },
      yaxis: { ...axisStyle(), title: axisTitle("ratio to the baseline"), rangemode: "tozero" },
      shapes: noise ? [band(...noise)] : [],
    });
  }
}

function ours(names, ratios) {
  return {
    type: "scatter",
    mode: "lines+markers",
    connectgaps: true,
    name: "measured here, 95% interval",
    line: { color: cssColour("--trial"), width: 2, shape: "hv" },
    marker: { size: 10, color: cssColour("--trial") },
    x: names,
    y: ratios.map((ratio) => ratio?.value ?? null),
    error_y: {
      type: "data",
      symmetric: false,
      color: cssColour("--trial"),
      array: ratios.map((ratio) => (ratio ? ratio.high - ratio.value : 0)),
      arrayminus: ratios.map((ratio) => (ratio ? ratio.value - ratio.low : 0)),
    },
    hovertemplate: "%{x}: %{y:.3f}<extra></extra>",
  };
}

function points(name, names, values, symbol, colour) {
  return {
    type: "scatter",
    mode: "markers",
    name,
    marker: { size: 13, symbol, color: cssColour(colour), line: { width: 2.5, color: cssColour(colour) } },
    x: names,
    y: [name === "predicted" ? null : 1, ...values],
    hovertemplate: `${name}, %{x}: %{y:.3f}<extra></extra>`,
  };
}

function band(low, high) {
  return {
    type: "rect",
    layer: "below",
    xref: "paper",
    x0: 0,
    x1: 1,
    y0: low,
    y1: high,
    line: { width: 0 },
    fillcolor: cssColour("--muted"),
    opacity: 0.18,
  };
}

// A row a set: what was measured, with its interval, and what the profile of the baseline had predicted.
export class PredictionChart {
  constructor() {
    this.chart = el("div.chart");
    const counted = predictions.filter((each) => each.counted);
    const within = counted.filter((each) => each.within).length;
    const told = counted.length
      ? `Of ${counted.length} sets that save more than the noise floor, ${within} are predicted within 15% or inside the measured interval.`
      : "No set saves more than the noise floor.";
    const note = `${told} Bars are 95% intervals; an open circle lies outside.`;
    this.element = predictions.length ? section("predicted", "Predicted beside measured", note, this.chart) : null;
  }

  draw(plotly) {
    if (!this.element) return;
    const rows = predictions.map((_, row) => row);
    const layout = chartLayout({
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      margin: { l: 60, r: 16, t: 40, b: 52 },
      xaxis: { ...axisStyle(), title: axisTitle("saving, ms"), rangemode: "tozero", zeroline: true, zerolinecolor: cssColour("--muted") },
      yaxis: {
        ...axisStyle(),
        automargin: true,
        range: [rows.length - 0.4, -0.6],
        tickvals: rows,
        ticktext: predictions.map((each) => chartLabel(each.title)),
      },
    });
    setHeight(this.chart, 104 + 30 * rows.length);
    plotly.react(this.chart, [this.trace("measured"), this.trace("predicted")], layout, CHART_CONFIG);
  }

  trace(name) {
    const measured = name === "measured";
    const colour = cssColour(measured ? "--trial" : "--bad");
    const within = (each) => (each.within ? "circle" : "circle-open");
    return {
      type: "scatter",
      mode: "markers",
      name,
      // Beside one another in the row, so that neither interval hides the other.
      y: predictions.map((_, row) => row + (measured ? -0.13 : 0.17)),
      x: predictions.map((each) => each[`${name}_ns`] / NS_PER_MS),
      error_x: errors(name, colour),
      marker: {
        size: measured ? 10 : 9,
        symbol: measured ? predictions.map(within) : "diamond",
        color: colour,
        line: { width: measured ? 2 : 0, color: colour },
      },
      text: predictions.map((each) => chartLabel(each.title)),
      hovertemplate: `%{text}: ${name} %{x:.1f} ms<extra></extra>`,
    };
  }
}

function errors(name, colour) {
  return {
    type: "data",
    symmetric: false,
    color: colour,
    thickness: 1.5,
    width: 3,
    array: predictions.map((each) => (each[`${name}_high_ns`] - each[`${name}_ns`]) / NS_PER_MS),
    arrayminus: predictions.map((each) => (each[`${name}_ns`] - each[`${name}_low_ns`]) / NS_PER_MS),
  };
}

// What leaving one recipe out costs, against the row that has them all.
export class AblationChart {
  constructor() {
    this.chart = el("div.chart");
    this.element = measured(ladder.ablations).length
      ? section(
          "ablation",
          "Leave one out",
          "TTFT of all recipes but one, and what needs it, as a ratio to the baseline; the line is all of them together.",
          this.chart,
        )
      : null;
  }

  draw(plotly) {
    if (!this.element) return;
    const rows = measured(ladder.ablations).map((step) => rowOf(step, METRICS[0]));
    const all = lastMeasured() ? rowOf(lastMeasured(), METRICS[0]).ours : null;
    const names = rows.map(({ step }) => chartLabel(step.title));
    const trace = { ...ours(names, rows.map((row) => row.ours)), mode: "markers" };
    const line = (y, dash) => ({
      type: "line",
      layer: "below",
      xref: "paper",
      x0: 0,
      x1: 1,
      y0: y,
      y1: y,
      line: { color: cssColour("--muted"), width: 1.5, dash },
    });
    const layout = chartLayout({
      margin: { l: 60, r: 16, t: 20, b: 72 },
      xaxis: { ...axisStyle(), type: "category", tickangle: -30, automargin: true },
      yaxis: { ...axisStyle(), title: axisTitle("ratio to the baseline"), rangemode: "tozero", automargin: true },
      shapes: [line(1, "dash"), ...(all ? [line(all.value, "solid")] : [])],
    });
    setHeight(this.chart, 340);
    plotly.react(this.chart, [trace], layout, CHART_CONFIG);
  }
}
