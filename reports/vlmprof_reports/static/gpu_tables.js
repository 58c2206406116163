// GPU kernels and copies as tables.

import { el, section } from "./dom.js";
import { formatBytes, formatCount, formatMs, formatShare, formatTime } from "./format.js";
import { page, stageById } from "./data.js";
import { sortableTable } from "./sortable.js";

// `find`: looks for a name in the timeline.
export function gpuSection(kernels, find) {
  const { gpu } = page;
  if (!kernels.length && !gpu) return null;
  const devices = (gpu?.devices ?? []).map((device) => el("p.note", {}, deviceText(device)));
  const whole = kernels.reduce((sum, row) => sum + row.total_ns, 0);
  const count = kernels.reduce((sum, row) => sum + row.count, 0);
  return section(
    "gpu",
    "GPU",
    `${formatCount(count)} kernels, ${formatTime(whole)} in all.`,
    ...devices,
    kernels.length ? kernelTable(kernels, whole, find) : null,
    gpu?.copies.length ? copyTable(gpu.copies) : null,
  );
}

function deviceText({ device, window_ns, busy_ns, ...idle }) {
  const parts = [
    ["waiting for host-to-device copies", idle.idle_h2d_ns],
    ["waiting in a queue", idle.idle_queue_ns],
    ["waiting for the CPU to launch", idle.idle_launch_ns],
    ["no request in flight", idle.idle_no_work_ns],
  ].filter(([, ns]) => ns > 0);
  const causes = parts.map(([text, ns]) => `${text} ${formatShare(ns / (window_ns || 1))}`).join(", ");
  return `GPU ${device}: busy ${formatShare(busy_ns / (window_ns || 1))} of ${formatTime(window_ns)}${causes ? `; idle: ${causes}` : ""}.`;
}

function kernelTable(kernels, whole, find) {
  const number = (head, value, text) => ({ head, number: true, value, cell: (row) => text(value(row)) });
  const columns = [
    {
      head: "kernel",
      value: (row) => row.name,
      cell: (row) =>
        el("button.link", { title: row.name.slice(0, 500), onclick: () => find(row.name) }, el("code.strong.wide", {}, row.name.slice(0, 300))),
    },
    { head: "family", value: (row) => row.family },
    number("count", (row) => row.count, formatCount),
    number("total ms", (row) => row.total_ns, formatMs),
    number("share", (row) => row.total_ns / (whole || 1), formatShare),
    number("mean µs", (row) => row.total_ns / row.count, (ns) => (ns / 1e3).toFixed(1)),
    number("longest µs", (row) => row.longest_ns, (ns) => (ns / 1e3).toFixed(1)),
  ];
  return sortableTable(columns, kernels, { caption: "Kernels", filter: true });
}

function copyTable(copies) {
  const rate = (row) => (row.busy_ns ? (row.size_bytes / row.busy_ns) * 1e9 : 0);
  const columns = [
    { head: "copies", value: (row) => row.kind, cell: (row) => el("b", {}, row.kind) },
    { head: "stage", value: (row) => stageById.get(row.stage)?.label ?? row.stage },
    { head: "phase", value: (row) => row.phase },
    { head: "from", value: (row) => row.source_memory },
    { head: "to", value: (row) => row.target_memory },
    { head: "count", number: true, value: (row) => row.copies, cell: (row) => formatCount(row.copies) },
    { head: "size", number: true, value: (row) => row.size_bytes, cell: (row) => formatBytes(row.size_bytes) },
    { head: "ms", number: true, value: (row) => row.busy_ns, cell: (row) => formatMs(row.busy_ns) },
    { head: "rate", number: true, value: rate, cell: (row) => (row.busy_ns ? `${formatBytes(rate(row))}/s` : "–") },
  ];
  return sortableTable(columns, copies, { caption: "Copies", filter: true });
}
