// What the rest of the page can do: be dark or light, and sort its tables.

function byId(id) {
  return document.getElementById(id);
}

function listenToTheme() {
  const button = byId("theme"), system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const apply = () => {
    const dark = chosen ?? system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light" : "Dark";
  };
  button.addEventListener("click", () => ((chosen = !(chosen ?? system.matches)), apply()));
  system.addEventListener("change", apply);
  window.addEventListener("beforeprint", () => (document.documentElement.dataset.theme = "light"));
  window.addEventListener("afterprint", apply);
  apply();
}

function sortBy(table, column, ascending) {
  const value = (row) => {
    const text = row.cells[column].textContent.trim().replaceAll(",", "").replace("\u2212", "-"), number = parseFloat(text);
    return Number.isNaN(number) ? text : number;
  };
  const order = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
  const rows = [...table.tBodies[0].rows].map((row, place) => [value(row), place, row]);
  rows.sort((a, b) => (ascending ? 1 : -1) * order(a[0], b[0]) || a[1] - b[1]);
  table.tBodies[0].append(...rows.map((row) => row[2]));
}

function listenToTables() {
  for (const heading of document.querySelectorAll(".sortable thead th")) {
    heading.querySelector("button").addEventListener("click", () => {
      const table = heading.closest("table"), ascending = heading.getAttribute("aria-sort") === "descending";
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(table, heading.cellIndex, ascending);
    });
  }
}
