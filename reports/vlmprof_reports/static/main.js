// Puts the page together: what needs no unpacking first, the charts last.

import { el } from "./dom.js";
import { page, loadDetails, loadPlotly } from "./data.js";
import { overview } from "./overview.js";
import { waterfall } from "./waterfall.js";
import { RequestsPanel } from "./requests.js";
import { FlamePanel } from "./flame_panel.js";
import { functionsSection, processesSection, requestsTable } from "./tables.js";
import { environmentSection, qualitySection } from "./evidence.js";

const PLACES = [
  ["overview", "Overview"],
  ["waterfall", "Where the time goes"],
  ["requests", "Requests"],
  ["flame", "Flame graph"],
  ["functions", "Functions"],
  ["processes", "Processes"],
  ["quality", "Quality"],
  ["environment", "Environment"],
];

async function start() {
  const flame = new FlamePanel();
  const requests = new RequestsPanel();
  const head = overview();
  buildPage(head, flame, requests);
  try {
    await fill(flame, requests);
  } catch (error) {
    const advice = "a browser of 2023 or later can show it, if the file is whole";
    head.append(el("p.failure", {}, `Not all of this report could be drawn (${error.message}): ${advice}.`));
    throw error;
  }
}

function buildPage(head, flame, requests) {
  const parts = [
    head,
    waterfall((key) => flame.open(key)),
    requests.element,
    flame.element,
    functionsSection(),
    processesSection(),
    qualitySection(),
    environmentSection(),
  ];
  const links = PLACES.map(([id, name]) => el("a", { href: `#${id}` }, name));
  const bar = el("nav", { "aria-label": "Sections" }, el("b", {}, "vlmprof"), ...links);
  const end = el(
    "footer",
    {},
    `vlmprof ${page.info.vlmprof_version}; every number of this page is in results/*.json of its run folder.`,
  );
  document.getElementById("page").append(bar, el("main", {}, ...parts.filter(Boolean)), end);
}

async function fill(flame, requests) {
  const details = await loadDetails();
  flame.start(details.flames);
  requests.element.append(requestsTable(details.requests));
  document.documentElement.dataset.ready = "details";
  await idle();
  requests.show(details, await loadPlotly());
  document.documentElement.dataset.ready = "charts";
}

// Plotly takes a second of the main thread to start: after everything that needs no chart is there.
function idle() {
  return new Promise((resolve) =>
    window.requestIdleCallback ? requestIdleCallback(resolve, { timeout: 400 }) : setTimeout(resolve, 50),
  );
}

start();
