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

// The paper's last row, whether or not all that it adds has something to do here.
function paperEnd(metric) {
  return rowOf(ladder.steps.at(-1), metric).paper;
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
  const blocks = METRICS.map((metric) =>
    el("div.table", {}, el("h3", {}, `${metric.name}, ${metric.unit}`), metricTable(metric)),
  );
  const noise = noiseOf(METRICS[0]);
  const note = noise
    ? `The baseline against itself: ratios from ${formatRatio(noise[0])} to ${formatRatio(noise[1])}. What lies inside is no difference.`
    : "";
  return section("tables", "Tables", note, ...blocks, outputs());
}

function metricTable(metric) {
  const withPredicted = metric.metric === "ttft_p50";
  const heads = ["", metric.unit, "ratio", "95% interval", ...(withPredicted ? ["predicted"] : []), "paper", "verdict"];
  const rows = [...ladder.steps, ...ladder.ablations].map((step) => tableRow(step, metric, withPredicted));
  const body = el("tbody", {}, baselineRow(metric, heads.length), ...rows);
  const numeric = (place) => place > 0 && place < heads.length - 1;
  const head = heads.map((name, place) => el(numeric(place) ? "th.number" : "th", { scope: "col" }, name));
  return el("table.steps", { "aria-label": metric.name }, el("thead", {}, el("tr", {}, ...head)), body);
}

function baselineRow({ metric }, width) {
  const first = measured([...ladder.steps, ...ladder.ablations])[0];
  const change = first ? changeOf(first.comparison, metric) : null;
  const cells = ["baseline", change ? formatValue(change, change.baseline) : "–", "1.000"];
  return el(
    "tr",
    {},
    ...cells.map((cell, place) => el(place ? "td.number" : "td", {}, cell)),
    ...Array.from({ length: width - cells.length }, () => el("td")),
  );
}

function tableRow(step, metric, withPredicted) {
  const { change, ours, paper, predicted } = rowOf(step, metric);
  const number = (text) => el("td.number", {}, text);
  return el(
    "tr",
    { "data-arm": step.arm, "data-metric": metric.metric },
    el("td", {}, el("b", {}, step.title)),
    number(change ? formatValue(change, change.trial) : "–"),
    number(formatRatio(ours?.value)),
    number(ours ? `${formatRatio(ours.low)} to ${formatRatio(ours.high)}` : "–"),
    ...(withPredicted ? [number(formatRatio(predicted))] : []),
    number(formatRatio(paper)),
    el("td", {}, change ? badge(change.verdict) : el("span.off", {}, "nothing to switch on")),
  );
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
  if (!reasons.size) return null;
  const rows = [...reasons].flatMap(([number, reason]) => [el("dt", {}, `recipe ${number}`), el("dd", {}, reason)]);
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
