// A ladder as rows of ratios to its baseline: ours with interval, the paper's, the predicted one.

import { page } from "./data.js";
import { changeOf } from "./comparison_format.js";

export const ladder = page.ladder;
export const predictions = page.predictions;

export const METRICS = [
  { metric: "ttft_p50", name: "Time to first token", unit: "ms", paper: "ttft_change", paperValue: "ttft_ms" },
  { metric: "e2e_p50", name: "End-to-end latency", unit: "ms", paper: "e2e_change", paperValue: "e2e_ms" },
  { metric: "tokens_per_s_p50", name: "Decoding", unit: "tokens/s", paper: "tokens_per_s_change", paperValue: "tokens_per_s" },
];

export function ratioOf(change) {
  if (!change || !change.baseline) return null;
  if (change.ratio !== null) return { value: change.ratio, low: change.ratio_low, high: change.ratio_high };
  const of = (difference) => 1 + difference / change.baseline;
  return { value: of(change.difference), low: of(change.low), high: of(change.high) };
}

export function rowOf(step, { metric, paper }) {
  const change = step.comparison ? changeOf(step.comparison, metric) : null;
  const predicted = metric === "ttft_p50" && change && step.predicted;
  return {
    step,
    change,
    ours: ratioOf(change),
    paper: step.paper ? 1 + step.paper[paper] : null,
    predicted: predicted ? 1 - step.predicted.saving_ns / change.baseline : null,
  };
}

export function measured(steps) {
  return steps.filter((step) => step.comparison);
}

export function lastMeasured() {
  return measured(ladder.steps).at(-1) ?? null;
}

// The noise floor as ratios, of the first row that has one: all rows share the baseline's repetition.
export function noiseOf({ metric }) {
  const changes = measured(ladder.steps).map((step) => changeOf(step.comparison, metric));
  const change = changes.find((other) => other && other.noise_low !== null && other.baseline);
  if (!change) return null;
  return [1 + change.noise_low / change.baseline, 1 + change.noise_high / change.baseline];
}

export function formatRatio(ratio) {
  return ratio === null || ratio === undefined ? "–" : ratio.toFixed(3);
}
