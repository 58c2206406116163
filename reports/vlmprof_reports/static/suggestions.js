// What would help: each recipe with its predicted saving, the command to try it, and evidence that leads to its place.

import { el, section } from "./dom.js";
import { fileAndLine, formatRange, formatShare, formatTime } from "./format.js";
import { groupColour, page, stageById } from "./data.js";

const MOST_EVIDENCE = 6;

// `goTo`: shows a piece of evidence in the timeline.
export function suggestionsSection(goTo) {
  const { suggestions } = page;
  if (!suggestions) return null;
  if (!suggestions.suggestions.length) {
    const why = suggestions.reason || "No recipe is predicted to save anything that this run shows.";
    return section("suggestions", "What would help", why);
  }
  const note = `Predicted from ${suggestions.requests} requests of ${formatTime(suggestions.ttft_ns)} in the median; a prediction is no measurement: try it.`;
  const widest = Math.max(...suggestions.suggestions.map(({ saving }) => saving.high_ns), 1);
  return section(
    "suggestions",
    "What would help",
    note,
    el("div.suggestions", {}, ...suggestions.suggestions.map((each) => card(each, widest, suggestions, goTo))),
    together(suggestions),
    notSuggested(suggestions),
  );
}

function card(suggestion, widest, { ttft_ns }, goTo) {
  const { saving, evidence } = suggestion;
  return el(
    "article.suggestion",
    { "data-recipe": suggestion.number },
    el("h3.suggestion-title", {}, `${suggestion.title} `, el("span.note", {}, `recipe ${suggestion.number}`)),
    el(
      "div.saving",
      {},
      el("b", {}, `saves ${formatTime(saving.saving_ns)}`),
      ` (${formatShare(saving.saving_ns / (ttft_ns || 1))} of TTFT), 95% interval ${formatRange(saving.low_ns, saving.high_ns)}`,
      addedText(suggestion),
    ),
    savingBar(saving, widest),
    command(suggestion.command),
    el("p.note", {}, [`${suggestion.exactness}, switched ${suggestion.switching}`, suggestion.note].filter(Boolean).join("; ")),
    el("ul.evidence", {}, ...evidence.slice(0, MOST_EVIDENCE).map((item) => evidenceLine(item, goTo))),
  );
}

function addedText({ added, conflicts_with }) {
  if (added) return `; on top of those before it, ${formatTime(added.saving_ns)}`;
  return conflicts_with.length ? `; not together with recipe ${conflicts_with.join(", ")}` : "";
}

function savingBar({ saving_ns, low_ns, high_ns }, widest) {
  const at = (ns) => `${Math.max(0, Math.min(100, (100 * ns) / widest))}%`;
  const [low, high] = [Math.max(0, low_ns), Math.max(0, high_ns)];
  return el(
    "div.saving-bar",
    { "aria-hidden": "true" },
    el("span.most", { style: { left: at(low), width: at(high - low) } }),
    el("span.point", { style: { left: at(saving_ns) } }),
  );
}

function command(text) {
  return el("code.command", {}, text);
}

function evidenceLine(item, goTo) {
  const stage = stageById.get(item.stage);
  const what = item.function || stage?.label || item.stage;
  return el(
    "li",
    {},
    el("i.swatch", { style: { background: groupColour(stage?.group) } }),
    el("span.number", {}, formatTime(item.time_ns)),
    el("button.link", { onclick: () => goTo(item), title: "Show in the timeline" }, el("code", {}, what.slice(0, 200))),
    el("code.place", {}, item.file ? fileAndLine(item.file, item.line, 34) : item.function ? (stage?.label ?? "") : ""),
  );
}

function together({ together: saving, command: text, suggestions }) {
  if (!saving || suggestions.length < 2) return null;
  return el(
    "p.together",
    {},
    el("b", {}, `All that go together save ${formatTime(saving.saving_ns)}`),
    ` (95% interval ${formatRange(saving.low_ns, saving.high_ns)}): `,
    command(text),
  );
}

function notSuggested({ not_suggested }) {
  if (!not_suggested.length) return null;
  const rows = not_suggested.map(({ number, slug, reason }) =>
    el("li", {}, el("b", {}, `${number} ${slug}`), ` ${reason}`),
  );
  return el("details", {}, el("summary", {}, `${rows.length} recipes without a predicted saving`), el("ul", {}, ...rows));
}
