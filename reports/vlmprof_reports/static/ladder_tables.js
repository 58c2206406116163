// The ladder's head, its rows as a table for each metric, and what was left out and why.

import { el, section } from "./dom.js";
import { page } from "./data.js";
import { badge, changeOf, formatChange, formatValue } from "./comparison_format.js";
import { formatRatio, ladder, lastMeasured, measured, METRICS, noiseOf, rowOf } from "./ladder_rows.js";

export function head() {
  const { info } = page;
  const last = lastMeasured();
  const facts = [
    ladder.model,
    ladder.family,
    info.engine ? `${info.engine.name} ${info.engine.version} on ${info.engine.device}` : null,
    info.host.gpus.map((gpu) => gpu.name).join(", ") || `${info.host.cpu}, ${info.host.cores} cores, no GPU`,
    ladder.baseline ? `baseline ${ladder.baseline.name} (${ladder.baseline.title}), + ${ladder.baseline.recipe} the engine as it is` : null,
    `${ladder.rounds} rounds of ${ladder.requests_per_block} requests a row`,
  ];
  return el(
    "header.hero",
    { id: "overview" },
    el("p.facts", {}, ...facts.filter(Boolean).map((fact) => el("span", {}, fact))),
    el("h1", {}, last ? told(last) : "No row of this ladder could be measured."),
    info.error ? el("p.failure", {}, info.error) : null,
    last ? el("div.tiles.ratios", {}, ...METRICS.map((metric) => tile(last, metric))) : null,
    warnings([
      ...(info.status === "complete" ? [] : [`The run is ${info.status}: what it holds may not be all.`]),
      ...new Set([...info.warnings, ...measured(ladder.steps).flatMap((step) => step.comparison.warnings)]),
    ]),
  );
}

// The paper's last row, whether or not all that it adds has something to do here; rows of ours may follow it.
function paperEnd(metric) {
  return rowOf(ladder.steps.findLast((step) => step.paper) ?? ladder.steps.at(-1), metric).paper;
}

function told(last) {
  const { change, ours } = rowOf(last, METRICS[0]);
  const count = last.recipes.length;
  const paper = paperEnd(METRICS[0]);
  const beside = paper === null ? "" : `; the paper's table ends at ${formatRatio(paper)} of its own`;
  return (
    `${count} recipe${count === 1 ? "" : "s"} together take the TTFT from ${formatValue(change, change.baseline)} to ` +
    `${formatValue(change, change.trial)} ms: ${formatRatio(ours.value)} of the baseline ` +
    `(95% interval ${formatRatio(ours.low)} to ${formatRatio(ours.high)})${beside}.`
  );
}

function tile(last, metric) {
  const { change, ours } = rowOf(last, metric);
  const paper = paperEnd(metric);
  if (!ours) return el("div.tile", {}, el("div.label", {}, metric.name), el("div.value", {}, "–"));
  const from = formatValue(change, change.baseline);
  return el(
    "div.tile",
    { "data-metric": metric.metric },
    el("div.label", {}, metric.name),
    el("div.value", {}, formatChange(ours.value - 1)),
    el("div.note", {}, `${from} → ${formatValue(change, change.trial)} ${metric.unit}`),
    el("div.note", {}, paper === null ? "not in the paper" : `the paper: ${formatChange(paper - 1)}`),
    badge(change.verdict),
  );
}

function warnings(messages) {
  if (!messages.length) return null;
  return el("ul.warnings", { "aria-label": "Warnings" }, ...messages.map((message) => el("li", {}, message)));
}

export function tables() {
  const noise = noiseOf(METRICS[0]);
  const floor = noise
    ? `The baseline against itself: ratios from ${formatRatio(noise[0])} to ${formatRatio(noise[1])}. What lies inside is no difference. `
    : "";
  const beside = ladder.paper_table ? `The columns of the paper are its ${ladder.paper_table}, measured on one H100.` : "";
  return section("tables", "Tables", floor + beside, ...METRICS.map(metricTable), outputs());
}

function metricTable(metric) {
  const columns = columnsOf(metric);
  const heads = columns.map(({ head, text }) => el(text ? "th" : "th.number", { scope: "col" }, head));
  const rows = (steps) => steps.map((step) => tableRow(step, metric, columns));
  const ablations = ladder.ablations.length
    ? [el("tr.between", {}, el("th", { colspan: columns.length, scope: "rowgroup" }, "all but some")), ...rows(ladder.ablations)]
    : [];
  const body = el("tbody", {}, tableRow(null, metric, columns), ...rows(ladder.steps), ...ablations);
  const table = el("table.steps", { "aria-label": metric.name }, el("thead", {}, el("tr", {}, ...heads)), body);
  return el("div.table", {}, el("h3", {}, `${metric.name}, ${metric.unit}`), table);
}

