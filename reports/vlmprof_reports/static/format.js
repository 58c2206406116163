// Times arrive as integer nanoseconds and become text only here.

export const NS_PER_MS = 1e6;

export function formatMs(ns) {
  const ms = ns / NS_PER_MS;
  if (ms === 0) return "0";
  const size = Math.abs(ms);
  if (size < 0.01) return ms < 0 ? "−<0.01" : "<0.01";
  return `${ms < 0 ? "−" : ""}${size.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2)}`;
}

export function formatTime(ns) {
  if (Math.abs(ns) < 1e9) return `${formatMs(ns)} ms`;
  return `${ns < 0 ? "−" : ""}${(Math.abs(ns) / 1e9).toPrecision(3)} s`;
}

// Two times in one unit, which is said once where it is the usual one.
export function formatRange(low, high) {
  return Math.abs(high) < 1e9 ? `${formatMs(low)} to ${formatTime(high)}` : `${formatTime(low)} to ${formatTime(high)}`;
}

// Down to the nanosecond, for what a timeline shows.
export function formatDuration(ns) {
  const size = Math.abs(ns);
  if (size >= 1e5 || size === 0) return formatTime(ns);
  return size >= 1e3 ? `${(ns / 1e3).toPrecision(3)} µs` : `${Math.round(ns)} ns`;
}

export function formatShare(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  return `${(100 * share).toFixed(1)}%`;
}

// Kept: making one for each number takes a hundred times as long.
const COUNTS = new Intl.NumberFormat("en-US");

export function formatCount(count) {
  return COUNTS.format(count);
}

export function formatBytes(bytes) {
  for (const [size, unit] of [
    [1e9, "GB"],
    [1e6, "MB"],
    [1e3, "kB"],
  ]) {
    if (bytes >= size) return `${(bytes / size).toPrecision(3)} ${unit}`;
  }
  return `${bytes} B`;
}

export function shortPath(path) {
  return path.replace(/^(?:.*\/(?:site|dist)-packages\/|.*?\/lib\/python3\.\d+\/|.*\/(?=vlmprof(?:_recipes)?\/))/, "");
}

// A path that fits: folders after the first give way before the file and its line do.
export function fileAndLine(file, line, length = 48) {
  const place = line ? `${shortPath(file)}:${line}` : shortPath(file);
  const [first, ...middle] = place.split("/");
  const last = middle.pop();
  let fitted = place;
  while (fitted.length > length && middle.length) {
    middle.shift();
    fitted = [first, "…", ...middle, last].join("/");
  }
  if (fitted.length > length && last) fitted = `…/${last}`;
  return fitted.length > length ? `…${fitted.slice(1 - length)}` : fitted;
}
