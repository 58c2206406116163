// Every request's TTFT, and the critical path of one of them across the processes.

import { el, section, onThemeChange, cssColour } from "./dom.js";
import { formatMs, formatShare, formatTime, formatBytes, NS_PER_MS } from "./format.js";
import { page } from "./data.js";
import { CHART_CONFIG, axisStyle, axisTitle, chartLayout, inkOn, plotlyText, setHeight, stageColour } from "./chart_style.js";
import { phaseBands, phaseNames, selectionFrame } from "./phases.js";

export class RequestsPanel {
  constructor() {
    this.overview = el("div.chart", { id: "request-bars" });
    this.lanes = el("div.chart", { id: "request-lanes" });
    this.facts = el("p.facts", { id: "request-facts", "aria-live": "polite" });
    this.choice = el("select", {
      "aria-label": "request",
      onchange: () => this.select(this.choice.selectedIndex),
    });
    const step = (by) => () =>
      this.select((this.selected + by + this.requests.length) % this.requests.length);
    this.bar = el(
      "div.toolbar",
      {},
      el("button", { onclick: step(-1), "aria-label": "previous request" }, "←"),
      this.choice,
      el("button", { onclick: step(1), "aria-label": "next request" }, "→"),
      this.facts,
    );
    const note =
      "TTFT of every request in the order of sending, by group of stages; choose one to see its critical path across the processes.";
    this.element = section("requests", "Request by request", note, this.overview, this.bar, this.lanes);
  }

  show(details, plotly) {
    this.details = details;
    this.plotly = plotly;
    this.requests = details.lanes.requests;
    this.rows = new Map(details.requests.map((row) => [row.id, row]));
    if (!this.requests.length) {
      this.element.replaceChildren(
        ...this.element.children[0].childNodes,
        el("p.note", {}, "No request got a first token."),
      );
      return;
    }
    const name = (request, number) =>
      `${number + 1}. ${request.id} · ${request.phase} · ${formatTime(request.ttft_ns)}`;
    this.choice.append(...this.requests.map((request, number) => el("option", {}, name(request, number))));
    this.select(typicalRequest(this.requests));
    onThemeChange(() => this.select(this.selected));
    this.overview.on("plotly_click", (event) => this.select(event.points[0].pointIndex));
  }

  select(number) {
    this.selected = number;
    this.choice.selectedIndex = number;
    const request = this.requests[number];
    this.element.dataset.request = request.id;
    this.element.dataset.ttftNs = request.ttft_ns;
    this.facts.replaceChildren(...this.describe(request).map((fact) => el("span", {}, fact)));
    this.drawOverview();
    this.drawLanes(request);
  }

  describe(request) {
    const row = this.rows.get(request.id);
    const images = (row?.image_names ?? []).map(
      (name, i) =>
        `${name}, ${row.image_widths[i]} × ${row.image_heights[i]}, ${formatBytes(row.image_bytes[i])}`,
    );
    return [
      `TTFT ${formatTime(request.ttft_ns)}`,
      `unattributed ${formatShare(request.unattributed_ns / request.ttft_ns)}`,
      row ? `${row.prompt_tokens} prompt tokens, ${row.image_tokens} of them image` : null,
      ...images,
    ].filter(Boolean);
  }

  drawOverview() {
    const traces = page.summary.groups.map((group) => this.groupTrace(group));
    const layout = chartLayout({
      barmode: "stack",
      bargap: this.requests.length > 200 ? 0 : 0.18,
      xaxis: { ...axisStyle(), title: axisTitle("request"), showgrid: false },
      yaxis: { ...axisStyle(), title: axisTitle("ms") },
      shapes: [...phaseBands(this.requests), selectionFrame(this.selected)],
      annotations: phaseNames(this.requests),
    });
    setHeight(this.overview, OVERVIEW_HEIGHT);
    this.plotly.react(this.overview, traces, layout, CHART_CONFIG);
  }

  groupTrace(group) {
    const ids = new Set(page.stages.filter((stage) => stage.group === group.group).map((stage) => stage.id));
    const sum = (request) =>
      group.group === "unattributed"
        ? request.unattributed_ns
        : Object.entries(request.stages).reduce((total, [id, ns]) => total + (ids.has(id) ? ns : 0), 0);
    const values = this.requests.map(sum);
    const colour = cssColour(`--group-${page.groups.indexOf(group.group)}`);
    // A bar each is an element each: of many requests the outline does as well and is there at once.
    const shape =
      this.requests.length > MANY_REQUESTS
        ? { type: "scatter", mode: "lines", stackgroup: "ttft", line: { width: 0 }, fillcolor: colour }
        : { type: "bar", marker: { color: colour } };
    return {
      ...shape,
      name: group.label,
      x: this.requests.map((_, number) => number + 1),
      y: values.map((ns) => ns / NS_PER_MS),
      hovertext: this.requests.map(
        (request, number) =>
          `${plotlyText(request.id)}<br>${group.label} ${formatTime(values[number])}<br>TTFT ${formatTime(request.ttft_ns)}, ${request.phase}`,
      ),
      hoverinfo: "text",
    };
  }

