// Every metric, kernels side by side, outputs, and what differs around the comparison.

import { el, section } from "./dom.js";
import { formatCount, formatTime } from "./format.js";
import { page } from "./data.js";
import { sortableTable } from "./sortable.js";
import {
  badge,
  formatChange,
  formatInterval,
  formatSigned,
  formatValue,
  isRate,
  shareOf,
  sideName,
} from "./comparison_format.js";

export function metricsSection(comparison) {
  const columns = [
    { head: "metric", value: (row) => row.label, cell: (row) => el("b", {}, row.label) },
    { head: "unit", value: (row) => (isRate(row) ? "per s" : "ms") },
    number("baseline", (row) => row.baseline, (row) => formatValue(row, row.baseline)),
    number("trial", (row) => row.trial, (row) => formatValue(row, row.trial)),
    number("change", (row) => shareOf(row) ?? 0, (row) => formatChange(shareOf(row))),
    number("difference", (row) => row.difference, (row) => formatSigned(row, row.difference)),
    number("95% interval", (row) => row.low, (row) => formatInterval(row, row.low, row.high)),
    number("noise floor", (row) => row.noise_low ?? 0, (row) => formatInterval(row, row.noise_low, row.noise_high)),
    { head: "verdict", value: (row) => row.verdict, cell: (row) => badge(row.verdict) },
  ];
  return section(
    "metrics",
    "Whole requests",
    "Difference: the median over pairs of one round; of p90 and p99 the difference of the two percentiles.",
    sortableTable(columns, comparison.metrics, { caption: "Metrics" }),
  );
}

function number(head, value, cell) {
  return { head, number: true, value, cell };
}

export function kernelsSection(comparison, kernels) {
  if (!kernels) return null;
  const [before, after] = kernels.map(({ families }) => new Map(families.map((each) => [each.family, each])));
  const rows = [...new Set([...before.keys(), ...after.keys()])].map((family) => ({
    family,
    before: before.get(family),
    after: after.get(family),
  }));
  const time = (row, place) => row[place]?.total_ns ?? 0;
  const columns = [
    { head: "family", value: (row) => row.family, cell: (row) => el("b", {}, row.family) },
    ...["before", "after"].flatMap((place) => [
      number(`kernels ${place}`, (row) => row[place]?.kernels ?? 0, (row) => formatCount(row[place]?.kernels ?? 0)),
      number(`time ${place}`, (row) => time(row, place), (row) => formatTime(time(row, place))),
    ]),
    number(
      "difference",
      (row) => time(row, "after") - time(row, "before"),
      (row) => `${time(row, "after") < time(row, "before") ? "−" : "+"}${formatTime(Math.abs(time(row, "after") - time(row, "before")))}`,
    ),
  ];
  return section(
    "kernels",
    "GPU kernels side by side",
    "Summed over the whole of each run; the layer is the sequence of kernels that repeats most.",
    sortableTable(columns, rows, { caption: "Kernels by family" }),
    layers(comparison, kernels),
  );
}

function layers({ baseline, trial }, kernels) {
  const found = kernels.map(({ layer }) => layer);
  if (!found.every(Boolean)) return null;
  const families = [...new Set(found.flatMap((layer) => Object.keys(layer.family_ns)))];
  const rows = [...families.map((family) => [family, ...found.map((layer) => layer.family_ns[family] ?? 0)])];
  rows.push(["whole layer", ...found.map((layer) => layer.mean_ns)]);
  const micro = (ns) => (ns / 1000).toFixed(2);
  const columns = [
    { head: "in each layer, us", value: (row) => row[0], cell: (row) => el("b", {}, row[0]) },
    number(sideName(baseline), (row) => row[1], (row) => micro(row[1])),
    number(sideName(trial), (row) => row[2], (row) => micro(row[2])),
    number("difference", (row) => row[2] - row[1], (row) => `${row[2] < row[1] ? "−" : "+"}${micro(Math.abs(row[2] - row[1]))}`),
  ];
  return sortableTable(columns, rows, { caption: "Kernels of a layer" });
}

export function outputsSection({ outputs, baseline, trial }) {
  if (!outputs.compared) return section("outputs", "Outputs", "", el("p.note", {}, `Not compared: ${outputs.note}.`));
  const all = outputs.equal === outputs.compared;
  const told = `${outputs.equal} of ${outputs.compared} requests with the same image and prompt got the same text.`;
  const first = outputs.first_difference;
  return section(
    "outputs",
    "Outputs",
    "",
    el("p", {}, el(all ? "b.good" : "b.bad", {}, all ? "Equal. " : "Different. "), told),
    first
      ? el(
          "div.facts-grid.texts",
          {},
          text(`${sideName(baseline)}, request ${first.baseline_request}`, first.baseline_text),
          text(`${sideName(trial)}, request ${first.trial_request}`, first.trial_text),
          el("p.note", {}, `Image ${first.image}; the texts part at character ${first.at}.`),
        )
      : null,
  );
}

function text(title, value) {
  return el("div", {}, el("h3", {}, title), el("code", {}, value));
}

export function environmentSection({ environment, scope }) {
  const columns = [
    { head: "what", value: (row) => row.what, cell: (row) => el("b", {}, row.what) },
    { head: "baseline", value: (row) => row.baseline },
    { head: "trial", value: (row) => row.trial },
    { head: "why it may matter", value: (row) => row.why },
  ];
  const note = environment.length
    ? ""
    : "Nothing that is recorded: model, engine, arguments, packages, host, recipes and workload are the same.";
  return section(
    "environment",
    "What differs",
    note,
    environment.length ? sortableTable(columns, environment, { caption: "Differences of environment" }) : null,
    scope === "one server" ? null : commands(),
  );
}

function commands() {
  const lists = page.infos.map((info) => {
    const pairs = [
      ["command", info.command.join(" ")],
      ["engine", (info.engine?.command ?? []).join(" ")],
      ["made", new Date(info.created_unix_ns / 1e6).toISOString().slice(0, 16).replace("T", " ") + " UTC"],
    ];
    const rows = pairs.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)]);
    return el("div", {}, el("h3", {}, info.name), el("dl", {}, ...rows));
  });
  return el("div.facts-grid", {}, ...lists);
}