// A column: its head and the cell of a row; a row's `step` is null of the baseline.
function columnsOf(metric) {
  const withPaper = ladder.steps.some((step) => step.paper);
  const isTtft = metric.metric === "ttft_p50";
  return [
    { head: "", text: true, cell: ({ step }) => (step ? el("b", { title: step.title }, step.title) : baselineName()) },
    { head: metric.unit, cell: ownValue },
    { head: "ratio", cell: ({ step, ours }) => (step ? formatRatio(ours?.value) : "1.000") },
    { head: "95% interval", cell: ({ ours }) => (ours ? `${formatRatio(ours.low)} to ${formatRatio(ours.high)}` : "") },
    ...(isTtft ? [{ head: "predicted", cell: ({ predicted }) => formatRatio(predicted) }] : []),
    ...(withPaper ? paperColumns(metric) : []),
    ...(isTtft ? [{ head: "texts equal", cell: ({ step }) => equalTexts(step) }] : []),
    { head: "verdict", text: true, cell: verdict },
  ];
}

function baselineName() {
  return ladder.baseline ? `baseline ${ladder.baseline.name}` : "baseline";
}

function ownValue({ step, change }) {
  if (!change) return "–";
  return formatValue(change, step ? change.trial : change.baseline);
}

function paperColumns(metric) {
  const first = ladder.steps.find((step) => step.paper).paper;
  const baseline = first[metric.paperValue] / (1 + first[metric.paper]);
  return [
    {
      head: `paper, ${metric.unit}`,
      cell: ({ step }) => (step ? (step.paper?.[metric.paperValue].toFixed(1) ?? "–") : baseline.toFixed(1)),
    },
    { head: "paper, ratio", cell: ({ step, paper }) => (step ? formatRatio(paper) : "1.000") },
  ];
}

function equalTexts(step) {
  const outputs = step?.comparison?.outputs;
  return outputs?.compared ? `${outputs.equal} of ${outputs.compared}` : "";
}

function verdict({ step, change }) {
  if (!step) return "";
  return change ? badge(change.verdict) : el("span.off", {}, "nothing to switch on");
}

function tableRow(step, metric, columns) {
  const first = measured([...ladder.steps, ...ladder.ablations])[0];
  const row = step
    ? rowOf(step, metric)
    : { step: null, change: first ? changeOf(first.comparison, metric.metric) : null };
  const cells = columns.map(({ text, cell }) => el(text ? "td" : "td.number", {}, cell(row)));
  return el("tr", { "data-arm": step?.arm ?? "A", "data-metric": metric.metric }, ...cells);
}

function outputs() {
  const all = measured([...ladder.steps, ...ladder.ablations]).map((step) => step.comparison.outputs);
  const compared = all.reduce((sum, each) => sum + each.compared, 0);
  const equal = all.reduce((sum, each) => sum + each.equal, 0);
  if (!compared) return null;
  return el("p", {}, el(equal === compared ? "b.good" : "b.bad", {}, `${equal} of ${compared} texts`), " are equal to the baseline's.");
}

export function leftOut() {
  const reasons = new Map(ladder.steps.flatMap((step) => Object.entries(step.left_out)));
  const notes = ladder.notes ?? [];
  if (!reasons.size && !notes.length) return null;
  const rows = [
    ...[...reasons].map(([number, reason]) => [`recipe ${number}`, reason]),
    ...notes.map((note) => ["note", note]),
  ].flatMap(([name, told]) => [el("dt", {}, name), el("dd", {}, told)]);
  return section(
    "left-out",
    "Not on",
    "Recipes that a row of the paper names and that have nothing to do here.",
    el("div.facts-grid", {}, el("dl", {}, ...rows)),
  );
}

export function method() {
  const { info } = page;
  const facts = [
    ["command", info.command.join(" ")],
    ["engine", (info.engine?.command ?? []).join(" ")],
    ["made", `${new Date(info.created_unix_ns / 1e6).toISOString().slice(0, 16).replace("T", " ")} UTC`],
    ["packages", Object.entries(info.engine?.packages ?? {}).map((pair) => pair.join(" ")).join(", ")],
  ];
  const rows = facts.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)]);
  const note = "Every round holds every row once, in random order, in one server; a row is compared with the baseline of its rounds.";
  return section("method", "How it was measured", note, el("div.facts-grid", {}, el("dl", {}, ...rows)));
}
