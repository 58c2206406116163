// Changes as text: signs are always there, and a verdict has its own look beside its colour.

import { el } from "./dom.js";
import { NS_PER_MS } from "./format.js";

export const VERDICTS = {
  faster: { mark: "▼", name: "faster" },
  slower: { mark: "▲", name: "slower" },
  "no difference": { mark: "=", name: "no difference" },
  inconclusive: { mark: "?", name: "inconclusive" },
};

export const isRate = (change) => change.unit === "tokens/s";

export function formatValue(change, value) {
  if (isRate(change)) return value.toFixed(1);
  const ms = value / NS_PER_MS;
  return ms.toFixed(Math.abs(ms) >= 99.95 ? 0 : Math.abs(ms) >= 9.995 ? 1 : 2);
}

export function formatSigned(change, value) {
  const text = formatValue(change, Math.abs(value));
  return `${value < 0 ? "−" : "+"}${text}`;
}

export function formatInterval(change, low, high) {
  if (low === null || low === undefined) return "–";
  return `${formatSigned(change, low)} to ${formatSigned(change, high)}`;
}

export function shareOf(change) {
  if (change.ratio !== null && change.ratio !== undefined) return change.ratio - 1;
  return change.baseline ? change.difference / change.baseline : null;
}

export function formatChange(share) {
  if (share === null || !Number.isFinite(share)) return "–";
  return `${share < 0 ? "−" : "+"}${(100 * Math.abs(share)).toFixed(1)}%`;
}

export function counted(number, noun) {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`;
}

export function badge(verdict) {
  const { mark, name } = VERDICTS[verdict];
  return el(`span.verdict.${verdict.replace(" ", "-")}`, {}, el("i", { "aria-hidden": "true" }, mark), name);
}

export function changeOf(comparison, metric) {
  return [...comparison.metrics, ...comparison.parts].find((change) => change.metric === metric) ?? null;
}

export function sideName(side) {
  return side.arm ? `arm ${side.arm}` : side.label;
}

export function recipesOf(side) {
  const recipes = side.recipe_set ? `recipes ${side.recipe_set}` : "no recipes";
  return side.behaviour ? `baseline ${side.behaviour}, ${recipes}` : recipes;
}
