// Where the time went on both sides: a row per group and stage, the two bars under one another on one scale.

import { el, section, withTooltip } from "./dom.js";
import { formatTime } from "./format.js";
import { page, groupColour } from "./data.js";
import { badge, formatChange, formatInterval, formatSigned, formatValue, shareOf } from "./comparison_format.js";

const SMALL_SHARE = 0.005;

export function comparedWaterfall(comparison, details) {
  const wholes = details.means_ns.map((means) =>
    page.groups.reduce((sum, group) => sum + means[`group.${group}`], 0),
  );
  const scale = Math.max(...wholes, 1);
  const rows = [];
  const starts = [0, 0];
  for (const group of page.groups) {
    const change = comparison.parts.find((part) => part.metric === `group.${group}`);
    if (change) rows.push(row(change, group, details, starts, scale, true));
    for (const stage of page.stages.filter((other) => other.group === group)) {
      const part = comparison.parts.find((other) => other.metric === `stage.${stage.id}`);
      if (part && part.label !== change?.label) rows.push(row(part, group, details, starts, scale, false));
      details.means_ns.forEach((means, place) => (starts[place] += means[`stage.${stage.id}`]));
    }
  }
  const hide = el("input", {
    type: "checkbox",
    checked: true,
    onchange: () => table.classList.toggle("brief", hide.checked),
  });
  const table = el(
    "div.waterfall.compared.brief",
    { role: "table", "aria-label": "Stages of both sides" },
    headRow(scale),
    ...rows,
  );
  return section(
    "waterfall",
    "Where the time goes, before and after",
    "Numbers are medians; bars are means, which add up to the mean TTFT of their side. Upper bar: baseline, lower: trial.",
    el("div.toolbar", {}, el("label.check", {}, hide, el("span", {}, "hide small stages that did not change"))),
    table,
  );
}

function headRow(scale) {
  const names = ["stage", "baseline ms", "trial ms", "change", "difference ms", "verdict"];
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) =>
    el("span.tick", { style: { left: `${100 * share}%` } }, share === 0 ? "0" : formatTime(share * scale)),
  );
  return el(
    "div.row.head",
    { role: "row" },
    ...names.map((name) => el("div", { role: "columnheader" }, name)),
    el("div.track", { role: "columnheader", "aria-label": "place in the TTFT" }, ...ticks),
  );
}

function row(change, group, details, starts, scale, isGroup) {
  const bars = details.means_ns.map((means, place) =>
    el(place ? "span.bar.after" : "span.bar.before", {
      style: {
        left: `${(100 * starts[place]) / scale}%`,
        width: `max(1px, ${(100 * means[change.metric]) / scale}%)`,
        background: groupColour(group),
      },
    }),
  );
  const node = el(
    isGroup ? "div.row.group" : "div.row.stage",
    { role: "row", "data-metric": change.metric, "data-verdict": change.verdict },
    el(
      "div.name",
      { role: "cell" },
      isGroup ? el("i.swatch", { style: { background: groupColour(group) } }) : null,
      change.label,
    ),
    el("div.number", { role: "cell" }, formatValue(change, change.baseline)),
    el("div.number", { role: "cell" }, formatValue(change, change.trial)),
    el("div.number", { role: "cell" }, formatChange(shareOf(change))),
    el("div.number", { role: "cell" }, formatSigned(change, change.difference)),
    el("div", { role: "cell" }, badge(change.verdict)),
    el("div.track", { role: "cell" }, ...bars),
  );
  const small = Math.max(...details.means_ns.map((means) => means[change.metric])) < SMALL_SHARE * scale;
  if (small && !["faster", "slower"].includes(change.verdict)) node.classList.add("minor");
  return withTooltip(node, change.label, [
    [`${change.is_mean ? "mean" : "median"} paired difference`, `${formatSigned(change, change.difference)} ms`],
    ["95% interval", `${formatInterval(change, change.low, change.high)} ms`],
    ["noise floor", `${formatInterval(change, change.noise_low, change.noise_high)} ms`],
    ["mean, baseline", formatTime(details.means_ns[0][change.metric])],
    ["mean, trial", formatTime(details.means_ns[1][change.metric])],
  ]);
}
