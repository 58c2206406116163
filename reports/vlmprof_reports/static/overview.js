// The head of the page: what was run, the diagnosis, the TTFT, and how far to trust it.

import { cssColour, el, withTooltip } from "./dom.js";
import { formatMs, formatRange, formatShare, formatTime, formatCount } from "./format.js";
import { page } from "./data.js";
import { inkOn } from "./chart_style.js";

export function overview() {
  const { info, summary } = page;
  return el(
    "header.hero",
    { id: "overview" },
    el("p.facts", {}, ...facts(info).map((fact) => el("span", {}, fact))),
    el("h1", {}, summary.diagnosis),
    info.error ? el("p.failure", {}, info.error) : null,
    headlineStats() ? composition() : null,
    el("div.tiles", {}, ...ttftTiles(), overheadTile(), qualityTile()),
    warnings([
      ...(info.status === "complete" ? [] : [`The run is ${info.status}: what it holds may not be all.`]),
      ...info.warnings,
      ...info.analysis_warnings,
    ]),
  );
}

export function headlineStats() {
  return page.summary.headline === "control" ? page.summary.control : page.summary.profiled;
}

function facts(info) {
  const gpus = info.host.gpus.map((gpu) => gpu.name).join(", ");
  const recipes = info.recipes.map((recipe) => recipe.slug).join(", ");
  return [
    info.name,
    info.model.name,
    info.engine ? `${info.engine.name} ${info.engine.version} on ${info.engine.device}` : null,
    gpus || `${info.host.cpu}, ${info.host.cores} cores, no GPU`,
    info.baseline ? `baseline ${info.baseline.name} (${info.baseline.title})` : null,
    recipes ? `recipes: ${recipes}` : "no recipes",
    new Date(info.created_unix_ns / 1e6).toISOString().slice(0, 16).replace("T", " ") + " UTC",
  ].filter(Boolean);
}

function composition() {
  const { groups } = page.summary;
  const bar = groups.map((group) => {
    const label =
      group.share > 0.055 ? [el("b", {}, group.label), el("span", {}, formatShare(group.share))] : [];
    const colour = cssColour(`--group-${page.groups.indexOf(group.group)}`);
    const part = el(
      "a.part",
      {
        href: "#waterfall",
        style: { "flex-grow": group.share, background: colour, color: inkOn(colour) },
        "aria-label": `${group.label} ${formatShare(group.share)}`,
      },
      ...label,
    );
    return withTooltip(part, group.label, [
      ["share of TTFT", formatShare(group.share)],
      ["median", formatTime(group.median_ns)],
      ["90th percentile", formatTime(group.p90_ns)],
    ]);
  });
  return el("div.composition", {}, ...bar);
}

function tile(label, value, unit, ...notes) {
  return el(
    "div.tile",
    {},
    el("div.label", {}, label),
    el("div.value", {}, value, unit ? el("small", {}, ` ${unit}`) : null),
    ...notes.filter(Boolean).map((note) => (typeof note === "string" ? el("div.note", {}, note) : note)),
  );
}

function ttftTiles() {
  const stats = headlineStats();
  if (!stats) return [tile("TTFT", "–", "", "no request got a first token")];
  const failed = page.summary.failed_requests;
  const count =
    `${formatCount(stats.requests)} ${page.summary.headline} requests` + (failed ? `, ${failed} failed` : "");
  return [
    tile("TTFT p50", formatMs(stats.p50_ns), "ms", count),
    tile("p90", formatMs(stats.p90_ns), "ms", `mean ${formatTime(stats.mean_ns)}`),
    tile("p99", formatMs(stats.p99_ns), "ms", formatRange(stats.min_ns, stats.max_ns)),
  ];
}

function overheadTile() {
  const overhead = page.info.overhead;
  if (!overhead) return tile("Cost of profiling", "–", "", "no interleaved blocks to compare");
  const noise =
    overhead.noise_low === null
      ? ""
      : `, noise floor ${overhead.noise_low.toFixed(3)} to ${overhead.noise_high.toFixed(3)}`;
  return tile(
    "Cost of profiling",
    `${overhead.ratio.toFixed(3)}`,
    "× TTFT",
    intervalPicture(overhead),
    `${(100 * overhead.confidence).toFixed(0)}% interval ${overhead.low.toFixed(3)} to ${overhead.high.toFixed(3)}${noise}`,
  );
}

// The interval over the noise floor on one small axis; the line at 1 is "costs nothing".
function intervalPicture({ ratio, low, high, noise_low, noise_high }) {
  const values = [1, ratio, low, high, noise_low ?? 1, noise_high ?? 1];
  const [from, to] = [Math.min(...values), Math.max(...values)];
  const pad = 0.08 * (to - from || 1);
  const at = (value) => (100 * (value - from + pad)) / (to - from + 2 * pad || 1);
  const span = (name, left, right) =>
    el(`span.${name}`, { style: { left: `${at(left)}%`, width: `${Math.max(0.5, at(right) - at(left))}%` } });
  return el(
    "div.interval",
    { "aria-hidden": "true" },
    noise_low === null || noise_low === undefined ? null : span("noise", noise_low, noise_high),
    span("range", low, high),
    el("span.one", { style: { left: `${at(1)}%` } }),
    el("span.point", { style: { left: `${at(ratio)}%` } }),
  );
}

function qualityTile() {
  const { summary, info } = page;
  const worstClock = Math.max(0, ...info.clocks.map((clock) => clock.uncertainty_ns));
  const split = summary.split;
  return tile(
    "Attributed",
    headlineStats() ? formatShare(1 - summary.unattributed_median_share) : "–",
    "of TTFT",
    headlineStats() ? `worst request ${formatShare(1 - summary.unattributed_worst_share)}` : null,
    split ? `stack samples cover ${formatShare(split.sampled_ns / split.ttft_ns)}` : "no stack samples",
    ...missed(info.quality),
    info.clocks.length ? `clocks within ±${formatTime(worstClock)}` : null,
  );
}

// What a sampler could not see; spans that are all there need no line here.
function missed(quality) {
  return quality
    .filter((source) => source.samples_missed)
    .slice(0, 2)
    .map(({ source, samples, samples_missed }) => {
      const name = source.length > 24 ? `${source.slice(0, 23)}…` : source;
      return `${name} missed ${formatShare(samples_missed / (samples + samples_missed))} of its samples`;
    });
}

function warnings(messages) {
  if (!messages.length) return null;
  return el("ul.warnings", { "aria-label": "Warnings" }, ...messages.map((message) => el("li", {}, message)));
}
