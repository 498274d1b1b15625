// The diagram of an attribution graph: what is shown of it, and the inputs and outputs of what is chosen.

const data = JSON.parse(byId("data").textContent), { nodes } = data, folding = new Folding(data);
const svg = byId("graph"), LISTED = 40, FEWEST_LINKS = 20, FIRST_LINKS = 120, MARGIN = 16, TOP = 46;
const OWN = [60, 48, 36, 28, 20, 14, 8, 4, 0]; // boxes of their own at first, as many as there is room for
const state = { most: 0, chosen: null, marked: new Set(), query: "", view: { x: 0, y: 0, k: 1 }, moved: false };
const supernodes = new Supernodes(folding, data, (name) => (state.marked.clear(), fit(), choose(name === null ? null : boxOf(`group:${name}`))));
let folded, links, arrangement, drawn = [];

function make(name, parent, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

const root = make("g", svg), rowLayer = make("g", root), linkLayer = make("g", root), nodeLayer = make("g", root);
const signed = (value) => `${value >= 0 ? "+" : "\u2212"}${Math.abs(value).toPrecision(3)}`;
const plenty = (number) => number.toLocaleString("en");
const boxOf = (key) => folded.boxes.findIndex((box) => box.key === key);
const one = (box) => nodes[box.members[0]];
const text = (box) => box.name ?? (box.folded ? `+${box.members.length}` : one(box).text);
const rowName = ([first, last]) => (last < 0 ? "tokens" : first === folding.top ? "logits" : `MLP ${span([first, last])}`);

// Supernodes first, then the most influential; what is folded comes last. Tokens and logits keep their order.
const orderOf = (box) => (box.name !== null ? -1 : box.folded ? 2 : one(box).always ? 0 : one(box).rank);

function says(box) {
  if (box.name !== null) return `supernode ${box.name}`;
  if (!box.folded) return one(box).says;
  const [first, last] = folded.columns[box.column], at = first === last ? data.tokens[first] : `tokens ${span([first, last])}`;
  return `${box.members.length} nodes of ${rowName(folded.rows[box.row])} at ${at}`;
}

const short = (box) => (box.folded || box.name !== null ? says(box) : one(box).id);

function tip(box) {
  if (box.folded) return `${says(box)}: click to unfold`;
  const hints = ["raises", "lowers"].filter((name) => box.name === null && one(box)[name].length);
  return [says(box), ...hints.map((name) => `${name} ${one(box)[name].map(([text]) => text).join(" ")}`)].join("\n");
}

const look = (box) => (box.folded ? `${one(box).look} folded` : `${one(box).look}${one(box).rest && box.name === null ? " rest" : ""}${box.name === null ? "" : " group"}`);
const matches = (box) => state.query !== "" && (`${box.name ?? ""}`.toLowerCase().includes(state.query) || box.members.some(matching));
const matching = (i) => nodes[i].id.toLowerCase().includes(state.query) || nodes[i].says.toLowerCase().includes(state.query);

function arrange() {
  const { width, height } = svg.getBoundingClientRect();
  folded = folding.fold();
  links = folding.between(folded);
  arrangement = new Arrangement(folded, { width: Math.max(120, width - 2 * MARGIN), height: Math.max(120, height - MARGIN - TOP) }, text, orderOf);
}

// As many boxes of their own as there is room for: all, or the most influential ones, of a long prompt with tokens folded.
function first() {
  folding.also.clear();
  for (const columns of [false, true]) {
    for (const count of columns ? OWN : [folding.order.length, ...OWN.slice(0, -2)]) {
      Object.assign(folding, { count, columns });
      arrange();
      if (arrangement.fits) return showCount();
    }
  }
  folding.count = Math.min(folding.order.length, OWN.at(-3));
  arrange();
  showCount();
}

function drawBoxes() {
  rowLayer.replaceChildren();
  nodeLayer.replaceChildren();
  folded.rows.forEach((row, r) => {
    const y = arrangement.rows[r];
    make("line", rowLayer, { class: "trace-row", x1: LEFT - 8, x2: arrangement.width, y1: y, y2: y });
    make("text", rowLayer, { class: "trace-name", x: 0, y: y + 3.6 }, rowName(row));
  });
  drawn = folded.boxes.map((box, b) => {
    const { x, y, width } = arrangement.at[b], group = make("g", nodeLayer, { class: `trace-node ${look(box)}`, tabindex: "-1", role: "button", "aria-label": says(box) });
    make("rect", group, { x: x - width / 2, y: y - HEIGHT / 2, width, height: HEIGHT, rx: 5 });
    make("text", group, { x, y: y + 3.9 }, text(box));
    make("title", group, {}, tip(box));
    group.addEventListener("click", (event) => !state.moved && press(b, event.shiftKey || event.ctrlKey || event.metaKey));
    group.addEventListener("keydown", (event) => event.key === "Enter" && press(b, event.shiftKey));
    return group;
  });
}

// A click chooses a box, or unfolds it; with Shift it marks it, to be put together with others.
function press(b, mark) {
  const box = folded.boxes[b];
  if (mark) {
    const keep = box.members.some((i) => !state.marked.has(i));
    for (const i of box.members) keep ? state.marked.add(i) : state.marked.delete(i);
    state.chosen = null;
    return draw(), details();
  }
  state.marked.clear();
  if (!box.folded) return choose(state.chosen === box.key ? null : b);
  for (const i of box.members) folding.also.add(i);
  fit();
  see(box.members.map((i) => folded.of[i]));
  choose(null);
  drawn[folded.of[box.members[0]]].focus({ preventScroll: true });
}

function shownLinks() {
  const chosen = state.chosen === null ? -1 : boxOf(state.chosen);
  return links.filter(({ from, to }) => chosen < 0 || from === chosen || to === chosen).slice(0, state.most);
}

function curve({ from, to }) {
  const { x: sx, y: sy } = arrangement.at[from], { x: tx, y: ty } = arrangement.at[to];
  const start = sy - HEIGHT / 2, end = ty + HEIGHT / 2, bend = Math.max(12, (start - end) / 2);
  return `M${sx} ${start}C${sx} ${start - bend} ${tx} ${end + bend} ${tx} ${end}`;
}

function draw() {
  const shown = shownLinks(), largest = Math.max(...shown.map(({ influence }) => influence), 1e-30);
  linkLayer.replaceChildren();
  for (const link of shown.toReversed()) {
    const share = Math.sqrt(link.influence / largest), sign = link.weight >= 0 ? "raises" : "lowers";
    const path = make("path", linkLayer, { d: curve(link), class: `trace-link ${sign}`, "stroke-width": 0.6 + 3.9 * share, "stroke-opacity": 0.18 + 0.6 * share });
    make("title", path, {}, `${short(folded.boxes[link.from])} to ${short(folded.boxes[link.to])}: ${signed(link.weight)}`);
  }
  const near = new Set(shown.flatMap(({ from, to }) => [from, to]));
  drawn.forEach((group, b) => {
    const box = folded.boxes[b];
    group.classList.toggle("faded", state.chosen !== null && box.key !== state.chosen && !near.has(b));
    group.classList.toggle("chosen", box.key === state.chosen);
    group.classList.toggle("marked", box.members.some((i) => state.marked.has(i)));
    group.classList.toggle("found", matches(box));
  });
  const inside = folded.boxes.filter(({ folded }) => folded), count = inside.reduce((sum, { members }) => sum + members.length, 0);
  const rest = count ? `, ${plenty(count)} less influential ones are folded into ${plenty(inside.length)} boxes` : "";
  byId("readout").textContent = `${plenty(nodes.length - count)} of ${plenty(nodes.length)} nodes are shown${rest}; ${plenty(shown.length)} of ${plenty(links.length)} links are drawn`;
}

function choose(b) {
  state.chosen = b === null || b < 0 ? null : folded.boxes[b].key;
  draw();
  details();
}

// Choose a node wherever it is: a folded one gets a box of its own.
function chooseNode(i) {
  if (folded.boxes[folded.of[i]].folded) {
    folding.also.add(i);
    fit();
  }
  see([folded.of[i]]);
  choose(folded.of[i]);
}

function setView() {
  const { x, y, k } = state.view;
  root.setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
  const left = Math.max(0, (MARGIN / 2 - x) / k); // names of rows stay in view
  for (const name of rowLayer.querySelectorAll("text")) name.setAttribute("x", left);
}

// All of it where its labels can then be read; else the end of the prompt and the logits.
function fit() {
  arrange();
  drawBoxes();
  draw();
  const { width, height } = svg.getBoundingClientRect(), k = Math.min(1.5, Math.max(LEAST, arrangement.scale));
  const wide = k * arrangement.width, high = k * arrangement.height, x = wide > width - MARGIN ? width - MARGIN - wide : (width - wide) / 2;
  state.view = { k, x, y: high > height - TOP ? TOP : TOP + (height - TOP - MARGIN - high) / 2 };
  byId("more").hidden = arrangement.fits;
  setView();
}

// Move the view, if needed, so that these boxes are inside it.
function see(boxes) {
  const { width, height } = svg.getBoundingClientRect(), { view } = state;
  const xs = boxes.map((b) => view.x + view.k * arrangement.at[b].x), ys = boxes.map((b) => view.y + view.k * arrangement.at[b].y);
  const shift = (low, high, from, to) => (low < from ? from - low : high > to ? Math.max(to - high, from - low) : 0);
  move(shift(Math.min(...xs), Math.max(...xs), 60, width - 60), shift(Math.min(...ys), Math.max(...ys), TOP + 20, height - 30));
}

function zoom(factor, cx = svg.clientWidth / 2, cy = svg.clientHeight / 2) {
  const view = state.view, k = Math.min(8, Math.max(0.05, view.k * factor)), scale = k / view.k;
  state.view = { k, x: cx - scale * (cx - view.x), y: cy - scale * (cy - view.y) };
  setView();
}

function move(dx, dy) {
  state.view.x += dx;
  state.view.y += dy;
  setView();
}
