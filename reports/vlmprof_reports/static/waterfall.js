// Where the time goes, by group and stage, with the functions inside each stage.

import { el, section, withTooltip } from "./dom.js";
import { formatMs, formatShare, formatTime, fileAndLine } from "./format.js";
import { page, groupColour } from "./data.js";
import { headlineStats } from "./overview.js";

// All headline requests together: each bar starts where the one before it ended.
export function waterfall(actions) {
  const stats = headlineStats();
  if (!stats) return null;
  const body = el(
    "div.waterfall",
    { role: "table", "aria-label": "TTFT by group and stage" },
    waterfallHead(stats),
  );
  let start = 0;
  for (const group of page.summary.groups) {
    const stages = page.summary.stages.filter((stage) => stage.group === group.group);
    // A group that is its one stage needs no second row to say so.
    const alone = stages.length === 1 && stages[0].label === group.label ? stages[0].stage : "";
    body.append(waterfallRow({ ...group, stage: alone }, group.label, start, true));
    for (const stage of stages) {
      if (!alone) body.append(...stageRows(stage, start, actions));
      start += stage.share;
    }
  }
  const coarse = page.summary.stages_from === "samples" ? ", coarse because read from stack samples" : "";
  const note = `${stats.requests} ${page.summary.headline} requests together${coarse}; bars follow the pipeline and add up to the mean TTFT. Open a stage to see the functions inside it.`;
  return section("waterfall", "Where the time goes", note, body);
}

function waterfallHead(stats) {
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) =>
    el(
      "span.tick",
      { style: { left: `${100 * share}%` } },
      share === 0 ? "0" : formatTime(share * stats.mean_ns),
    ),
  );
  const names = ["stage", "median ms", "p90 ms", "share"].map((name) =>
    el("div", { role: "columnheader" }, name),
  );
  return el(
    "div.row.head",
    { role: "row" },
    ...names,
    el("div.track", { role: "columnheader", "aria-label": "place in the TTFT" }, ...ticks),
  );
}

function waterfallRow(part, name, start, isGroup) {
  const bar = el("span.bar", {
    style: {
      left: `${100 * start}%`,
      width: `max(2px, ${100 * part.share}%)`,
      background: groupColour(part.group),
    },
  });
  const row = el(
    isGroup ? "div.row.group" : "div.row.stage",
    {
      role: "row",
      "data-share": part.share,
      "data-total-ns": part.total_ns,
      "data-stage": part.stage ?? "",
      "data-group": part.group,
    },
    el(
      "div.name",
      { role: "cell" },
      isGroup ? el("i.swatch", { style: { background: groupColour(part.group) } }) : null,
      name,
    ),
    el("div.number", { role: "cell" }, formatMs(part.median_ns)),
    el("div.number", { role: "cell" }, formatMs(part.p90_ns)),
    el("div.number", { role: "cell" }, formatShare(part.share)),
    el("div.track", { role: "cell" }, bar),
  );
  if (part.share < 0.005) row.classList.add("small");
  return withTooltip(row, part.label, [
    ["share of TTFT", formatShare(part.share)],
    ["median", formatTime(part.median_ns)],
    ["mean", formatTime(part.mean_ns)],
    ["90th percentile", formatTime(part.p90_ns)],
  ]);
}

function stageRows(stage, start, actions) {
  const functions = page.summary.hot_by_stage[stage.stage] ?? [];
  const row = waterfallRow(stage, stage.label, start, false);
  const { openFlame, showInTimeline } = actions;
  const inside = el(
    "div.inside",
    { hidden: true },
    functions.length ? functionList(functions) : null,
    functions.length ? flameButton(stage, openFlame) : null,
    el("button.link", { onclick: () => showInTimeline(stage) }, `${stage.label} in the timeline`),
  );
  const name = row.querySelector(".name");
  const button = el(
    "button.disclose",
    { "aria-expanded": "false", onclick: () => toggle(button, inside) },
    stage.label,
  );
  name.replaceChildren(button);
  return [row, inside];
}

function toggle(button, inside) {
  inside.hidden = !inside.hidden;
  button.setAttribute("aria-expanded", String(!inside.hidden));
}

function functionList(functions) {
  const most = Math.max(...functions.map((hot) => hot.self_ns));
  const rows = functions.map((hot) =>
    el(
      "div.function",
      {},
      el("span.number", {}, formatMs(hot.self_ns)),
      el("span.meter", {}, el("i", { style: { width: `${(100 * hot.self_ns) / most}%` } })),
      el("code", { title: hot.function }, hot.function),
      el("code.place", { title: `${hot.file}:${hot.line}` }, fileAndLine(hot.file, hot.line, 90)),
    ),
  );
  return el(
    "div.functions",
    {},
    el("p.note", {}, "self time in ms per request, from the stack samples"),
    ...rows,
  );
}

function flameButton(stage, openFlame) {
  return el(
    "button.link",
    { onclick: () => openFlame(`stage:${stage.stage}`) },
    `Flame graph of ${stage.label}`,
  );
}
