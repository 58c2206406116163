// Functions, requests and processes as tables.

import { el, section } from "./dom.js";
import { fileAndLine, formatCount, formatMs, formatShare, formatTime } from "./format.js";
import { page, stageById, groupColour } from "./data.js";
import { headlineStats } from "./overview.js";
import { sortableTable } from "./sortable.js";

// `open`: shows the callers and callees of a function.
export function functionsSection(open) {
  const { hot, split } = page.summary;
  if (!hot.length)
    return section("functions", "Hottest functions", "No stacks were sampled on the critical path.");
  const most = Math.max(...hot.map((row) => row.self_ns));
  const columns = [
    {
      head: "function",
      value: (row) => row.function,
      cell: (row) =>
        el("button.link", { title: row.function, onclick: () => open(row) }, el("code.strong", {}, row.function)),
    },
    {
      head: "file and hottest line",
      value: (row) => row.file,
      cell: (row) => el("code.place", { title: `${row.file}:${row.line}` }, fileAndLine(row.file, row.line)),
    },
    { head: "self ms", number: true, value: (row) => row.self_ns, cell: (row) => formatMs(row.self_ns) },
    { head: "total ms", number: true, value: (row) => row.total_ns, cell: (row) => formatMs(row.total_ns) },
    { head: "share", number: true, value: (row) => row.share, cell: (row) => formatShare(row.share) },
    {
      head: "in which stages",
      value: (row) => stagesOf(row)[0]?.[0] ?? "",
      cell: (row) => stageSplit(row, most),
    },
  ];
  const note = `Click one for its callers and callees. Self time per request on the critical path, from ${split.requests} ${split.phase} requests; samples cover ${formatShare(split.sampled_ns / split.ttft_ns)} of their TTFT.`;
  return section(
    "functions",
    "Hottest functions",
    note,
    sortableTable(columns, hot, { caption: "Hottest functions", filter: true }),
  );
}

function stagesOf(hot) {
  return Object.entries(hot.stages).sort((a, b) => b[1] - a[1]);
}

function stageSplit(hot, most) {
  const parts = stagesOf(hot).map(([id, ns]) => {
    const stage = stageById.get(id);
    return el("i", {
      title: `${stage?.label ?? id} ${formatTime(ns)}`,
      style: { width: `${(100 * ns) / most}%`, background: groupColour(stage?.group) },
    });
  });
  const [id] = stagesOf(hot)[0] ?? [""];
  return el(
    "div.split",
    {},
    el("div.splitbar", {}, ...parts),
    el("span", {}, stageById.get(id)?.label ?? id),
  );
}

export function requestsTable(requests) {
  const columns = [
    { head: "request", value: (row) => row.id, cell: (row) => el("code", { title: row.id }, row.id) },
    { head: "phase", value: (row) => row.phase },
    { head: "block", number: true, value: (row) => row.block },
    {
      head: "TTFT ms",
      number: true,
      value: (row) => row.ttft_ns ?? Infinity,
      cell: (row) => (row.ttft_ns === null ? "–" : formatMs(row.ttft_ns)),
    },
    {
      head: "whole ms",
      number: true,
      value: (row) => row.total_ns ?? Infinity,
      cell: (row) => (row.total_ns === null ? "–" : formatMs(row.total_ns)),
    },
    { head: "prompt tokens", number: true, value: (row) => row.prompt_tokens },
    { head: "image tokens", number: true, value: (row) => row.image_tokens },
    { head: "output tokens", number: true, value: (row) => row.output_tokens },
    {
      head: "image",
      value: (row) => (row.image_names ?? []).join(", "),
      cell: (row) => el("span.clip", {}, (row.image_names ?? []).join(", ")),
    },
    {
      head: "error",
      value: (row) => row.error,
      cell: (row) => (row.error ? el("span.bad", {}, row.error) : ""),
    },
  ];
  const all = el("details", {}, el("summary", {}, `All ${formatCount(requests.length)} requests`));
  const fill = () => all.append(sortableTable(columns, requests, { caption: "Requests", filter: true }));
  all.addEventListener("toggle", fill, { once: true });
  return all;
}

export function processesSection() {
  const { processes } = page.summary;
  const rest = 1 - processes.reduce((sum, row) => sum + row.critical_path_share, 0);
  const between = {
    label: "between processes",
    critical_path_ns: rest * (headlineStats()?.mean_ns ?? 0),
    critical_path_share: rest,
  };
  const rows = headlineStats() && rest > 1e-9 ? [...processes, between] : processes;
  const columns = [
    { head: "process", value: (row) => row.label, cell: (row) => el("b", {}, row.label) },
    { head: "name", value: (row) => row.name, cell: (row) => el("span.clip", {}, row.name ?? "") },
    { head: "pid", number: true, value: (row) => row.pid ?? "" },
    { head: "threads", number: true, value: (row) => row.threads ?? "" },
    {
      head: "waited for, ms",
      number: true,
      value: (row) => row.critical_path_ns,
      cell: (row) => formatMs(row.critical_path_ns),
    },
    {
      head: "share of TTFT",
      number: true,
      value: (row) => row.critical_path_share,
      cell: (row) => formatShare(row.critical_path_share),
    },
    {
      head: "CPU s",
      number: true,
      value: (row) => row.cpu_ns ?? -1,
      cell: (row) => (row.cpu_ns === null || row.cpu_ns === undefined ? "–" : (row.cpu_ns / 1e9).toFixed(2)),
    },
    {
      head: "samples",
      number: true,
      value: (row) => row.samples ?? 0,
      cell: (row) => (row.samples === undefined ? "" : formatCount(row.samples)),
    },
  ];
  const note = "Waited for: mean time per request in which this process was the one on the critical path.";
  return section("processes", "Processes", note, sortableTable(columns, rows, { caption: "Processes" }));
}
