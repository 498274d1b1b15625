// The diagram of an attribution graph: which nodes and links are shown, and the inputs and outputs of a chosen node.

const data = JSON.parse(byId("data").textContent), { nodes, links } = data;
const svg = byId("graph"), COUNT = links.source.length, LISTED = 40;
const state = { rank: 1, most: 0, chosen: null, query: "", view: { x: 0, y: 0, k: 1 } };

function make(name, parent, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

const root = make("g", svg), rows = make("g", root), linkLayer = make("g", root), nodeLayer = make("g", root);
for (const [name, y] of data.rows) {
  make("line", rows, { class: "trace-row", x1: 0, x2: data.width, y1: y, y2: y });
  make("text", rows, { class: "trace-name", x: 0, y: y - 4 }, name);
}
const drawn = nodes.map((node, i) => {
  const [x, y, width, height] = node.box;
  const group = make("g", nodeLayer, { class: `trace-node ${node.look}${node.rest ? " rest" : ""}`, tabindex: "-1", role: "button" });
  group.setAttribute("aria-label", node.says);
  make("rect", group, { x: x - width / 2, y: y - height / 2, width, height, rx: 5 });
  make("text", group, { x, y: y + 3.8 }, node.text);
  make("title", group, {}, node.says);
  group.addEventListener("click", () => choose(state.chosen === i ? null : i));
  group.addEventListener("keydown", (event) => event.key === "Enter" && choose(i));
  return group;
});

const isShown = (i) => nodes[i].always || nodes[i].rank <= state.rank || i === state.chosen;
const joins = (l) => isShown(links.source[l]) && isShown(links.target[l]);
const touches = (l) => links.source[l] === state.chosen || links.target[l] === state.chosen;

function linksShown() {
  const found = [];
  for (let l = 0; l < COUNT && found.length < state.most; l++) {
    if (joins(l) && (state.chosen === null || touches(l))) found.push(l);
  }
  return found;
}

function curve(l) {
  const [sx, sy, , height] = nodes[links.source[l]].box, [tx, ty] = nodes[links.target[l]].box;
  const from = sy - height / 2, to = ty + height / 2, bend = Math.max(12, (from - to) / 2);
  return `M${sx} ${from}C${sx} ${from - bend} ${tx} ${to + bend} ${tx} ${to}`;
}

function draw() {
  const shown = linksShown(), largest = Math.max(...shown.map((l) => links.influence[l]), 1e-30);
  linkLayer.replaceChildren();
  for (const l of shown.toReversed()) {
    const share = Math.sqrt(links.influence[l] / largest), sign = links.weight[l] >= 0 ? "raises" : "lowers";
    const path = make("path", linkLayer, { d: curve(l), class: `trace-link ${sign}`, "stroke-width": 0.6 + 3.9 * share, "stroke-opacity": 0.18 + 0.6 * share });
    make("title", path, {}, `${nodes[links.source[l]].id} to ${nodes[links.target[l]].id}: ${signed(links.weight[l])}`);
  }
  const near = new Set(shown.flatMap((l) => [links.source[l], links.target[l]]));
  drawn.forEach((group, i) => {
    group.toggleAttribute("hidden", !isShown(i));
    group.style.display = isShown(i) ? "" : "none";
    group.classList.toggle("faded", state.chosen !== null && i !== state.chosen && !near.has(i));
    group.classList.toggle("chosen", i === state.chosen);
    group.classList.toggle("found", matches(i));
  });
  const count = nodes.filter((_, i) => isShown(i)).length;
  byId("readout").textContent = `${count.toLocaleString("en")} of ${nodes.length.toLocaleString("en")} nodes, ${shown.length.toLocaleString("en")} of ${COUNT.toLocaleString("en")} links`;
}

const signed = (value) => `${value >= 0 ? "+" : "\u2212"}${Math.abs(value).toPrecision(3)}`;
const matches = (i) => state.query !== "" && (nodes[i].id.toLowerCase().includes(state.query) || nodes[i].says.toLowerCase().includes(state.query));

function item(parent, name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

function list(parent, heading, found, other) {
  item(parent, "h3", `${heading} (${found.length.toLocaleString("en")})`);
  const all = document.createElement("ol");
  for (const l of found.slice(0, LISTED)) {
    const entry = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    item(button, "span", nodes[other[l]].says, `name ${links.weight[l] >= 0 ? "raises" : "lowers"}`);
    item(button, "span", signed(links.weight[l]), "figure");
    button.addEventListener("click", () => choose(other[l]));
    entry.append(button);
    all.append(entry);
  }
  parent.append(all);
}

function details() {
  const panel = byId("details");
  panel.replaceChildren();
  if (state.chosen === null) return void item(panel, "p", "Click a node for its inputs and outputs.", "quiet");
  const node = nodes[state.chosen], every = [...Array(COUNT).keys()];
  item(panel, "h3", node.id);
  item(panel, "p", node.says, "says");
  const page = (data.pages ?? {})[node.id.split("@")[0]];
  if (page) item(item(panel, "p", "", "says"), "a", "what it means").href = page;
  if (node.value !== null) item(panel, "p", `value ${signed(node.value)}`);
  if (!node.always) item(panel, "p", `influence: within the first ${(100 * node.rank).toFixed(1)}%`);
  for (const [name, hints] of [["raises", node.raises], ["lowers", node.lowers]]) {
    if (hints.length) item(panel, "p", `${name} ${hints.map(([text, change]) => `${text} ${signed(change)}`).join(", ")}`, "says");
  }
  const bySize = (a, b) => Math.abs(links.weight[b]) - Math.abs(links.weight[a]) || a - b;
  list(panel, "Inputs", every.filter((l) => links.target[l] === state.chosen).sort(bySize), links.source);
  list(panel, "Outputs", every.filter((l) => links.source[l] === state.chosen).sort(bySize), links.target);
}

function choose(i) {
  state.chosen = i;
  draw();
  details();
}

function look() {
  const { x, y, k } = state.view;
  root.setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
}

function fit() {
  const { width, height } = svg.getBoundingClientRect(), margin = 24;
  const k = Math.min((width - 2 * margin) / data.width, (height - 2 * margin) / data.height, 1.6);
  state.view = { k, x: (width - k * data.width) / 2, y: (height - k * data.height) / 2 + 6 };
  look();
}

function zoom(factor, cx = svg.clientWidth / 2, cy = svg.clientHeight / 2) {
  const view = state.view, k = Math.min(8, Math.max(0.05, view.k * factor)), scale = k / view.k;
  state.view = { k, x: cx - scale * (cx - view.x), y: cy - scale * (cy - view.y) };
  look();
}

function move(dx, dy) {
  state.view.x += dx;
  state.view.y += dy;
  look();
}

function listenToView() {
  let last = null;
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => (last = [event.clientX, event.clientY]));
  svg.addEventListener("pointermove", (event) => {
    if (last === null || event.buttons !== 1) return;
    move(event.clientX - last[0], event.clientY - last[1]);
    last = [event.clientX, event.clientY];
  });
  svg.addEventListener("pointerup", () => (last = null));
  const keys = { ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0), ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40) };
  Object.assign(keys, { "+": () => zoom(1.25), "-": () => zoom(0.8), 0: fit, Escape: () => choose(null) });
  svg.addEventListener("keydown", (event) => keys[event.key] && (event.preventDefault(), keys[event.key]()));
  byId("zoom-in").addEventListener("click", () => zoom(1.25));
  byId("zoom-out").addEventListener("click", () => zoom(0.8));
  byId("fit").addEventListener("click", fit);
  window.addEventListener("resize", fit);
}

