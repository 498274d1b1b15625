// The controls around the drawing: threshold, search, toggles, tracing, and what they say.

const MOST_LISTED = 200, READABLE = 150;
const VIEWS = { summary: "as-summary", graph: "as-graph", heatmap: "as-heatmap" };

class Explorer {
  constructor(data, examples, save) {
    this.graph = new Graph(data), (this.data = data);
    this.fold = new Folding(this.graph, data.roles, data.names);
    this.stops = this.graph.stops();
    this.state = { threshold: null, hidden: new Set(), chosen: null, edge: null, path: null, view: null, most: READABLE };
    const on = {
      choose: (id) => this.choose(id), chooseEdge: (i) => this.chooseEdge(i), clear: () => this.clear(),
      choosePath: (edges) => this.choosePath(edges), foldLayer: (layer) => (this.fold.toggle(layer), this.restand()),
      unfold: (id) => (this.fold.open.add(id), (this.state.chosen = null), this.restand()),
      hoverNode: (id, event) => this.hoverNode(id, event), hoverEdge: (i, event) => this.hoverEdge(i, event),
      leave: () => this.leave(), fit: () => this.fit(), looked: (whole) => (byId("more").hidden = whole), list: (title, edges) => this.details.list(title, edges),
      warm: (i) => this.diagram.warm(i),
    };
    const names = new NameEditor(data, save, () => this.renamed());
    this.details = new Details(byId("details"), this.graph, data, examples, names, on);
    this.diagram = new Diagram(byId("graph"), this.graph, on);
    this.heatmap = new HeatMap(byId("heatmap"), this.graph, on);
    this.summary = new Summary(byId("summary"), this.graph, data, on);
    this.listen();
    this.offerFolds();
    this.legend();
    this.update();
    this.read();
  }

