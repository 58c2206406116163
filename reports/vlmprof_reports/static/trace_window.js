// The stretch of time that is shown, in nanoseconds since the timeline's origin.

const SHORTEST_NS = 200;
const BEYOND = 0.02;
const MOVE_MS = 140;

export class TimeWindow {
  constructor(trace, onchange) {
    this.first = -trace.extent_ns * BEYOND;
    this.last = trace.extent_ns * (1 + BEYOND) + 1;
    this.home = [trace.start_ns, trace.end_ns];
    this.onchange = onchange;
    [this.from, this.to] = this.clamped(...this.withMargin(...this.home));
    this.target = [this.from, this.to];
  }

  get length() {
    return this.to - this.from;
  }

  withMargin(from, to) {
    const margin = 0.03 * (to - from || 1);
    return [from - margin, to + margin];
  }

  clamped(from, to) {
    const length = Math.min(this.last - this.first, Math.max(SHORTEST_NS, to - from));
    const begin = Math.min(this.last - length, Math.max(this.first, (from + to - length) / 2));
    return [begin, begin + length];
  }

  set(from, to) {
    cancelAnimationFrame(this.moving);
    this.target = this.clamped(from, to);
    [this.from, this.to] = this.target;
    this.onchange();
  }

  // Keeps `time` where it is on the screen.
  zoom(factor, time, smooth = false) {
    const [from, to] = smooth ? this.target : [this.from, this.to];
    this.go(time - (time - from) * factor, time + (to - time) * factor, smooth);
  }

  pan(share, smooth = false) {
    const [from, to] = smooth ? this.target : [this.from, this.to];
    const by = share * (to - from);
    this.go(from + by, to + by, smooth);
  }

  go(from, to, smooth = true) {
    if (!smooth || matchMedia("(prefers-reduced-motion: reduce)").matches) return this.set(from, to);
    cancelAnimationFrame(this.moving);
    this.target = this.clamped(from, to);
    const begin = [this.from, this.to];
    const begun = performance.now();
    const step = (now) => {
      const done = Math.min(1, Math.max(0, (now - begun) / MOVE_MS));
      const eased = 1 - (1 - done) ** 3;
      this.from = begin[0] + (this.target[0] - begin[0]) * eased;
      this.to = begin[1] + (this.target[1] - begin[1]) * eased;
      this.onchange();
      if (done < 1) this.moving = requestAnimationFrame(step);
    };
    this.moving = requestAnimationFrame(step);
    return undefined;
  }

  goHome() {
    this.go(...this.withMargin(...this.home));
  }

  // Shows a stretch with room on both sides; a stretch that is in view already stays where it is.
  reveal(start, length) {
    const inView = start >= this.from && start + length <= this.to && length > 0.1 * this.length;
    if (inView) return;
    const room = Math.max(length * 1.6, Math.min(this.length, length * 40), SHORTEST_NS * 20);
    this.go(start + length / 2 - room / 2, start + length / 2 + room / 2);
  }
}
