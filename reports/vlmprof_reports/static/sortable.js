import { el } from "./dom.js";
import { formatCount } from "./format.js";

const SHOWN_AT_FIRST = 50;
const SHOWN_WHOLE = 70;

// A table that sorts by a click on a head. A column: {head, value(row), cell?(row), number?}.
export function sortableTable(columns, rows, { caption, filter = false } = {}) {
  return new SortableTable(columns, rows, caption, filter).element;
}

// Long tables begin with their first rows only: what is in the page is laid out and painted, in sight or not.
class SortableTable {
  constructor(columns, rows, caption, filter) {
    Object.assign(this, { columns, rows, sorted: null, up: true, wanted: "", made: new Map() });
    this.shown = rows.length > SHOWN_WHOLE ? SHOWN_AT_FIRST : Infinity;
    this.body = el("tbody");
    this.more = el("button.link", { onclick: () => this.showAll() });
    const heads = el("tr", {}, ...columns.map((column) => this.head(column)));
    const table = el("table", { "aria-label": caption ?? "" }, el("thead", {}, heads), this.body);
    this.element = el("div.table", {}, filter ? this.filterBox() : null, table, this.more);
    this.draw();
  }

  head(column) {
    const head = el(column.number ? "th.number" : "th", { scope: "col" });
    head.append(el("button", { onclick: () => this.sortBy(column, head) }, column.head));
    return head;
  }

  sortBy(column, head) {
    [this.sorted, this.up] = [column, this.sorted === column ? !this.up : !column.number];
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", this.up ? "ascending" : "descending");
    this.draw();
  }

  filterBox() {
    const oninput = (event) => {
      this.wanted = event.target.value.toLowerCase();
      this.draw();
    };
    return el("input", { type: "search", placeholder: "filter", "aria-label": "filter", oninput });
  }

  showAll() {
    this.shown = Infinity;
    this.draw();
  }

  draw() {
    const rows = this.inOrder().filter((row) => !this.wanted || this.textOf(row).includes(this.wanted));
    this.body.replaceChildren(...rows.slice(0, this.shown).map((row) => this.elementOf(row)));
    this.more.hidden = rows.length <= this.shown;
    this.more.replaceChildren(`Show all ${formatCount(rows.length)}`);
  }

  inOrder() {
    const { sorted, up } = this;
    if (sorted === null) return this.rows;
    return [...this.rows].sort((a, b) => compareValues(sorted.value(a), sorted.value(b)) * (up ? 1 : -1));
  }

  textOf(row) {
    return this.elementOf(row).textContent.toLowerCase();
  }

  elementOf(row) {
    if (!this.made.has(row)) this.made.set(row, tableRow(this.columns, row));
    return this.made.get(row);
  }
}

function tableRow(columns, row) {
  const cell = (column) =>
    column.cell ? column.cell(row) : el("div.cell", {}, String(column.value(row) ?? ""));
  return el("tr", {}, ...columns.map((column) => el(column.number ? "td.number" : "td", {}, cell(column))));
}

function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a ?? "").localeCompare(String(b ?? ""));
}