function setInfluence(share) {
  state.rank = share;
  draw();
}

function setLinks(part) {
  state.most = Math.round(part >= 1 ? COUNT : Math.min(COUNT, 20 * Math.exp(part * Math.log(Math.max(COUNT, 20) / 20))));
  draw();
}

function savePicture() {
  const copy = svg.cloneNode(true), style = document.createElementNS(svg.namespaceURI, "style"), margin = 24;
  const wanted = ["raises", "lowers", ...["embedding", "mlp", "logits"].flatMap((kind) => [`fill-${kind}`, `line-${kind}`]), "ink", "quiet", "line", "ground", "accent"];
  const values = getComputedStyle(document.documentElement);
  const rules = [...document.styleSheets[0].cssRules].filter((rule) => rule.selectorText?.startsWith(".trace")).map((rule) => rule.cssText);
  style.textContent = `svg{font-family:Helvetica,Arial,sans-serif;${wanted.map((name) => `--${name}:${values.getPropertyValue(`--${name}`)};`).join("")}}${rules.join("")}`;
  copy.prepend(style);
  copy.querySelector("g").removeAttribute("transform");
  copy.setAttribute("viewBox", `${-margin} ${-margin} ${data.width + 2 * margin} ${data.height + 2 * margin}`);
  const link = document.createElement("a");
  link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  link.download = "attribution.svg";
  link.click();
}

function listenToControls() {
  byId("influence").addEventListener("input", (event) => setInfluence(event.target.value >= 100 ? 1 : (event.target.value / 100) * data.share));
  byId("links").addEventListener("input", (event) => setLinks(event.target.value / 100));
  byId("search").addEventListener("input", (event) => {
    state.query = event.target.value.trim().toLowerCase();
    const found = nodes.filter((_, i) => matches(i)).length;
    byId("search-status").textContent = state.query === "" ? "" : `${found.toLocaleString("en")} found`;
    draw();
  });
  byId("save").addEventListener("click", savePicture);
}

listenToTheme();
listenToTables();
listenToView();
listenToControls();
fit();
setLinks(0.5);
details();

// For scripts and tests: what is shown and chosen, and what the controls set.
window.acdc = {
  nodes: () => nodes.filter((_, i) => isShown(i)).map((node) => node.id),
  links: () => linksShown().map((l) => [nodes[links.source[l]].id, nodes[links.target[l]].id, links.weight[l]]),
  choose: (id) => choose(nodes.findIndex((node) => node.id === id)),
  setInfluence,
  setLinks,
};
