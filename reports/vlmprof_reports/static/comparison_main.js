// Puts the comparison page together, and again when another trial is chosen.

import { el, hideTooltip, onThemeChange } from "./dom.js";
import { loadDetails, loadPlotly, page } from "./data.js";
import { comparisons, head } from "./comparison_head.js";
import { Charts } from "./comparison_charts.js";
import { comparedWaterfall } from "./comparison_waterfall.js";
import { DiffFlame } from "./comparison_flame.js";
import { environmentSection, kernelsSection, metricsSection, outputsSection } from "./comparison_tables.js";

const NAMES = {
  overview: "Verdict",
  ttft: "TTFT",
  waterfall: "Where the time goes",
  metrics: "Whole requests",
  flame: "Flame graph",
  kernels: "Kernels",
  outputs: "Outputs",
  environment: "What differs",
};

const state = { index: 0, details: null, plotly: null, charts: null };
const links = el("span.links");
const main = el("main");

async function start() {
  const bar = el("nav", { "aria-label": "Sections" }, el("b", {}, "vlmprof compare"), links);
  const end = el("footer", {}, `vlmprof ${page.infos[0].vlmprof_version}; every number is in comparison.json.`);
  document.getElementById("page").append(bar, main, end);
  show(0);
  try {
    state.details = (await loadDetails()).comparisons;
    show(state.index);
    document.documentElement.dataset.ready = "details";
    state.plotly = await loadPlotly();
    drawCharts();
    document.documentElement.dataset.ready = "charts";
  } catch (error) {
    const advice = "a browser of 2023 or later can show it, if the file is whole";
    main.prepend(el("p.failure", {}, `Not all of this report could be drawn (${error.message}): ${advice}.`));
    throw error;
  }
}

function show(index) {
  state.index = index;
  hideTooltip();
  const comparison = comparisons[index];
  const parts = [head(index, choose), ...(state.details ? drawn(comparison, state.details[index]) : [])];
  main.replaceChildren(...parts.filter(Boolean));
  const places = [...main.querySelectorAll("section, header.hero")].map(({ id }) => id);
  links.replaceChildren(...places.map((id) => el("a", { href: `#${id}` }, NAMES[id])));
}

function choose(index) {
  show(index);
  drawCharts();
  main.querySelector(`.trial:nth-child(${index + 1})`)?.focus();
}

function drawn(comparison, details) {
  state.charts = new Charts(comparison, details);
  return [
    state.charts.element,
    comparedWaterfall(comparison, details),
    metricsSection(comparison),
    details.flame ? new DiffFlame(details.flame).element : null,
    kernelsSection(comparison, details.kernels),
    outputsSection(comparison),
    environmentSection(comparison),
  ];
}

function drawCharts() {
  if (state.plotly) state.charts?.draw(state.plotly);
}

onThemeChange(drawCharts);
start();
