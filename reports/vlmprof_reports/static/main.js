// Puts the page together: what needs no unpacking first, the charts last.

import { el } from "./dom.js";
import { page, loadDetails, loadPlotly, stageById } from "./data.js";
import { overview } from "./overview.js";
import { waterfall } from "./waterfall.js";
import { suggestionsSection } from "./suggestions.js";
import { RequestsPanel } from "./requests.js";
import { Archive } from "./archive.js";
import { PageLink } from "./page_link.js";
import { requestSelf } from "./trace_range.js";
import { FlameModel } from "./flame_model.js";
import { FlamePanel } from "./flame_panel.js";
import { TracePanel } from "./trace_panel.js";
import { functionsSection, processesSection, requestsTable } from "./tables.js";
import { gpuSection } from "./gpu_tables.js";
import { environmentSection, qualitySection } from "./evidence.js";

const PLACES = [
  ["overview", "Overview"],
  ["waterfall", "Where the time goes"],
  ["suggestions", "What would help"],
  ["requests", "Requests"],
  ["timeline", "Timeline"],
  ["flame", "Flame graph"],
  ["functions", "Functions"],
  ["gpu", "GPU"],
  ["processes", "Processes"],
  ["quality", "Quality"],
  ["environment", "Environment"],
];

async function start() {
  const link = new PageLink({});
  const linked = (name) => ({
    onstate: () => link.changed(name),
    copyLink: (button) => link.copy(name, button),
  });
  const timeline = new TracePanel({ ...linked("timeline"), openFunction: (name) => flame.openSampled(name) });
  const flame = new FlamePanel({
    ...linked("flame"),
    requestSelf: (id, stage) => requestSelf(timeline.view, id, stage),
  });
  link.sections = { timeline, flame };
  document.addEventListener("keydown", (event) => searchShortcut(event, [timeline, flame]));
  const requests = new RequestsPanel();
  const head = overview();
  buildPage(head, timeline, flame, requests);
  try {
    await fill(timeline, flame, requests, link);
  } catch (error) {
    const advice = "a browser of 2023 or later can show it, if the file is whole";
    head.append(el("p.failure", {}, `Not all of this report could be drawn (${error.message}): ${advice}.`));
    throw error;
  }
}

function buildPage(head, timeline, flame, requests) {
  const parts = [
    head,
    waterfall({
      openFlame: (key) => flame.open(key),
      showInTimeline: ({ stage }) => timeline.goToStage(stageById.get(stage)),
    }),
    suggestionsSection((evidence) => timeline.goToFunction(evidence)),
    requests.element,
    timeline.element,
    flame.element,
    functionsSection((row) => flame.openNamed(row)),
    processesSection(),
    qualitySection(),
    environmentSection(),
  ];
  const bar = el("nav", { "aria-label": "Sections" });
  const end = el(
    "footer",
    {},
    `vlmprof ${page.info.vlmprof_version}; every number of this page is in results/*.json of its run folder.`,
  );
  document.getElementById("page").append(bar, el("main", {}, ...parts.filter(Boolean)), end);
  listSections();
}

function listSections() {
  const there = PLACES.filter(([id]) => document.getElementById(id));
  const links = there.map(([id, name]) => el("a", { href: `#${id}` }, name));
  document.querySelector("nav").replaceChildren(el("b", {}, "vlmprof"), ...links);
}

async function fill(timeline, flame, requests, link) {
  const details = await loadDetails();
  const model = new FlameModel(details.flames);
  timeline.start(details.timeline, new Archive(details.block_lengths), model, details.lanes);
  const trees = [{ model, views: details.flames.views }];
  if (details.gpu_flames) trees.push({ model: new FlameModel(details.gpu_flames), views: details.gpu_flames.views });
  await flame.start(trees, sampledRequests(details));
  const gpu = gpuSection(details.kernels, (name) => timeline.goToName(name));
  if (gpu) document.getElementById("processes").before(gpu);
  listSections();
  link.start();
  requests.element.append(requestsTable(details.requests));
  document.documentElement.dataset.ready = "details";
  await near(requests.element);
  requests.show(details, await loadPlotly());
  document.documentElement.dataset.ready = "charts";
}

// Requests of the phase that the flame graphs of the critical path speak for.
function sampledRequests({ lanes }) {
  const phase = page.summary.split?.phase;
  return lanes.requests.filter((request) => request.phase === phase).map((request) => request.id);
}

// "/" goes to the search of the section that has the focus, else of the one nearest to the middle of the window.
function searchShortcut(event, panels) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const distance = ({ element }) => {
    const { top, bottom } = element.getBoundingClientRect();
    return Math.max(top - innerHeight / 2, innerHeight / 2 - bottom, 0);
  };
  const usable = panels.filter((panel) => !panel.bar.hidden);
  const focused = usable.find((panel) => panel.element.contains(document.activeElement));
  (focused ?? usable.sort((a, b) => distance(a) - distance(b))[0])?.query.focus();
}

// Plotly takes a second of the main thread to start, and memory: not before its charts come into sight.
function near(element) {
  return new Promise((resolve) => {
    const observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        resolve();
      },
      { rootMargin: "300px" },
    );
    observer.observe(element);
    addEventListener("beforeprint", resolve, { once: true });
  });
}

start();
