// From slice to slice by keys: along a lane, to the lanes above and below, from track to track.

import { sliceOf } from "./trace_hit.js";

// The slice in a direction from the selected one, among those of the zoom's level in and around the window.
export function neighbour(view, where) {
  const from = view.selected ?? { start: view.window.from, length: 0, lane: 0, track: firstTrack(view) };
  if (!from.track) return null;
  if (!view.selected) return along(view, from, true) ?? acrossLanes(view, from, true);
  if (where === "before" || where === "after") return along(view, from, where === "after");
  return acrossLanes(view, from, where === "below");
}

function firstTrack(view) {
  const top = view.scroller.scrollTop;
  return view.layout.rows.find((row) => row.track && row.top + row.height > top)?.track ?? null;
}

function along(view, { track, lane, start, length }, forward) {
  let best = null;
  for (const slice of slicesOf(view, track, lane)) {
    const fits = forward ? slice.start >= start + Math.max(length, 1e-9) : slice.start + slice.length <= start;
    if (fits && (!best || (forward ? slice.start < best.start : slice.start > best.start))) best = slice;
  }
  return best;
}

function* slicesOf(view, track, lane) {
  const margin = view.window.length / 2;
  const [from, to] = [view.window.from - margin, view.window.to + margin];
  const level = view.drawer.level(track, from, to, view.nsPerPixel);
  for (const block of view.drawer.blocks(track, level, from, to)) {
    if (block.covered) continue;
    if (block.node) {
      yield* framesOf(view, track, lane, block);
      continue;
    }
    for (let i = 0; i < block.rows; i++) if (block.lane[i] === lane) yield sliceOf(track, block, i);
  }
}

function* framesOf(view, track, lane, block) {
  for (let i = 0; i < block.rows; i++) {
    const node = view.finder.ancestor(track, block.node[i], lane);
    if (node === null) continue;
    const frame = view.finder.frame(track, lane, node, block, i);
    while (i + 1 < block.rows && block.start[i + 1] < frame.start + frame.length) i++;
    yield frame;
  }
}

// Lane by lane up or down, at the start of the selected slice and then where the lane's next slice is.
function acrossLanes(view, { track, lane, start, length }, down) {
  const rows = view.layout.rows.filter((row) => row.track);
  let row = rows.indexOf(view.layout.rowOfTrack.get(track.number));
  let at = Math.max(0, lane);
  for (let tries = 0; tries < 400 && rows[row]; tries++) {
    at += down ? 1 : -1;
    if (at < 0 || at >= rows[row].lanes) {
      row += down ? 1 : -1;
      if (!rows[row]) return null;
      at = down ? 0 : rows[row].lanes - 1;
    }
    const found = sliceNear(view, rows[row], at, start, length);
    if (found) return found;
  }
  return null;
}

function sliceNear(view, row, lane, start, length) {
  const drawn = view.drawnLane(row, lane);
  for (const time of [start + 1, start + length / 2, start + length * 0.9]) {
    const slice = view.finder.at(row.track, drawn, time, view.nsPerPixel);
    if (slice && !slice.count) return slice;
  }
  return null;
}
