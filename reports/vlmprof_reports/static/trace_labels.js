// Beside the tracks: groups that fold, and the name of each track; elements, so that keys and readers reach them.

import { el } from "./dom.js";
import { trackLabel } from "./trace_layout.js";

export class TraceLabels {
  constructor(view) {
    this.view = view;
    this.element = el("div.trace-labels");
  }

  show() {
    const focused = document.activeElement?.dataset?.row;
    this.element.replaceChildren(...this.view.layout.rows.map((row) => this.label(row)));
    if (focused) this.element.querySelector(`[data-row="${CSS.escape(focused)}"]`)?.focus();
  }

  label(row) {
    const style = { top: `${row.top}px`, height: `${row.height}px` };
    if (row.group) return el("div.group-label", { style }, this.groupButton(row.group));
    if (row.idleOf) return el("div.idle-label", { style }, this.idleButton(row));
    const { track } = row;
    const { trace, layout } = this.view;
    const text = trackLabel(trace, track);
    const whole = `${trace.placeOf(track)}, ${track.kind}`;
    if (!layout.foldable(track)) return el("div.track-label", { style, title: whole }, el("span", {}, text));
    const state = { open: !row.folded, key: `track:${track.number}`, title: whole };
    return el("div.track-label", { style }, this.button(text, state, layout.folded, track.number));
  }

  groupButton(group) {
    const { layout } = this.view;
    const state = { open: !layout.closed.has(group.id), key: group.id, title: group.title };
    return this.button(group.title, state, layout.closed, group.id);
  }

  idleButton({ idleOf, shown }) {
    const count = idleOf.idle.length;
    const text = `${count} other thread${count > 1 ? "s" : ""}`;
    const state = { open: shown, key: `idle:${idleOf.id}`, title: text };
    return this.button(text, state, this.view.layout.idleShown, idleOf.id);
  }

  button(text, { open, key, title }, set, member) {
    const { view } = this;
    const toggle = () => {
      view.layout.toggle(set, member);
      view.relayout();
    };
    return el("button.fold", { "aria-expanded": String(open), "data-row": key, title, onclick: toggle }, text);
  }
}
