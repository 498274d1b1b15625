// Edges summed over layers: rows are what writes, columns are what reads; a cell has how many edges and their summed
// |score|. It stands for graphs that are too large to draw, and any other may be seen by it.

class HeatMap {
  constructor(holder, graph, on) {
    Object.assign(this, { holder, graph, on });
    const rowOf = (w) => graph.writers[w].replace(/^(a\d+)\.h\d+$/, "$1");
    const columnOf = ({ id, kind }) => (layerOf(id) < 0 ? id : kind === "mlp" ? id : `a${layerOf(id)} ${kind}`);
    this.rows = ordered(graph.edges.w, (w) => w, rowOf);
    this.columns = ordered(graph.edges.r, (r) => r, (r) => columnOf(graph.readers[r]));
  }

  draw(shown) {
    const cells = new Map();
    for (const i of shown) {
      const key = `${this.rows.of.get(this.graph.edges.w[i])} ${this.columns.of.get(this.graph.edges.r[i])}`;
      const cell = cells.get(key) ?? { edges: [], sum: 0 };
      cell.edges.push(i), (cell.sum += this.graph.strength(i));
      cells.set(key, cell);
    }
    const most = Math.max(0, ...[...cells.values()].map(({ sum }) => sum));
    const table = make("table", { class: "heat" });
    table.append(make("caption", {}, "Edges by layers: from what is at the left into what is on top. Darker: more summed |score|. Rows and columns without an edge are left out."));
    const head = make("tr", {}, make("td"));
    const used = [0, 1].map((side) => new Set([...cells.keys()].map((key) => Number(key.split(" ")[side]))));
    this.columns.names.forEach((name, c) => used[1].has(c) && head.append(make("th", { scope: "col" }, make("span", {}, name))));
    table.append(make("thead", {}, head));
    const body = make("tbody");
    this.rows.names.forEach((name, r) => {
      if (!used[0].has(r)) return;
      const row = make("tr", {}, make("th", { scope: "row" }, name));
      this.columns.names.forEach((column, c) => used[1].has(c) && row.append(this.cell(name, column, cells.get(`${r} ${c}`), most)));
      body.append(row);
    });
    table.append(body);
    this.holder.replaceChildren(table);
    roveTable(table);
  }

  cell(row, column, cell, most) {
    if (!cell) return make("td");
    const strength = most ? Math.sqrt(cell.sum / most) : 0, count = cell.edges.length;
    const said = `${row} into ${column}: ${count} ${count === 1 ? "edge" : "edges"}, summed |score| ${short(cell.sum)}`;
    const button = make("button", { type: "button", tabindex: "-1", "aria-label": said, title: said }, String(count));
    heat(button, strength);
    button.addEventListener("click", () => this.on.list(said, cell.edges));
    return make("td", {}, button);
  }
}

// Colour a cell by a share from 0 to 1. From these percentages of the colour on, the other of black and white is read
// better, in the light and in the dark theme.
const LIGHT_TURNS = 93, DARK_TURNS = 72;

function heat(button, share) {
  const percent = Math.round(8 + 92 * share);
  button.style.setProperty("--heat", `${percent}%`);
  button.classList.toggle("turns-light", percent >= LIGHT_TURNS), button.classList.toggle("turns-dark", percent >= DARK_TURNS);
}

// One cell is in the tab order; arrow keys lead to the next one that has edges.
function roveTable(table) {
  const first = table.querySelector("button");
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }, move = moves[event.key];
    const cell = event.target.closest("td");
    if (!move || !cell) return;
    event.preventDefault(), event.stopPropagation();
    const rows = table.tBodies[0].rows;
    let [r, c] = [cell.parentNode.sectionRowIndex + move[0], cell.cellIndex + move[1]];
    for (; rows[r]?.cells[c]; r += move[0], c += move[1]) {
      const next = rows[r].cells[c].querySelector("button");
      if (!next) continue;
      (event.target.tabIndex = -1), (next.tabIndex = 0), next.focus();
      return;
    }
  });
}

// Names of groups in the order of the graph, and by each index the place of its group.
function ordered(column, index, name) {
  const indices = [...new Set(Array.from(column, index))].sort((a, b) => a - b);
  const names = [], places = new Map(), of = new Map();
  for (const i of indices) {
    const group = name(i);
    if (!places.has(group)) places.set(group, names.push(group) - 1);
    of.set(i, places.get(group));
  }
  return { names, of };
}

function make(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

function short(value) {
  if (value === 0) return "0";
  const text = Number(value).toPrecision(4), plain = String(Number(text));
  return plain.length > 10 ? Number(value).toExponential(2) : plain;
}

function signed(value) {
  return (value > 0 ? "+" : "") + short(value);
}
