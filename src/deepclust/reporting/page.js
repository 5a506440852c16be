"use strict";

// A table's bodies are what moves and hides: a cell's row and the published numbers under it stay together.
const texts = (cell) => [...(cell?.childNodes ?? [])].map((node) => node.textContent.trim());
const shown = (row, column) => texts(row.cells[column]).find(Boolean) ?? ""; // behind a mark, before a footnote
const value = (text) => (/^[+\u2212]?\d+(\.\d+)?( |$)/.test(text) ? parseFloat(text.replace("\u2212", "-")) : NaN);

function sort(button) {
  const heading = button.closest("th");
  const table = heading.closest("table");
  const bodies = [...table.tBodies];
  const keys = new Map(bodies.map((body) => [body, shown(body.rows[0], heading.cellIndex)]));
  const numeric = [...keys.values()].some((key) => !isNaN(value(key)));
  const before = heading.getAttribute("aria-sort");
  const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const compare = (a, b) => {
    if (!numeric) return sign * a.localeCompare(b, "en");
    const [x, y] = [value(a), value(b)];
    return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y); // no number: last in either order
  };
  bodies.sort((a, b) => compare(keys.get(a), keys.get(b)));
  table.append(...bodies);
  for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
}

function filter(form, table) {
  const { text, dataset, unfinished, published, columns, count } = form.elements;
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  for (const body of table.tBodies) {
    const content = body.textContent.toLowerCase();
    body.hidden =
      !words.every((word) => content.includes(word)) ||
      (dataset.value && body.dataset.dataset !== dataset.value) ||
      (unfinished.checked && body.dataset.state !== "unfinished");
    n += !body.hidden;
  }
  table.classList.toggle("hide-published", !published.checked);
  table.classList.toggle("brief", !columns.checked); // on a narrow screen: method, data set and the first metric
  count.value = `${n} of ${table.tBodies.length} shown`;
}

// browsers that do not open the details around a link's target
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target?.closest("details");
  if (details && !details.open) {
    details.open = true;
    target.scrollIntoView();
  }
}

for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sort(button));
const form = document.getElementById("filters");
if (form) {
  const update = () => filter(form, document.getElementById("all"));
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
}
addEventListener("hashchange", open);
open();
