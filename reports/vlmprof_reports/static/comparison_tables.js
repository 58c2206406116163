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
  const [before, after] = kernels.families.map((families) => new Map(families.map((each) => [each.family, each])));
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
      (row) => signed(time(row, "after") - time(row, "before"), formatTime),
    ),
  ];
  return section(
    "kernels",
    "GPU kernels side by side",
    "By family over the whole of each run; below, one layer: the sequence of kernels that repeats most.",
    sortableTable(columns, rows, { caption: "Kernels by family" }),
    ...layer(comparison, kernels.layer),
  );
}

function signed(ns, format) {
  return `${ns < 0 ? "−" : "+"}${format(Math.abs(ns))}`;
}

const micro = (ns) => (ns / 1000).toFixed(2);

// The layer of both runs: its parts first, then kernel by kernel, those of one side only on top.
function layer({ baseline, trial }, found) {
  if (!found) return [el("p.note", {}, "No layer repeats in both runs.")];
  const sides = [baseline, trial].map(sideName);
  const parts = [
    { head: "one layer, us", value: (row) => row.part, cell: (row) => el("b", {}, row.part) },
    number(sides[0], (row) => row.first_ns, (row) => micro(row.first_ns)),
    number(sides[1], (row) => row.second_ns, (row) => micro(row.second_ns)),
    number("difference", (row) => row.second_ns - row.first_ns, (row) => signed(row.second_ns - row.first_ns, micro)),
  ];
  const times = (place) => [(row) => row.times_ns[place], (row) => (row.counts[place] ? micro(row.times_ns[place]) : "–")];
  const kernels = [
    { head: "kernel", value: (row) => row.name, cell: (row) => el("code.clip", { title: row.name }, row.name) },
    { head: "family", value: (row) => row.family },
    number(`${sides[0]}, us`, ...times(0)),
    number(`${sides[1]}, us`, ...times(1)),
    number(
      "difference",
      (row) => row.times_ns[1] - row.times_ns[0],
      (row) => signed(row.times_ns[1] - row.times_ns[0], micro),
    ),
    { head: "", value: (row) => (row.counts[0] ? (row.counts[1] ? "" : "vanished") : "new") },
  ];
  return [
    sortableTable(parts, found.parts, { caption: "Parts of a layer" }),
    sortableTable(kernels, found.kernels, { caption: "Kernels of a layer", filter: true }),
  ];
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
