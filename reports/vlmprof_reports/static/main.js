// Puts the page together: what needs no unpacking first, the charts last.

import { el } from "./dom.js";
import { page, loadDetails, loadPlotly } from "./data.js";
import { overview } from "./overview.js";
import { waterfall } from "./waterfall.js";
import { RequestsPanel } from "./requests.js";
import { Archive } from "./archive.js";
import { FlameModel } from "./flame_model.js";
import { FlamePanel } from "./flame_panel.js";
import { TracePanel } from "./trace_panel.js";
import { functionsSection, processesSection, requestsTable } from "./tables.js";
import { environmentSection, qualitySection } from "./evidence.js";

const PLACES = [
  ["overview", "Overview"],
  ["waterfall", "Where the time goes"],
  ["requests", "Requests"],
  ["timeline", "Timeline"],
  ["flame", "Flame graph"],
  ["functions", "Functions"],
  ["processes", "Processes"],
  ["quality", "Quality"],
  ["environment", "Environment"],
];

async function start() {
  const flame = new FlamePanel();
  const timeline = new TracePanel({ openFunction: () => {}, onstate: () => {} });
  const requests = new RequestsPanel();
  const head = overview();
  buildPage(head, timeline, flame, requests);
  try {
    await fill(timeline, flame, requests);
  } catch (error) {
    const advice = "a browser of 2023 or later can show it, if the file is whole";
    head.append(el("p.failure", {}, `Not all of this report could be drawn (${error.message}): ${advice}.`));
    throw error;
  }
}

function buildPage(head, timeline, flame, requests) {
  const parts = [
    head,
    waterfall((key) => flame.open(key)),
    requests.element,
    timeline.element,
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

async function fill(timeline, flame, requests) {
  const details = await loadDetails();
  const model = new FlameModel(details.flames);
  timeline.start(details.timeline, new Archive(details.block_lengths), model, details.lanes);
  flame.start(details.flames, model);
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