  listen() {
    const slider = byId("threshold"), exact = byId("exact");
    slider.max = Math.max(0, this.stops.length - 1);
    slider.disabled = exact.disabled = this.stops.length === 0;
    slider.addEventListener("input", () => this.setThreshold(roundedDown(this.stops[slider.value])));
    exact.addEventListener("change", () => this.setThreshold(exact.value === "" ? null : Number(exact.value)));
    byId("found").addEventListener("click", () => this.setThreshold(null));
    const search = byId("search");
    search.addEventListener("input", () => this.search(search.value.trim(), false));
    search.addEventListener("keydown", (event) => event.key === "Enter" && this.search(search.value.trim(), true));
    for (const box of document.querySelectorAll("[data-kind]"))
      box.addEventListener("change", () => {
        this.state.hidden[box.checked ? "delete" : "add"](box.dataset.kind);
        this.update();
      });
    for (const [view, id] of Object.entries(VIEWS)) byId(id).addEventListener("click", () => this.setView(view));
    const fold = byId("fold");
    fold.addEventListener("change", () => (this.fold.set(fold.value), this.restand()));
    const most = byId("most");
    most.addEventListener("change", () => ((this.state.most = Number(most.value)), this.restand()));
    byId("zoom-in").addEventListener("click", () => this.diagram.zoom(1.3));
    byId("zoom-out").addEventListener("click", () => this.diagram.zoom(1 / 1.3));
    byId("fit").addEventListener("click", () => this.fit());
    byId("read").addEventListener("click", () => this.read());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.clear());
    window.addEventListener("resize", () => this.read());
    window.addEventListener("beforeprint", () => this.view() === "graph" && this.diagram.whole(this.ids()));
    window.addEventListener("afterprint", () => this.read());
  }

  setThreshold(threshold) {
    const { floor } = this.data, most = this.stops[0] ?? 0;
    this.state.threshold = threshold === null ? null : Math.min(most, Math.max(floor, threshold));
    this.update();
  }

  setView(view) {
    this.state.view = view;
    this.update();
    if (view === "graph") this.read();
  }

  // Prune anew and draw.
  update() {
    const { graph, state } = this;
    this.kept = graph.kept(state.threshold);
    this.connected = graph.connected(this.kept.wires);
    this.shown = [];
    this.kept.edges.forEach((on, i) => on && !state.hidden.has(graph.kinds[i]) && this.shown.push(i));
    this.counts = this.count();
    const view = (this.seen = this.view()), before = byId("graph").hasAttribute("hidden");
    for (const [name, id] of Object.entries(VIEWS)) {
      byId(name).toggleAttribute("hidden", name !== view);
      byId(id).setAttribute("aria-pressed", name === view);
    }
    for (const id of ["zoom-in", "zoom-out", "fit", "read", "fold", "most"]) byId(id).disabled = view !== "graph";
    if (view === "graph") this.drawDiagram();
    else if (view === "heatmap") this.heatmap.draw(this.shown);
    else this.summary.draw(this.shown, this.connected, this.counts);
    if (view === "graph" && before) this.read();
    this.control();
    this.say();
    this.retrace();
  }

  // The one that was chosen, else the diagram, or of more edges than can be followed one by one the summary.
  view() {
    return this.state.view ?? (this.shown.length > READABLE ? "summary" : "graph");
  }

  // Of more edges than can be followed, the strongest, with what the reader chose; a line says so.
  drawDiagram() {
    this.drawn = [...new Set([...this.graph.strongest(this.shown, this.state.most), ...this.wanted()])];
    this.ends = this.drawn.length < this.shown.length ? this.count(this.drawn) : this.counts;
    if (!this.diagram.places || Places.isDeep(this.graph) || this.moved) {
      this.diagram.stand(new Places(this.graph, new Set(this.ends.keys()), this.fold));
      this.moved = false;
    }
    this.diagram.draw(this.drawn, this.counts);
  }

  // The edges that were chosen, or the strongest ones of the component that was.
  wanted() {
    const { chosen, edge, path } = this.state;
    if (chosen !== null) return this.graph.strongest(this.around(this.members(chosen)).flat(), MOST_BESIDE);
    return (path ?? (edge === null ? [] : [edge])).filter((i) => this.shown.includes(i));
  }

  // Draw with what is folded now.
  restand() {
    this.moved = true;
    this.update();
    this.read();
  }

  // The reader named something: draw it, and let heads be folded by roles that there are now.
  renamed() {
    this.offerFolds();
    this.restand();
  }

  // Folds by what this circuit has; by role, or what it needs first.
  offerFolds() {
    for (const option of byId("fold").options) {
      const able = this.foldable(option.value);
      option.hidden = !able && option.value === "kv";
      option.disabled = !able;
      if (option.value === "role") option.textContent = able ? "by role" : "by role (after acdc verify)";
    }
  }

  foldable(mode) {
    const { graph, data } = this;
    return mode === "none" || mode === "layer" || (mode === "kv" ? this.fold.groups.size > 0 : Object.keys(data.roles).length > 0);
  }

  // By id of a component or slot that is in it, [edges in, edges out].
  count(edges = this.shown) {
    const { graph } = this, found = new Map();
    const add = (id, side) => {
      if (!found.has(id)) found.set(id, [0, 0]);
      found.get(id)[side]++;
    };
    const outs = new Set(this.shown.map((i) => graph.edges.w[i]));
    for (const i of edges) {
      const r = graph.edges.r[i], { id, owners, shared } = graph.readers[r];
      add(graph.writers[graph.edges.w[i]], 1);
      if (shared) add(id, 0);
      if (owners.length === 0) add("logits", 0);
      owners.forEach((owner, place) => {
        if (this.connected[r][place] && (outs.has(owner) || owners.length === 1)) add(graph.writers[owner], 0);
      });
    }
    return found;
  }

  control() {
    const { threshold } = this.state, slider = byId("threshold"), exact = byId("exact");
    const at = threshold ?? this.leastOwn();
    let place = this.stops.findIndex((stop) => stop < at);
    place = place === -1 ? this.stops.length - 1 : Math.max(0, place - 1);
    slider.value = Math.max(0, place);
    exact.value = this.stops.length ? roundedDown(at) : "";
    byId("found").setAttribute("aria-pressed", threshold === null);
    const said = threshold === null ? "the circuit as found" : `${short(threshold)}`;
    slider.setAttribute("aria-valuetext", `${said}, ${this.keptCount()} edges kept`);
  }

  leastOwn() {
    const sizes = this.graph.edges.size.filter((_, i) => this.kept.edges[i]);
    return sizes.length ? sizes.reduce((a, b) => Math.min(a, b)) : this.stops[0] ?? 0;
  }

  keptCount() {
    const sum = (on) => on.reduce((all, one) => all + one, 0);
    return sum(this.kept.edges) + sum(this.kept.wires);
  }

  say() {
    const { graph, data, state, kept } = this, count = this.keptCount();
    const writers = new Set();
    kept.edges.forEach((on, i) => on && graph.edges.w[i] >= data.embeddings && writers.add(graph.edges.w[i]));
    const components = graph.writers.length - data.embeddings;
    const parts = [
      state.threshold === null
        ? "The circuit as found"
        : `|score| \u2265 ${short(state.threshold)}${["edges", "positions"].includes(data.level) ? "" : " of the components at both ends"}`,
    ];
    parts[0] += `: ${count.toLocaleString("en")} of ${data.total.toLocaleString("en")} edges and ${writers.size} of ${components} components kept`;
    if (state.threshold !== null && kept.selected > count) parts.push(`${kept.selected.toLocaleString("en")} reach the threshold, ${(kept.selected - count).toLocaleString("en")} of them are on no path from input to logits and are left out`);
    if (state.threshold !== null) {
      const own = kept.edges.reduce((sum, on, i) => sum + (on && graph.edges.own[i]), 0);
      parts.push(`${own} of these edges are in the circuit as found`);
    }
    const wires = kept.wires.reduce((sum, on) => sum + on, 0);
    if (wires) parts.push(`${wires} of them are wires inside heads, which are not drawn`);
    const near = state.threshold === null ? null : this.nearest();
    if (state.threshold === null && data.faithfulness !== null) parts.push(data.positional ? `the ${data.positional.toLocaleString("en")} edges at positions that these stand for recover ${(100 * data.faithfulness).toFixed(1)}% of the behaviour; these edges at every position were not measured` : `${(100 * data.faithfulness).toFixed(1)}% of the behaviour recovered`);
    if (near) parts.push(`nearest size measured: ${near[0].toLocaleString("en")} edges selected, ${(100 * near[1]).toFixed(1)}% of the behaviour recovered`);
    if (state.hidden.size) parts.push(`${this.shown.length} drawn, the others are hidden, not removed`);
    if (this.seen === "graph" && this.drawn.length < this.shown.length) parts.push(`of the ${this.shown.length.toLocaleString("en")} the diagram draws the ${this.drawn.length.toLocaleString("en")} strongest, Summary and Layers all`);
    byId("readout").replaceChildren(parts.join("; ") + ". ", ...this.dropped());
  }

  // A button that lists the edges that reach the threshold, but lie on no path.
  dropped() {
    const { before, edges } = this.kept, lost = [];
    before.forEach((on, i) => on && !edges[i] && lost.push(i));
    if (this.state.threshold === null || !lost.length) return [];
    const button = make("button", { type: "button", id: "dropped" }, `List the ${lost.length.toLocaleString("en")}`);
    button.addEventListener("click", () => this.details.list("On no path from input to logits", lost));
    return [button];
  }

  nearest() {
    const selected = Math.max(1, this.kept.selected), distance = ([size]) => Math.abs(Math.log(Math.max(1, size) / selected));
    return this.data.sizes.reduce((best, one) => (best === null || distance(one) < distance(best) ? one : best), null);
  }

  // ---- choosing and tracing

  // A component, or a node that several are folded into.
  choose(id) {
    const known = this.members(id).some((member) => this.counts.has(member));
    if (!known) return;
    this.pick({ chosen: this.state.chosen === id ? null : id });
  }

  chooseEdge(i) {
    this.pick({ edge: this.state.edge === i ? null : i });
  }

  // A path is looked at in the diagram.
  choosePath(edges) {
    this.state.view = "graph";
    this.pick({ path: edges });
    this.read();
    this.diagram.reveal(this.graph.writers[this.graph.edges.w[edges[0]]]);
  }

  pick(what) {
    Object.assign(this.state, { chosen: null, edge: null, path: null }, what);
    const drawn = new Set(this.drawn), wanted = this.wanted();
    if (this.view() === this.seen && (this.seen !== "graph" || wanted.every((i) => drawn.has(i)))) return this.retrace();
    this.update();
    if (wanted.length) this.diagram.reveal(this.state.chosen ?? this.graph.writers[this.graph.edges.w[wanted[0]]]);
  }

  clear() {
    this.diagram.mark(new Set());
    byId("search").value = byId("search-status").textContent = "";
    this.pick({});
  }

  members(id) {
    return this.diagram.places?.nodes.get(id)?.members ?? [id];
  }

  retrace() {
    const { state, details } = this;
    if (state.chosen !== null && !this.members(state.chosen).some((id) => this.counts.has(id))) state.chosen = null;
    if (state.edge !== null && !this.shown.includes(state.edge)) state.edge = null;
    if (state.path !== null && !state.path.every((i) => this.shown.includes(i))) state.path = null;
    if (state.chosen !== null) this.traceChosen(this.members(state.chosen));
    else if (state.edge !== null || state.path !== null) {
      const edges = state.path ?? [state.edge];
      this.diagram.highlight(edges, new Set(edges.flatMap((i) => this.endsOf(i))));
      state.path ? details.tellPath(edges) : details.tellEdge(state.edge);
    } else {
      this.diagram.highlight(null, new Set());
      this.data.scored ? details.list("Strongest edges shown", this.shown) : details.listComponents("Heads and other components", this.counts);
    }
    this.diagram.warm(null);
  }

  traceChosen(members) {
    const { graph, state } = this, edges = new Set(), ids = new Set();
    for (const member of members) {
      const traced = graph.trace(this.shown, this.connected, graph.writers.indexOf(member));
      for (const i of traced.edges) edges.add(i);
      for (const w of traced.components) ids.add(w < 0 ? "logits" : graph.writers[w]);
    }
    for (const i of edges) if (graph.readers[graph.edges.r[i]].shared) ids.add(graph.readers[graph.edges.r[i]].id);
    this.diagram.highlight([...edges], ids);
    const [into, out] = this.around(members);
    this.details.tellNode(state.chosen, members, { edges: edges.size, nodes: ids.size, into, out, counts: this.counts });
  }

  // The shown edges into some components and out of them.
  around(members) {
    const { graph } = this;
    const reads = (i) => {
      const { owners } = graph.readers[graph.edges.r[i]];
      return members.includes(owners.length ? null : "logits") || owners.some((owner) => members.includes(graph.writers[owner]));
    };
    return [this.shown.filter(reads), this.shown.filter((i) => members.includes(graph.writers[graph.edges.w[i]]))];
  }

  endsOf(i) {
    const { id, owners, shared } = this.graph.readers[this.graph.edges.r[i]];
    const targets = owners.length ? owners.map((owner) => this.graph.writers[owner]) : ["logits"];
    return [this.graph.writers[this.graph.edges.w[i]], ...targets, ...(shared ? [id] : [])];
  }

  hoverNode(id, event) {
    const counts = this.members(id).map((member) => this.counts.get(member)).filter(Boolean);
    if (counts.length) this.tip(id, this.details.nodeText(this.members(id), this.counts), event, this.diagram.places.nodes.get(id));
  }

  hoverEdge(i, event) {
    this.diagram.warm(i);
    this.tip(this.graph.names[i], this.details.edgeText(i), event, null);
  }

  leave() {
    byId("tip").hidden = true;
    this.diagram.warm(null);
  }

  tip(title, text, event, node) {
    const tip = byId("tip"), { view } = this.diagram, size = this.diagram.size();
    const [x, y] = event ? this.diagram.place(event) : [view.x + view.k * node.x, view.y + view.k * (node.y + node.height / 2)];
    tip.replaceChildren(make("b", {}, title), make("span", {}, text));
    tip.hidden = false;
    const { top } = this.diagram.svg.getBoundingClientRect(), below = top - tip.parentNode.getBoundingClientRect().top;
    tip.style.left = `${Math.max(4, Math.min(x + 14, size.width - tip.offsetWidth - 6))}px`;
    tip.style.top = `${below + (y + 18 + tip.offsetHeight > size.height ? Math.max(4, y - tip.offsetHeight - 10) : y + 18)}px`;
  }

  // ---- search

  search(query, go) {
    const { graph } = this, status = byId("search-status");
    if (!query) return this.clear(), this.found && this.read(), (this.found = false);
    const ids = [...this.counts.keys()].filter((id) => id === query || id.startsWith(query) || this.data.names[id] === query);
    const exact = ids.includes(query), edges = query.includes(">") ? this.shown.filter((i) => graph.names[i].startsWith(query)) : [];
    const edge = edges.find((i) => graph.names[i] === query) ?? (edges.length === 1 ? edges[0] : undefined);
    this.diagram.mark(new Set(exact && !go ? [query] : ids));
    if (edge !== undefined || (go && edges.length)) {
      const i = edge ?? edges[0], curve = this.diagram.curves.get(i);
      this.pick({ edge: i });
      if (curve) (this.found = true), this.diagram.centre(...middleOf(curve));
      status.textContent = edge === undefined ? `first of ${edges.length} edges` : "found";
    } else if (exact || ids.length === 1 || (go && ids.length)) {
      const id = exact ? query : ids[0], node = this.diagram.places?.at(id);
      this.pick({ chosen: this.graph.writers.includes(id) || id === "logits" ? id : null });
      if (node) (this.found = true), this.diagram.centre(node.x, node.y);
      status.textContent = "found";
    } else {
      this.pick({});
      status.textContent = this.missing(query, ids.length + edges.length);
    }
  }

  missing(query, matches) {
    if (matches) return `${matches} match`;
    const there = this.graph.writers.includes(query) || this.graph.names.includes(query);
    return there ? "not shown at this threshold" : "no component or edge of that name";
  }

  ids() {
    return [...this.ends.keys()];
  }

  // All of the diagram, with the labels that are large enough to be read there.
  fit() {
    if (this.view() === "graph") this.diagram.fit(this.ids(), false);
  }

  // With all labels readable: all of it, or its beginning.
  read() {
    if (this.view() === "graph") this.diagram.fit(this.ids(), true);
  }

  legend() {
    const { data } = this, parts = ["Layers run downwards."];
    if (!data.scored) parts.push("Edges are those between the chosen components, drawn alike: they have no scores.");
    else parts.push("Width grows with |score|;", data.effects ? "dashed edges work against the behaviour: ablating one alone makes the metric better." : "scores rank edges and have no sign of help or harm.");
    if (data.candidates === null) parts.push("The threshold applies to the circuit's edges only: this run has no scores of other candidates.");
    else if (this.graph.count < data.total - data.wires.w.length && this.graph.count < data.candidates)
      parts.push(`The threshold applies to the ${this.graph.count.toLocaleString("en")} strongest of ${data.candidates.toLocaleString("en")} candidate edges.`);
    else parts.push(`The threshold applies to all ${data.candidates.toLocaleString("en")} candidate edges.`);
    const slot = this.graph.readers.find(({ shared, owners }) => shared && owners.length > 1);
    if (slot) parts.push(`A box such as \u201c${slotName(slot.id)}\u201d is what ${slot.owners.map((w) => this.graph.writers[w]).join(", ")} share: ${slot.kind === "k" ? "their keys" : "their values"}.`);
    parts.push("Edges without a path from input to logits are not shown.");
    const gestures = make("span", { class: "gestures" }, " Drag to move, wheel to zoom, click a component for all paths through it.");
    byId("legend").replaceChildren(parts.join(" "), gestures);
  }
}

// A number of four digits that is no larger, so that a threshold there keeps the same and can be read.
function roundedDown(value) {
  if (!value) return 0;
  const unit = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 3), down = Math.floor(value / unit + 1e-9) * unit;
  return Math.min(value, Number(down.toPrecision(4)));
}
