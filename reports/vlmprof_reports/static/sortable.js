import { el } from "./dom.js";

// A table that sorts by a click on a head. A column: {head, value(row), cell?(row), number?}.
export function sortableTable(columns, rows, { caption, filter = false } = {}) {
  const body = el("tbody");
  let [sorted, up] = [null, true];
  const draw = () => {
    const order =
      sorted === null
        ? rows
        : [...rows].sort((a, b) => compareValues(sorted.value(a), sorted.value(b)) * (up ? 1 : -1));
    body.replaceChildren(...order.map((row) => tableRow(columns, row)));
  };
  const sortBy = (column, head) => {
    [sorted, up] = [column, sorted === column ? !up : !column.number];
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    draw();
  };
  const heads = columns.map((column) => {
    const head = el(column.number ? "th.number" : "th", { scope: "col" });
    head.append(el("button", { onclick: () => sortBy(column, head) }, column.head));
    return head;
  });
  draw();
  const table = el("table", { "aria-label": caption ?? "" }, el("thead", {}, el("tr", {}, ...heads)), body);
  return el("div.table", {}, filter ? filterBox(body) : null, table);
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

function filterBox(body) {
  const box = el("input", { type: "search", placeholder: "filter", "aria-label": "filter" });
  box.addEventListener("input", () => {
    const wanted = box.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  return box;
}
