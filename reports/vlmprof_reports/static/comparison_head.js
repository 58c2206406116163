// The head of a comparison: what was compared, the verdict, the interval over the noise floor, warnings.

import { el } from "./dom.js";
import { page } from "./data.js";
import {
  badge,
  changeOf,
  counted,
  formatChange,
  formatInterval,
  formatSigned,
  formatValue,
  isRate,
  recipesOf,
  shareOf,
  sideName,
} from "./comparison_format.js";

export const comparisons = page.result.comparisons;

const TILES = [
  ["ttft_p50", "TTFT p50"],
  ["e2e_p50", "End to end p50"],
  ["tpot_p50", "TPOT p50"],
  ["tokens_per_s_p50", "Tokens/s p50"],
];

export function head(index, choose) {
  const comparison = comparisons[index];
  return el(
    "header.hero",
    { id: "overview" },
    el("p.facts", {}, ...facts(comparison).map((fact) => el("span", {}, fact))),
    comparisons.length > 1 ? trials(index, choose) : null,
    el("h1", {}, comparison.sentence),
    el("div.sides", {}, side("baseline", comparison.baseline), side("trial", comparison.trial)),
    ruler(changeOf(comparison, "ttft_p50")),
    el("div.tiles.changes", {}, ...TILES.map(([metric, label]) => tile(changeOf(comparison, metric), label))),
    gates(comparison),
    warnings(comparison.warnings),
  );
}

function facts(comparison) {
  const info = page.infos[0];
  return [
    info.model.name,
    info.engine ? `${info.engine.name} ${info.engine.version} on ${info.engine.device}` : null,
    `${info.host.cpu}, ${info.host.cores} cores`,
    comparison.scope,
    `${counted(comparison.rounds, "round")}, paired by ${comparison.paired_by}`,
  ].filter(Boolean);
}

function side(part, { requests, blocks, left_out, ...own }) {
  const left = left_out ? `, ${left_out} left out` : "";
  return el(
    "p",
    {},
    el(`i.swatch.${part}`),
    el("b", {}, sideName(own)),
    ` ${recipesOf(own)}, ${counted(requests, "request")} in ${counted(blocks, "block")}${left}`,
  );
}

// Every trial as a row that can be chosen, so that a ladder is read before one step is looked at.
function trials(index, choose) {
  const rows = comparisons.map((comparison, number) => {
    const ttft = changeOf(comparison, "ttft_p50");
    return el(
      "button.trial",
      { "aria-pressed": String(number === index), onclick: () => choose(number) },
      el("b", {}, comparison.trial.label),
      el("span", {}, recipesOf(comparison.trial)),
      el("span.number", {}, `${formatValue(ttft, ttft.trial)} ms`),
      el("span.number", {}, formatChange(shareOf(ttft))),
      badge(comparison.verdict),
    );
  });
  return el("div.trials", { role: "group", "aria-label": "Trials" }, ...rows);
}

// One axis for the TTFT's change: the interval, the noise floor under it, and where nothing changes.
function ruler(change) {
  const noise = change.noise_low === null ? [] : [change.noise_low, change.noise_high];
  const ends = [0, change.low, change.high, ...noise];
  const [from, to] = [Math.min(...ends), Math.max(...ends)];
  const pad = 0.06 * (to - from || 1);
  const at = (value) => `${(100 * (value - from + pad)) / (to - from + 2 * pad)}%`;
  const width = (low, high) => `${(100 * (high - low)) / (to - from + 2 * pad)}%`;
  const band = (name, low, high, label) =>
    el(`span.${name}`, { style: { left: at(low), width: `max(2px, ${width(low, high)})` }, title: label });
  const tick = (value, text, name = "") =>
    el(`span.tick${name}`, { style: { left: at(value) } }, text);
  return el(
    "figure.ruler",
    { "aria-label": "Change of the TTFT with its interval and the noise floor" },
    el(
      "div.axis",
      {},
      noise.length ? band("noise", ...noise, "what the baseline differs by from itself") : null,
      band("range", change.low, change.high, "95% interval of the difference"),
      el("span.zero", { style: { left: at(0) } }),
      el("span.point", { style: { left: at(change.difference) } }),
    ),
    el(
      "div.ticks",
      {},
      tick(0, "0"),
      Math.abs(change.difference) > 0.04 * (to - from)
        ? tick(change.difference, `${formatSigned(change, change.difference)} ms`, ".strong")
        : null,
    ),
    el(
      "figcaption.legend",
      {},
      el("span", {}, el("i.key.range"), `95% interval ${formatInterval(change, change.low, change.high)} ms`),
      noise.length
        ? el("span", {}, el("i.key.noise"), `noise floor ${formatInterval(change, ...noise)} ms`)
        : null,
    ),
  );
}

function tile(change, label) {
  if (!change) return el("div.tile", {}, el("div.label", {}, label), el("div.value", {}, "–"));
  const unit = isRate(change) ? "per s" : "ms";
  return el(
    "div.tile",
    { "data-metric": change.metric },
    el("div.label", {}, label),
    el("div.value", {}, formatChange(shareOf(change))),
    el(
      "div.note",
      {},
      `${formatValue(change, change.baseline)} → ${formatValue(change, change.trial)} ${unit}`,
    ),
    badge(change.verdict),
  );
}

function gates(comparison) {
  const own = page.result.gates.filter((gate) => gate.trial === comparison.trial.label);
  if (!own.length) return null;
  return el(
    "ul.gates",
    { "aria-label": "Gates" },
    ...own.map(({ gate, outcome, note, measured, low, high, unit }) =>
      el(
        `li.${outcome.replace(" ", "-")}`,
        {},
        el("code", {}, gate),
        el("b", {}, outcomeWords(outcome, note)),
        measured === null ? "–" : `${measured.toFixed(1)} [${low.toFixed(1)}, ${high.toFixed(1)}] ${unit}`,
      ),
    ),
  );
}

function outcomeWords(outcome, note) {
  if (note) return `${outcome}: ${note}`;
  return outcome === "undecided" ? "undecided: the interval straddles the bound" : outcome;
}

function warnings(messages) {
  if (!messages.length) return null;
  return el("ul.warnings", { "aria-label": "Warnings" }, ...messages.map((message) => el("li", {}, message)));
}
