// The controls around the drawing: threshold, search, toggles, tracing, and what they say.

const MOST_DRAWN = 1500, MOST_LISTED = 200;

class Explorer {
  constructor(data) {
    this.graph = new Graph(data), (this.data = data);
    this.places = new Places(this.graph);
    this.stops = this.graph.stops();
    this.state = { threshold: null, hidden: new Set(), chosen: null, edge: null, view: null };
    const on = {
      choose: (id) => this.choose(id), chooseEdge: (i) => this.chooseEdge(i), clear: () => this.clear(),
      hoverNode: (id, event) => this.hoverNode(id, event), hoverEdge: (i, event) => this.hoverEdge(i, event),
      leave: () => this.leave(), fit: () => this.fit(), list: (title, edges) => this.list(title, edges),
    };
    this.diagram = new Diagram(byId("graph"), this.graph, this.places, on);
    this.heatmap = new HeatMap(byId("heatmap"), this.graph, on);
    this.listen();
    this.legend();
    this.update();
    this.fit();
  }

  listen() {
    const slider = byId("threshold"), exact = byId("exact");
    slider.max = Math.max(0, this.stops.length - 1);
    slider.disabled = exact.disabled = this.stops.length === 0;
    slider.addEventListener("input", () => this.setThreshold(this.stops[slider.value]));
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
    byId("as-graph").addEventListener("click", () => this.setView("graph"));
    byId("as-heatmap").addEventListener("click", () => this.setView("heatmap"));
    byId("zoom-in").addEventListener("click", () => this.diagram.zoom(1.3));
    byId("zoom-out").addEventListener("click", () => this.diagram.zoom(1 / 1.3));
    byId("fit").addEventListener("click", () => this.fit());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.clear());
    window.addEventListener("resize", () => this.fit());
    window.addEventListener("beforeprint", () => this.fit());
  }

  setThreshold(threshold) {
    const { floor } = this.data, most = this.stops[0] ?? 0;
    this.state.threshold = threshold === null ? null : Math.min(most, Math.max(floor, threshold));
    this.update();
  }

  setView(view) {
    this.state.view = view;
    this.update();
    if (view === "graph") this.fit();
  }

  // Prune anew and draw.
  update() {
    const { graph, state } = this;
    this.kept = graph.kept(state.threshold);
    this.connected = graph.connected(this.kept.wires);
    this.shown = [];
    this.kept.edges.forEach((on, i) => on && !state.hidden.has(graph.kinds[i]) && this.shown.push(i));
    this.counts = this.count();
    const view = state.view ?? (this.shown.length > MOST_DRAWN ? "heatmap" : "graph"), before = byId("heatmap").hidden;
    byId("heatmap").hidden = view !== "heatmap";
    byId("graph").toggleAttribute("hidden", view === "heatmap");
    byId("as-graph").setAttribute("aria-pressed", view === "graph");
    byId("as-heatmap").setAttribute("aria-pressed", view === "heatmap");
    for (const id of ["zoom-in", "zoom-out", "fit"]) byId(id).disabled = view === "heatmap";
    if (view === "graph") this.diagram.draw(this.shown, this.counts);
    else this.heatmap.draw(this.shown);
    if (view === "graph" && !before) this.fit();
    this.control();
    this.say();
    this.retrace();
  }

  // By id of a component or slot that is in it, [edges in, edges out].
  count() {
    const { graph } = this, found = new Map();
    const add = (id, side) => {
      if (!found.has(id)) found.set(id, [0, 0]);
      found.get(id)[side]++;
    };
    const outs = new Set(this.shown.map((i) => graph.edges.w[i]));
    for (const i of this.shown) {
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
    exact.value = threshold === null ? "" : threshold;
    exact.placeholder = short(at);
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
    if (state.threshold !== null) {
      const own = kept.edges.reduce((sum, on, i) => sum + (on && graph.edges.own[i]), 0);
      parts.push(`${own} of these edges are in the circuit as found`);
    }
    const wires = kept.wires.reduce((sum, on) => sum + on, 0);
    if (wires) parts.push(`${wires} of them are wires inside heads, which are not drawn`);
    const near = state.threshold === null ? null : this.nearest();
    if (state.threshold === null && data.faithfulness !== null) parts.push(`${(100 * data.faithfulness).toFixed(1)}% of the behaviour recovered`);
    if (near) parts.push(`nearest size measured: ${near[0].toLocaleString("en")} edges selected, ${(100 * near[1]).toFixed(1)}% of the behaviour recovered`);
    if (state.hidden.size) parts.push(`${this.shown.length} drawn, the others are hidden, not removed`);
    if (!byId("graph").hasAttribute("hidden") && this.shown.length > MOST_DRAWN) parts.push("of so many, dashes are left out");
    byId("readout").textContent = parts.join("; ") + ".";
  }

  nearest() {
    const selected = Math.max(1, this.kept.selected), distance = ([size]) => Math.abs(Math.log(Math.max(1, size) / selected));
    return this.data.sizes.reduce((best, one) => (best === null || distance(one) < distance(best) ? one : best), null);
  }

  // ---- choosing and tracing

  choose(id) {
    if (!this.counts.has(id)) return;
    this.state.chosen = this.state.chosen === id ? null : id;
    this.state.edge = null;
    this.retrace();
  }

  chooseEdge(i) {
    this.state.edge = this.state.edge === i ? null : i;
    this.state.chosen = null;
    this.retrace();
  }

  clear() {
    this.state.chosen = this.state.edge = null;
    this.diagram.mark(new Set());
    byId("search").value = byId("search-status").textContent = "";
    this.retrace();
  }

  retrace() {
    const { state, graph } = this;
    if (state.chosen !== null && !this.counts.has(state.chosen)) state.chosen = null;
    if (state.edge !== null && !this.shown.includes(state.edge)) state.edge = null;
    if (state.chosen !== null) {
      const traced = graph.trace(this.shown, this.connected, graph.writers.indexOf(state.chosen));
      const ids = new Set([...traced.components].map((w) => (w < 0 ? "logits" : graph.writers[w])));
      for (const i of traced.edges) if (graph.readers[graph.edges.r[i]].shared) ids.add(graph.readers[graph.edges.r[i]].id);
      this.diagram.highlight([...traced.edges], ids);
      this.tellComponent(state.chosen, traced.edges.size, ids.size);
    } else if (state.edge !== null) {
      this.diagram.highlight([state.edge], new Set(this.ends(state.edge)));
      this.tellEdge(state.edge);
    } else {
      this.diagram.highlight(null, new Set());
      this.list("Strongest edges shown", this.shown);
    }
    this.diagram.warm(null);
  }

  ends(i) {
    const { id, owners, shared } = this.graph.readers[this.graph.edges.r[i]];
    const targets = owners.length ? owners.map((owner) => this.graph.writers[owner]) : ["logits"];
    return [this.graph.writers[this.graph.edges.w[i]], ...targets, ...(shared ? [id] : [])];
  }

  // ---- words

  effect(id) {
    const found = this.data.removals[id];
    if (!found) return "";
    const [change, rows, hurts] = found;
    return `removed alone: ${this.data.metric} ${signed(change)}, worse on ${(100 * rows).toFixed(0)}% of rows${hurts ? ", needed" : ", not needed"}`;
  }

  edgeText(i) {
    const { graph, data } = this;
    const parts = [`score ${signed(graph.edges.score[i])}${data.effects ? "" : " (rank only)"}`];
    if (graph.opposes(i)) parts.push("works against the behaviour");
    const effect = this.effect(graph.names[i]);
    parts.push(effect || (graph.edges.own[i] ? "" : "not in the circuit as found"));
    return parts.filter(Boolean).join("; ");
  }

  nodeText(id) {
    const [into, out] = this.counts.get(id) ?? [0, 0];
    return [`${into} ${into === 1 ? "edge" : "edges"} in, ${out} out`, this.effect(id)].filter(Boolean).join("; ");
  }

  tellComponent(id, edges, components) {
    const w = this.graph.writers.indexOf(id);
    const into = this.shown.filter((i) => {
      const { owners } = this.graph.readers[this.graph.edges.r[i]];
      return id === "logits" ? owners.length === 0 : owners.includes(w);
    });
    const out = id === "logits" ? [] : this.shown.filter((i) => this.graph.edges.w[i] === w);
    byId("details").replaceChildren(
      make("h3", {}, id),
      make("p", { class: "quiet" }, `${this.nodeText(id)}. All paths through it: ${edges} edges among ${components} nodes. Choose it again, or press Escape, to clear.`),
      ...this.listed("Into it", into), ...this.listed("Out of it", out),
    );
  }

  tellEdge(i) {
    byId("details").replaceChildren(make("h3", {}, this.graph.names[i]), make("p", {}, `${this.edgeText(i)}.`));
  }

  list(title, edges) {
    const note = edges.length ? [] : [make("p", { class: "quiet" }, "No edges: nothing is needed beyond the ablated run, or all are hidden.")];
    byId("details").replaceChildren(...(edges.length ? this.listed(title, edges) : [make("h3", {}, title), ...note]));
  }

  listed(title, edges) {
    if (!edges.length) return [];
    const scores = this.graph.edges.score;
    const sorted = [...edges].sort((a, b) => Math.abs(scores[b]) - Math.abs(scores[a]) || a - b);
    const items = sorted.slice(0, MOST_LISTED).map((i) => {
      const name = make("span", { class: `name ${this.graph.kinds[i]}` }, this.graph.names[i]);
      const button = make("button", { type: "button", class: this.graph.opposes(i) ? "against" : "" }, name, make("span", { class: "figure" }, signed(scores[i])));
      for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.diagram.warm(i));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.diagram.warm(null));
      button.title = this.edgeText(i);
      button.addEventListener("click", () => this.chooseEdge(i));
      return make("li", {}, button);
    });
    const all = edges.length > MOST_LISTED ? `${title} (strongest ${MOST_LISTED} of ${edges.length.toLocaleString("en")})` : `${title} (${edges.length})`;
    return [make("h3", {}, all), make("ol", {}, ...items)];
  }

  hoverNode(id, event) {
    if (this.counts.has(id)) this.tip(id, this.nodeText(id), event, this.places.nodes.get(id));
  }

  hoverEdge(i, event) {
    this.diagram.warm(i);
    this.tip(this.graph.names[i], this.edgeText(i), event, null);
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
    tip.style.left = `${Math.max(4, Math.min(x + 14, size.width - tip.offsetWidth - 6))}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > size.height ? Math.max(4, y - tip.offsetHeight - 10) : y + 18}px`;
  }

  // ---- search

  search(query, go) {
    const { graph } = this, status = byId("search-status");
    if (!query) return this.clear();
    const ids = [...this.places.nodes.keys()].filter((id) => this.counts.has(id) && (id === query || id.startsWith(query)));
    const exact = ids.includes(query), edges = query.includes(">") ? this.shown.filter((i) => graph.names[i].startsWith(query)) : [];
    const edge = edges.find((i) => graph.names[i] === query) ?? (edges.length === 1 ? edges[0] : undefined);
    this.diagram.mark(new Set(exact && !go ? [query] : ids));
    if (edge !== undefined || (go && edges.length)) {
      const i = edge ?? edges[0];
      (this.state.chosen = null), (this.state.edge = i), this.retrace();
      this.diagram.centre(...pointOn(this.places.curves[i], 0.5));
      status.textContent = edge === undefined ? `first of ${edges.length} edges` : "found";
    } else if (exact || ids.length === 1 || (go && ids.length)) {
      const id = exact ? query : ids[0], { x, y } = this.places.nodes.get(id);
      (this.state.edge = null), (this.state.chosen = this.places.nodes.get(id).kind === "slot" ? null : id), this.retrace();
      this.diagram.centre(x, y);
      status.textContent = "found";
    } else status.textContent = this.missing(query, ids.length + edges.length);
  }

  missing(query, matches) {
    if (matches) return `${matches} match`;
    const there = this.graph.writers.includes(query) || this.graph.names.includes(query);
    return there ? "not shown at this threshold" : "no component or edge of that name";
  }

  fit() {
    this.diagram.fit([...this.counts.keys()]);
  }

  legend() {
    const { data } = this, parts = ["Layers run downwards.", "Width grows with |score|;"];
    parts.push(data.effects ? "dashed edges work against the behaviour: ablating one alone makes the metric better." : "scores rank edges and have no sign of help or harm.");
    if (data.candidates === null) parts.push("The threshold applies to the circuit's edges only: this run has no scores of other candidates.");
    else if (this.graph.count < data.total - data.wires.w.length && this.graph.count < data.candidates)
      parts.push(`The threshold applies to the ${this.graph.count.toLocaleString("en")} strongest of ${data.candidates.toLocaleString("en")} candidate edges.`);
    else parts.push(`The threshold applies to all ${data.candidates.toLocaleString("en")} candidate edges.`);
    parts.push("Edges without a path from input to logits are not shown. Drag to move, wheel to zoom, click a component for all paths through it.");
    byId("legend").textContent = parts.join(" ");
  }
}
