// What is drawn over the tracks: the selected slice, arrows from launch to kernel, the two ends of a measurement.

import { firstRow } from "./trace_blocks.js";
import { sliceOf } from "./trace_hit.js";

const MOST_ARROWS = 60;
const HEAD = 5;

// Where a slice is on the canvas; null where its track is not shown.
export function boxOf(view, slice) {
  const row = view.layout.rowOfTrack.get(slice.track.number);
  if (!row) return null;
  const lane = row.folded ? 0 : laneOf(view, slice);
  const top = row.top - view.scroller.scrollTop + lane * row.laneHeight;
  return { left: view.x(slice.start), right: view.x(slice.start + slice.length), top, height: row.laneHeight - 1 };
}

function laneOf(view, { track, node, lane }) {
  if (node === undefined) return lane;
  const { depth } = view.trace.model;
  return Math.max(0, depth[node] - depth[track.root] - 1);
}

export function drawOutline(context, view, slice) {
  const box = boxOf(view, slice);
  if (!box) return;
  const left = Math.max(-3, box.left);
  const right = Math.min(view.width + 3, Math.max(box.right, box.left + 2));
  context.strokeStyle = view.colours.ink;
  context.lineWidth = 2;
  context.strokeRect(left, box.top, right - left, box.height);
}

// The arrows of what is selected or under the pointer; of all kernels in view where they are few.
export function drawArrows(context, view) {
  const few = kernelsInView(view);
  context.strokeStyle = context.fillStyle = view.colours.muted;
  context.lineWidth = 1;
  context.globalAlpha = 0.55;
  for (const kernel of few) drawArrow(context, view, kernel);
  context.globalAlpha = 1;
  context.strokeStyle = context.fillStyle = view.colours.ink;
  context.lineWidth = 1.5;
  for (const slice of [view.selected, view.hovered, view.selected?.launched])
    if (slice?.origin) drawArrow(context, view, slice);
}

function kernelsInView(view) {
  const kernels = [];
  for (const row of view.shownRows(view.scroller.clientHeight)) {
    const { track } = row;
    if (!track || (track.kind !== "kernels" && track.kind !== "copies")) continue;
    if (track.levelFor(view.nsPerPixel) >= 0) return [];
    for (const block of view.drawer.blocks(track, -1, view.window.from, view.window.to))
      for (let i = firstRow(block, view.window.from); i < block.rows && block.start[i] < view.window.to; i++) {
        if (!block.origin?.[i]) continue;
        if (kernels.length >= MOST_ARROWS) return [];
        kernels.push(sliceOf(track, block, i));
      }
  }
  return kernels;
}

function drawArrow(context, view, kernel) {
  const from = view.layout.rowOfTrack.get(kernel.origin - 1);
  const box = boxOf(view, kernel);
  if (!from || !box) return;
  const [x0, x1] = [view.x(kernel.launch), box.left];
  const y0 = from.top - view.scroller.scrollTop + from.laneHeight;
  const y1 = box.top;
  const bend = Math.max(20, Math.abs(y1 - y0) / 2);
  context.beginPath();
  context.moveTo(x0, y0);
  context.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1 - HEAD);
  context.stroke();
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x1 - HEAD * 0.6, y1 - HEAD);
  context.lineTo(x1 + HEAD * 0.6, y1 - HEAD);
  context.fill();
}

export function drawMarks(context, view, height, formatDuration) {
  const { marks, colours } = view;
  context.strokeStyle = context.fillStyle = colours.accent;
  context.lineWidth = 1.5;
  context.setLineDash([5, 3]);
  for (const time of marks) {
    context.beginPath();
    context.moveTo(view.x(time), 0);
    context.lineTo(view.x(time), height);
    context.stroke();
  }
  context.setLineDash([]);
  if (marks.length < 2) return;
  const [left, right] = marks.map((time) => view.x(time)).sort((a, b) => a - b);
  const text = formatDuration(Math.abs(marks[1] - marks[0]));
  context.font = "600 12px system-ui, sans-serif";
  const width = context.measureText(text).width + 12;
  const middle = Math.max(width / 2, Math.min(view.width - width / 2, (left + right) / 2));
  context.fillRect(left, 13, right - left, 1.5);
  context.fillRect(middle - width / 2, 4, width, 19);
  context.fillStyle = colours.dark ? "#10131a" : "#ffffff";
  context.fillText(text, middle - width / 2 + 6, 14);
}
