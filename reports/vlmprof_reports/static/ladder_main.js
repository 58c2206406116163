// Puts the ladder page together.

import { el, onThemeChange } from "./dom.js";
import { loadPlotly, page } from "./data.js";
import { AblationChart, LadderChart, PredictionChart } from "./ladder_charts.js";
import { head, leftOut, method, tables } from "./ladder_tables.js";

const NAMES = {
  overview: "Result",
  ladder: "Row by row",
  tables: "Tables",
  predicted: "Predicted",
  ablation: "Leave one out",
  "left-out": "Not on",
  method: "Method",
};

async function start() {
  const charts = [new LadderChart(), new PredictionChart(), new AblationChart()];
  const [ladderChart, predictionChart, ablationChart] = charts.map(({ element }) => element);
  const parts = [head(), ladderChart, tables(), predictionChart, ablationChart, leftOut(), method()];
  const shown = parts.filter(Boolean);
  const links = shown.map(({ id }) => el("a", { href: `#${id}` }, NAMES[id]));
  const main = el("main", {}, ...shown);
  document.getElementById("page").append(
    el("nav", { "aria-label": "Sections" }, el("b", {}, "vlmprof ladder"), ...links),
    main,
    el("footer", {}, `vlmprof ${page.info.vlmprof_version}; every number is in results/ladder.json.`),
  );
  document.documentElement.dataset.ready = "details";
  try {
    const plotly = await loadPlotly();
    const draw = () => charts.forEach((chart) => chart.draw(plotly));
    draw();
    onThemeChange(draw);
    document.documentElement.dataset.ready = "charts";
  } catch (error) {
    main.prepend(el("p.failure", {}, `The charts could not be drawn (${error.message}); the tables are whole.`));
    throw error;
  }
}

start();
