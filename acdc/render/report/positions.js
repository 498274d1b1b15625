// The picture by position: a node or an edge that is chosen stands out, and so do the tokens of the example rows that
// it reads. An edge reads the tokens where it is written, a component those that its edges in the circuit come from.

const LEAST_SCALE = 0.84; // 12 points of a label are 10 pixels

class ByPosition {
  constructor(holder, data) {
    Object.assign(this, { holder, chosen: null, details: holder.querySelector(".details") });
    this.edges = new Map(data.edges.map(([id, score, against, effect]) => [id, { id, score, against, effect, links: [] }]));
    this.nodes = new Map([...holder.querySelectorAll(".node[data-at]")].map((group) => [group.dataset.at, group]));
    for (const link of holder.querySelectorAll("[data-edge]")) this.readLink(link);
    for (const [at, group] of this.nodes) this.readNode(at, group);
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.choose(null));
    this.canvas = holder.querySelector(".canvas"), this.svg = this.canvas.querySelector("svg");
    const zooms = { "span-in": () => this.zoom(1.25), "span-out": () => this.zoom(0.8), "span-fit": () => this.fit(), "span-read": () => this.read() };
    for (const [id, act] of Object.entries(zooms)) byId(id).addEventListener("click", act);
    for (const name of ["scroll", "focusin"]) this.canvas.addEventListener(name, () => this.hint());
    window.addEventListener("resize", () => this.read());
    this.choose(null);
  }

  // Pixels for each point of the picture.
  get scale() {
    return this.svg.getBoundingClientRect().width / this.svg.viewBox.baseVal.width;
  }

  set scale(scale) {
    const { width } = this.svg.viewBox.baseVal;
    this.svg.style.width = `${Math.round(width * Math.min(4, Math.max(0.1, scale)))}px`;
    this.hint();
  }

  zoom(factor) {
    this.scale = this.scale * factor;
  }

  // All of it, however small its labels get.
  fit() {
    const { width, height } = this.svg.viewBox.baseVal;
    this.scale = Math.min(this.canvas.clientWidth / width, this.canvas.clientHeight / height, 1);
    this.hint();
  }

  // As wide as there is room for, if its labels can be read then.
  read() {
    if (this.holder.hidden) return;
    this.scale = Math.min(1, Math.max(LEAST_SCALE, this.canvas.clientWidth / this.svg.viewBox.baseVal.width));
  }

  // That there is more beyond the right or the lower edge.
  hint() {
    const { canvas } = this, right = canvas.scrollWidth - canvas.clientWidth - canvas.scrollLeft, down = canvas.scrollHeight - canvas.clientHeight - canvas.scrollTop;
    this.holder.querySelector(".goes-on").hidden = right < 8 && down < 8;
  }

  // A wider, unseen line over each, which is easier to point at.
  readLink(link) {
    const edge = this.edges.get(link.dataset.edge), reach = link.querySelector("path").cloneNode(true);
    for (const name of ["marker-end", "stroke-dasharray", "opacity"]) reach.removeAttribute(name);
    reach.setAttribute("class", "reach");
    link.append(reach);
    edge.links.push(link);
    (edge.from = link.dataset.from), (edge.ends = [...(edge.ends ?? []), link.dataset.to]);
    link.addEventListener("pointerenter", () => this.bring(edge.id));
    link.addEventListener("pointerleave", () => this.bring(this.chosen));
    link.addEventListener("click", () => this.choose(edge.id));
  }

  readNode(at, group) {
    group.setAttribute("role", "button"), group.setAttribute("tabindex", "0");
    const { into, out } = this.around(at);
    group.setAttribute("aria-label", `${at}: ${into.length} edges in, ${out.length} out`);
    for (const name of ["pointerenter", "focus"]) group.addEventListener(name, () => this.bring(at));
    for (const name of ["pointerleave", "blur"]) group.addEventListener(name, () => this.bring(this.chosen));
    group.addEventListener("click", () => this.choose(at));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") event.preventDefault(), this.choose(at);
    });
  }

  around(at) {
    const all = [...this.edges.values()];
    return { into: all.filter(({ ends }) => ends.includes(at)), out: all.filter(({ from }) => from === at) };
  }

  choose(id) {
    this.chosen = this.chosen === id ? null : id;
    for (const [at, group] of this.nodes) group.setAttribute("aria-pressed", at === this.chosen);
    this.bring(this.chosen);
    this.tell(this.chosen);
    if (this.chosen !== null) this.reveal();
  }

  // Scroll the picture to what stands out, if its last node is out of sight.
  reveal() {
    const edge = this.edges.get(this.chosen), canvas = this.holder.querySelector(".canvas"), seen = canvas.getBoundingClientRect();
    const box = this.nodes.get(edge ? edge.ends[0] : this.chosen).getBoundingClientRect();
    if (box.left < seen.left || box.right > seen.right) canvas.scrollLeft += box.left + box.width / 2 - seen.left - seen.width / 2;
    if (box.top < seen.top || box.bottom > seen.bottom) canvas.scrollTop += box.top + box.height / 2 - seen.top - seen.height / 2;
  }

  // Let one node with its edges, or one edge, stand out; null: nothing in particular.
  bring(id) {
    const edge = this.edges.get(id), { into, out } = edge ? { into: [edge], out: [] } : this.around(id);
    const lit = new Set([...into, ...out]), ends = new Set([id, ...[...lit].flatMap(({ from, ends }) => [from, ...ends])]);
    this.holder.classList.toggle("picking", id !== null);
    for (const one of this.edges.values()) for (const link of one.links) link.classList.toggle("lit", lit.has(one));
    for (const [at, group] of this.nodes) group.classList.toggle("lit", ends.has(at)), group.classList.toggle("chosen", at === this.chosen);
    const reads = new Set(into.map(({ from }) => spanOf(from)));
    const at = new Set(id === null ? [] : edge ? edge.ends.map(spanOf) : [spanOf(id)]);
    if (id !== null && !into.length) at.forEach((span) => reads.add(span));
    this.markTokens(reads, at);
  }

  markTokens(reads, at) {
    for (const token of document.querySelectorAll(".token[data-span]")) {
      token.classList.toggle("reads", reads.has(token.dataset.span)), token.classList.toggle("works", at.has(token.dataset.span));
    }
    const names = (spans) => [...spans].join(", ");
    const said = reads.size ? `Filled: the tokens that it reads (${names(reads)}). Outlined: where it works (${names(at)}).` : "Choose a node or an edge to see which tokens it reads.";
    for (const note of this.holder.querySelectorAll(".read-note")) note.textContent = said;
  }

  text({ score, against, effect }) {
    return [`score ${signed(score)}`, against ? "works against the behaviour" : "", effect].filter(Boolean).join("; ");
  }

  tell(id) {
    const edge = this.edges.get(id);
    if (id === null) return this.details.replaceChildren(...this.listed("Strongest edges", [...this.edges.values()]));
    const clear = "Choose it again, or press Escape, to clear.";
    if (edge) {
      const back = make("button", { type: "button" }, "All edges");
      back.addEventListener("click", () => (this.choose(null), this.details.querySelector("li button")?.focus()));
      return this.details.replaceChildren(make("h3", {}, ...breakable(id)), make("p", {}, `${this.text(edge)}.`), make("p", { class: "quiet" }, clear), back);
    }
    const { into, out } = this.around(id);
    this.details.replaceChildren(make("h3", {}, id), make("p", { class: "quiet" }, clear), ...this.listed("Into it", into), ...this.listed("Out of it", out));
  }

  listed(title, edges) {
    if (!edges.length) return [];
    const items = [...edges].sort((a, b) => Math.abs(b.score) - Math.abs(a.score)).map((edge) => {
      const kind = /<([qkv])>/.exec(edge.id)?.[1] ?? "mlp";
      const button = make("button", { type: "button", title: this.text(edge) }, make("span", { class: `name ${kind}` }, ...breakable(edge.id)), make("span", { class: "figure" }, signed(edge.score)));
      for (const name of ["pointerenter", "focus"]) button.addEventListener(name, () => this.bring(edge.id));
      for (const name of ["pointerleave", "blur"]) button.addEventListener(name, () => this.bring(this.chosen));
      button.addEventListener("click", () => (this.choose(edge.id), this.details.querySelector("button")?.focus()));
      return make("li", {}, button);
    });
    return [make("h3", {}, `${title} (${edges.length})`), make("ol", {}, ...items)];
  }
}

// The id of an edge, which may go on in a second line after its arrow.
function breakable(id) {
  const [from, to] = id.split("->");
  return [make("span", { class: "whole" }, `${from}->`), make("wbr"), make("span", { class: "whole" }, to)];
}

function spanOf(at) {
  return at.slice(at.indexOf("@") + 1);
}

// The two views of a circuit that has positions; `fit`: what is to be done once the diagram is seen.
function listenToViews(data, fit) {
  const holder = byId("by-position");
  if (!data || !holder) return;
  const views = { "as-components": document.querySelector(".explorer"), "as-positions": holder };
  const show = (chosen) => {
    for (const [id, view] of Object.entries(views)) {
      view.hidden = id !== chosen;
      byId(id).setAttribute("aria-pressed", id === chosen);
    }
    chosen === "as-components" ? fit() : picture.read();
  };
  for (const id of Object.keys(views)) byId(id).addEventListener("click", () => show(id));
  byId("views").hidden = false;
  const picture = new ByPosition(holder, data);
  show("as-positions");
}
