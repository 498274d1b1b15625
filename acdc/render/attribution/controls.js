// What is told beside the diagram, and what the controls around it do.

function item(parent, name, text, className = "") {
  const made = html(name, className ? { class: className } : {}, text);
  parent.append(made);
  return made;
}

function list(parent, heading, entries) {
  if (heading) item(parent, "h3", `${heading} (${plenty(entries.length)})`);
  const all = html("ol");
  for (const { says, sign, figure, press } of entries.slice(0, LISTED)) {
    const button = html("button", { type: "button" }, html("span", { class: `name ${sign}` }, says), html("span", { class: "figure" }, figure));
    button.addEventListener("click", press);
    all.append(html("li", {}, button));
  }
  parent.append(all);
}

const listed = (members) => members.map((i) => ({ says: nodes[i].says, sign: "", figure: "", press: () => chooseNode(i) }));

function details() {
  const panel = byId("details"), marked = [...state.marked];
  panel.replaceChildren();
  if (marked.length) {
    item(panel, "h3", `${plenty(marked.length)} ${marked.length === 1 ? "node" : "nodes"} marked`);
    list(panel, "", listed(marked));
    return panel.append(...supernodes.form(marked, null));
  }
  if (state.chosen === null) {
    item(panel, "p", "Click a node for its inputs and outputs, a box with a + to unfold it. Shift and click marks nodes, to put them together.", "quiet");
    return panel.append(...supernodes.keeping());
  }
  const b = boxOf(state.chosen), box = folded.boxes[b];
  box.name === null ? aboutNode(panel, one(box)) : item(panel, "h3", `supernode ${box.name}`);
  if (box.name !== null) list(panel, "Members", listed(box.members));
  const side = (end, other) => links.filter((link) => link[end] === b).sort((x, y) => Math.abs(y.weight) - Math.abs(x.weight)).map((link) => ({
    says: says(folded.boxes[link[other]]), sign: link.weight >= 0 ? "raises" : "lowers", figure: signed(link.weight), press: () => press(link[other], false),
  }));
  list(panel, "Inputs", side("to", "from"));
  list(panel, "Outputs", side("from", "to"));
  panel.append(...supernodes.form(box.members, box.name), ...supernodes.keeping());
}

function aboutNode(panel, node) {
  item(panel, "h3", node.id);
  item(panel, "p", node.says, "says");
  const page = (data.pages ?? {})[node.id.split("@")[0]];
  if (page) item(item(panel, "p", "", "says"), "a", "what it means").href = page;
  if (node.value !== null) item(panel, "p", `value ${signed(node.value)}`);
  if (!node.always) item(panel, "p", `influence: within the first ${(100 * node.rank).toFixed(1)}%`);
  for (const [name, hints] of [["raises", node.raises], ["lowers", node.lowers]]) {
    if (hints.length) item(panel, "p", `${name} ${hints.map(([text, change]) => `${text} ${signed(change)}`).join(", ")}`, "says");
  }
}

function refold() {
  state.chosen = null;
  first();
  fit();
  details();
}

function setCount(count) {
  folding.count = Math.max(0, Math.min(folding.order.length, count));
  folding.also.clear();
  state.chosen = null;
  fit();
  details();
}

function showCount() {
  byId("influence").value = 100 * Math.sqrt(folding.count / Math.max(1, folding.order.length));
}

function setLinks(count) {
  state.most = Math.max(FEWEST_LINKS, Math.min(links.length, Math.round(count)));
  byId("links").value = links.length > FEWEST_LINKS ? (100 * Math.log(state.most / FEWEST_LINKS)) / Math.log(links.length / FEWEST_LINKS) : 100;
  draw();
}

function listenToView() {
  let last = null;
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => ((last = [event.clientX, event.clientY]), (state.moved = false)));
  svg.addEventListener("pointermove", (event) => {
    if (last === null || event.buttons !== 1) return;
    const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
    if (!state.moved && Math.hypot(dx, dy) < 4) return; // a click
    state.moved = true;
    move(dx, dy);
    last = [event.clientX, event.clientY];
  });
  svg.addEventListener("pointerup", () => (last = null));
  const keys = { ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0), ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40) };
  Object.assign(keys, { "+": () => zoom(1.25), "-": () => zoom(0.8), 0: fit, Escape: () => (state.marked.clear(), choose(null)) });
  svg.addEventListener("keydown", (event) => keys[event.key] && (event.preventDefault(), keys[event.key]()));
  const buttons = { "zoom-in": () => zoom(1.25), "zoom-out": () => zoom(0.8), fit, fold: refold, save: savePicture };
  for (const [id, work] of Object.entries(buttons)) byId(id).addEventListener("click", work);
  window.addEventListener("resize", fit);
}

function savePicture() {
  const copy = svg.cloneNode(true), style = document.createElementNS(svg.namespaceURI, "style"), margin = 24;
  const wanted = ["raises", "lowers", ...["embedding", "mlp", "logits"].flatMap((kind) => [`fill-${kind}`, `line-${kind}`]), "ink", "quiet", "line", "ground", "accent"];
  const values = getComputedStyle(document.documentElement);
  const rules = [...document.styleSheets[0].cssRules].filter((rule) => rule.selectorText?.startsWith(".trace")).map((rule) => rule.cssText);
  style.textContent = `svg{font-family:Helvetica,Arial,sans-serif;background:${values.getPropertyValue("--ground")};${wanted.map((name) => `--${name}:${values.getPropertyValue(`--${name}`)};`).join("")}}${rules.join("")}`;
  copy.prepend(style);
  copy.querySelector("g").removeAttribute("transform");
  for (const name of copy.querySelectorAll(".trace-name")) name.setAttribute("x", 0);
  copy.setAttribute("viewBox", `${-margin} ${-margin} ${arrangement.width + 2 * margin} ${arrangement.height + 2 * margin}`);
  download(new XMLSerializer().serializeToString(copy), "image/svg+xml", "attribution.svg");
}

function listenToControls() {
  byId("influence").addEventListener("input", (event) => setCount(Math.round(folding.order.length * (event.target.value / 100) ** 2)));
  byId("links").addEventListener("input", (event) => setLinks(FEWEST_LINKS * Math.exp((event.target.value / 100) * Math.log(Math.max(links.length, FEWEST_LINKS) / FEWEST_LINKS))));
  byId("search").addEventListener("input", (event) => {
    state.query = event.target.value.trim().toLowerCase();
    const found = state.query === "" ? 0 : nodes.filter((_, i) => matching(i)).length;
    byId("search-status").textContent = state.query === "" ? "" : `${plenty(found)} found`;
    draw();
  });
  byId("search").addEventListener("keydown", (event) => {
    const found = event.key === "Enter" && state.query !== "" ? nodes.findIndex((_, i) => matching(i)) : -1;
    if (found >= 0) chooseNode(found);
  });
}