  drawLanes(request) {
    const { lanes } = this.details.lanes;
    const used = [...new Set(request.lane)].sort(
      (a, b) => laneOrder(lanes[a]) - laneOrder(lanes[b]) || a - b,
    );
    const names = laneNames(used.map((lane) => lanes[lane]));
    const place = new Map(used.map((lane, row) => [lane, row]));
    const layout = chartLayout({
      barmode: "overlay",
      bargap: 0.3,
      xaxis: {
        ...axisStyle(),
        title: axisTitle("ms after sending"),
        range: [0, request.ttft_ns / NS_PER_MS],
      },
      yaxis: {
        ...axisStyle(),
        range: [used.length - 0.4, -0.6],
        tickvals: used.map((_, row) => row),
        ticktext: names.map(plotlyText),
        showgrid: false,
        automargin: true,
        fixedrange: true,
      },
      shapes: handOffs(request, place),
      uniformtext: { mode: "hide", minsize: 10 },
      margin: { l: 48, r: 16, t: 10, b: 52 },
    });
    setHeight(this.lanes, LANE_AXIS_HEIGHT + LANE_HEIGHT * used.length);
    this.plotly.react(this.lanes, this.laneTraces(request, place), layout, CHART_CONFIG);
  }

  laneTraces(request, place) {
    const traces = new Map();
    request.stage.forEach((stageIndex, number) => {
      const stage = page.stages[stageIndex];
      if (!traces.has(stage.id)) traces.set(stage.id, emptyTrace(stage));
      const trace = traces.get(stage.id);
      const length = request.length_ns[number];
      const cause = this.details.lanes.causes[request.cause[number]];
      trace.x.push(length / NS_PER_MS);
      trace.base.push(request.start_ns[number] / NS_PER_MS);
      trace.y.push(place.get(request.lane[number]));
      trace.text.push(length / request.ttft_ns > 0.045 ? stage.label : "");
      trace.hovertext.push(
        `<b>${stage.label}</b>  ${formatTime(length)}, ${formatShare(length / request.ttft_ns)}` +
          `<br>from ${formatMs(request.start_ns[number])} to ${formatTime(request.start_ns[number] + length)}` +
          (cause ? `<br>${plotlyText(cause.slice(0, 120))}` : ""),
      );
    });
    return [...traces.values()];
  }
}

const OVERVIEW_HEIGHT = 232;
const MANY_REQUESTS = 200;
const LANE_HEIGHT = 38;
const LANE_BAR = 0.7;
const LANE_AXIS_HEIGHT = 66;

// The request whose TTFT is nearest to the middle, so that the first one shown is a usual one.
function typicalRequest(requests) {
  const order = requests.map((_, number) => number).sort((a, b) => requests[a].ttft_ns - requests[b].ttft_ns);
  return order[order.length >> 1];
}

function emptyTrace(stage) {
  const colour = stageColour(stage);
  return {
    type: "bar",
    orientation: "h",
    // Left to itself, plotly makes a trace's bars as high as its own rows are apart.
    width: LANE_BAR,
    name: stage.label,
    x: [],
    y: [],
    base: [],
    text: [],
    hovertext: [],
    hoverinfo: "text",
    textposition: "inside",
    insidetextanchor: "middle",
    textangle: 0,
    constraintext: "inside",
    insidetextfont: { color: inkOn(colour), size: 12 },
    marker: { color: colour, line: { color: cssColour("--panel"), width: 0.6 } },
  };
}

// A thin line, behind the bars, wherever the critical path moves from one lane to another.
function handOffs(request, place) {
  const lines = [];
  for (let number = 1; number < request.lane.length; number++) {
    const [before, after] = [place.get(request.lane[number - 1]), place.get(request.lane[number])];
    if (before === after) continue;
    const at = request.start_ns[number] / NS_PER_MS;
    lines.push({
      type: "line",
      layer: "below",
      x0: at,
      x1: at,
      y0: before,
      y1: after,
      line: { color: cssColour("--muted"), width: 1 },
    });
  }
  return lines;
}

const LANE_ROLES = ["client", "between processes", "api_server", "engine_core", "worker", "other"];

function laneOrder(lane) {
  const role = LANE_ROLES.findIndex((name) => lane.process.startsWith(name));
  return role < 0 ? LANE_ROLES.length : role;
}

// Threads of one process that have the same name, or none, are told apart by their ids.
function laneNames(lanes) {
  const names = lanes.map(laneName);
  return names.map((name, place) => {
    const alone = names.indexOf(name) === names.lastIndexOf(name);
    const { pid, tid } = lanes[place];
    return alone || !tid ? name : `${name}, ${tid === pid ? "main thread" : `thread ${tid}`}`;
  });
}

function laneName(lane) {
  const thread = lane.thread && lane.thread !== "MainThread" ? `, ${lane.thread}` : "";
  const name = lane.pid ? `${lane.process}${thread}` : lane.process;
  return name.length > 36 ? `${name.slice(0, 35)}…` : name;
}
