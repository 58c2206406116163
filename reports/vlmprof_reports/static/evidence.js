// How far the result can be trusted, and what it was measured on.

import { el, section } from "./dom.js";
import { formatBytes, formatCount, formatTime } from "./format.js";
import { page } from "./data.js";
import { sortableTable } from "./sortable.js";

export function qualitySection() {
  const { info } = page;
  return section(
    "quality",
    "How far to trust this",
    "What each source saw, what it missed, and how well it lies on the one clock.",
    sortableTable(collectorColumns(), info.collectors, { caption: "Collectors" }),
    info.quality.length ? sortableTable(lossColumns(), info.quality, { caption: "Losses" }) : null,
    info.clocks.length ? sortableTable(clockColumns(), info.clocks, { caption: "Clocks" }) : null,
    info.agents.length ? sortableTable(agentColumns(), info.agents, { caption: "Agents" }) : null,
  );
}

function collectorColumns() {
  return [
    { head: "collector", value: (row) => row.name, cell: (row) => el("b", {}, row.name) },
    { head: "kind", value: (row) => row.kind },
    { head: "version", value: (row) => row.version },
    {
      head: "state",
      value: (row) => row.state,
      cell: (row) =>
        el(`span.state.${row.state === "ok" ? "good" : row.state === "off" ? "off" : "bad"}`, {}, row.state),
    },
    { head: "why", value: (row) => [row.reason, row.detail].filter(Boolean).join("; ") },
  ];
}

function lossColumns() {
  const count = (name) => ({
    number: true,
    value: (row) => row[name],
    cell: (row) => formatCount(row[name]),
  });
  return [
    { head: "source", value: (row) => row.source, cell: (row) => el("b", {}, row.source) },
    { head: "samples", ...count("samples") },
    { head: "missed", ...count("samples_missed") },
    { head: "errors", ...count("errors") },
    { head: "dropped", ...count("dropped") },
    { head: "cut off", value: (row) => (row.truncated ? "yes" : "no") },
    { head: "note", value: (row) => row.note },
  ];
}

function clockColumns() {
  const time = (ns) => (ns === null || ns === undefined ? "–" : formatTime(ns));
  return [
    { head: "clock", value: (row) => row.source, cell: (row) => el("b", {}, row.source) },
    { head: "method", value: (row) => row.method },
    {
      head: "uncertainty",
      number: true,
      value: (row) => row.uncertainty_ns,
      cell: (row) => `±${time(row.uncertainty_ns)}`,
    },
    {
      head: "drift ppm",
      number: true,
      value: (row) => row.drift_ppm,
      cell: (row) => row.drift_ppm.toFixed(1),
    },
    { head: "witness", value: (row) => row.witness },
    {
      head: "median",
      number: true,
      value: (row) => row.witness_p50_ns ?? 0,
      cell: (row) => time(row.witness_p50_ns),
    },
    {
      head: "p95",
      number: true,
      value: (row) => row.witness_p95_ns ?? 0,
      cell: (row) => time(row.witness_p95_ns),
    },
    { head: "checks", number: true, value: (row) => row.witness_count },
  ];
}

function agentColumns() {
  return [
    { head: "agent in", value: (row) => row.role, cell: (row) => el("b", {}, row.role) },
    { head: "pid", number: true, value: (row) => row.pid },
    { head: "boundaries", number: true, value: (row) => row.patched },
    { head: "spans dropped", number: true, value: (row) => row.dropped },
    {
      head: "ns per span",
      number: true,
      value: (row) => row.span_cost_ns ?? 0,
      cell: (row) => (row.span_cost_ns === null ? "–" : String(row.span_cost_ns)),
    },
    {
      head: "boundaries that this version lacks",
      value: (row) => row.missing.join(", "),
      cell: (row) => el("span.clip", {}, row.missing.join(", ")),
    },
  ];
}

export function environmentSection() {
  const { info } = page;
  const { host, engine, workload, model } = info;
  const facts = {
    Run: [
      ["command", info.command.join(" ")],
      ["status", info.status],
      ["vlmprof", info.vlmprof_version],
    ],
    Model: [
      ["name", model.name],
      ["path", model.path],
      ["architecture", model.architecture],
      ["dtype", model.dtype],
    ],
    Host: [
      ["CPU", `${host.cpu}, ${host.cores} cores`],
      ["memory", formatBytes(host.memory_bytes)],
      ["system", `${host.os}, kernel ${host.kernel}`],
      ...host.gpus.map((gpu) => [
        "GPU",
        `${gpu.name}, ${formatBytes(gpu.memory_bytes)}, driver ${gpu.driver}`,
      ]),
    ],
    Engine: engine
      ? [
          ["version", `${engine.name} ${engine.version}`],
          ["device", engine.device],
          ["Python", engine.python],
          ["command", engine.command.join(" ")],
        ]
      : [],
    Workload: workload ? workloadFacts(workload, info.cache_policy) : [],
    Baseline: info.baseline
      ? [
          [info.baseline.name, `${info.baseline.title}, as before recipe ${info.baseline.recipe}`],
          ["acted", `in ${info.baseline.acted} of ${info.baseline.asked} requests that asked for it`],
        ]
      : [],
    Recipes: info.recipes.map((recipe) => [`${recipe.number} ${recipe.slug}`, callsOf(recipe)]),
    Packages: Object.entries(engine?.packages ?? {}),
  };
  const lists = Object.entries(facts)
    .filter(([, pairs]) => pairs.length)
    .map(([name, pairs]) =>
      el(
        "div",
        {},
        el("h3", {}, name),
        el("dl", {}, ...pairs.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)])),
      ),
    );
  return section("environment", "Environment", "", el("div.facts-grid", {}, ...lists));
}

function workloadFacts(workload, cache) {
  const rate = workload.rate_per_s === null ? "" : `, ${workload.rate_per_s} per second`;
  return [
    [
      "requests",
      `${workload.requests} after ${workload.warm_up} of warm-up, concurrency ${workload.concurrency}${rate}`,
    ],
    ["images", workload.load_command ? `load command: ${workload.load_command}` : workload.image_source],
    ["prompt", workload.prompt],
    ["output", `at most ${workload.max_tokens} tokens, seed ${workload.seed}`],
    ...(cache ? [["caches", cache.note]] : []),
    ...(workload.skipped_images.length ? [["skipped images", workload.skipped_images.join(", ")]] : []),
  ];
}

/** What became of a recipe's calls: how many each process made, and in how many nothing was done and why. */
function callsOf(recipe) {
  const reasons = recipe.reasons?.length ? ` (${recipe.reasons.join("; ")})` : "";
  return [
    ...Object.entries(recipe.calls).map(([name, calls]) => `${name}: ${calls} calls`),
    ...(recipe.failures ? [`failed in ${recipe.failures}`] : []),
    ...(recipe.gave_way ? [`gave way in ${recipe.gave_way}${reasons}`] : []),
  ].join(", ");
}
