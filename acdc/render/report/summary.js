// A circuit that has more edges than can be followed one by one: how important each component is, by layer and head,
// the strongest paths, and what is known of the roles of heads. Each leads into the diagram.

const PATHS = 8;

class Summary {
  constructor(holder, graph, data, on) {
    Object.assign(this, { holder, graph, data, on });
  }

  draw(shown, connected, counts) {
    const weight = this.weigh(shown), paths = this.graph.strongestPaths(shown, connected, PATHS);
    this.holder.replaceChildren(this.map(weight, counts), this.paths(paths), ...this.roles(weight));
    roveTable(this.holder.querySelector(".importance"));
  }

  // By component, the summed |score| of the edges out of it, or where components have scores, its own |score|.
  weigh(shown) {
    const found = new Map(), { scored, components } = this.data;
    if (!scored) return new Map(Object.entries(components).map(([id, score]) => [id, Math.abs(score)]));
    for (const i of shown) {
      const id = this.graph.writers[this.graph.edges.w[i]];
      found.set(id, (found.get(id) ?? 0) + Math.abs(this.graph.edges.score[i]));
    }
    return found;
  }

  map(weight, counts) {
    const { writers } = this.graph, inside = writers.filter((id) => layerOf(id) >= 0);
    const layers = [...new Set(inside.map(layerOf))], heads = [...new Set(inside.map(headOf))].filter((head) => head >= 0).sort((a, b) => a - b);
    const known = new Set(inside), most = Math.max(0, ...inside.map((id) => weight.get(id) ?? 0));
    const columns = [...heads.map((head) => [`h${head}`, (layer) => `a${layer}.h${head}`]), ["MLP", (layer) => `m${layer}`]];
    const table = make("table", { class: "heat importance" });
    table.append(make("caption", {}, `Importance by layer and head: ${this.measure()}. Darker is more; empty: not in it. Choose a cell for its edges.`));
    table.append(make("thead", {}, make("tr", {}, make("td"), ...columns.map(([name]) => make("th", { scope: "col" }, name)))));
    const body = make("tbody");
    for (const layer of layers) {
      const cells = columns.map(([, name]) => (known.has(name(layer)) ? this.cell(name(layer), weight, most, counts) : make("td", { class: "none" })));
      body.append(make("tr", {}, make("th", { scope: "row" }, String(layer)), ...cells));
    }
    table.append(body);
    return make("section", { class: "map" }, make("h3", {}, "Layers and heads"), make("div", { class: "scroll-x" }, table));
  }

  cell(id, weight, most, counts) {
    if (!counts.has(id)) return make("td");
    const value = weight.get(id) ?? 0, strength = most ? Math.sqrt(value / most) : 0, [into, out] = counts.get(id);
    const said = `${id}: ${this.data.scored ? "summed " : ""}|score| ${short(value)}, ${into} ${into === 1 ? "edge" : "edges"} in, ${out} out`;
    const button = make("button", { type: "button", tabindex: "-1", "aria-label": said, title: said });
    heat(button, strength);
    button.addEventListener("click", () => this.on.choose(id));
    return make("td", {}, button);
  }

  measure() {
    return this.data.scored ? "summed |score| of the edges out of a component that are shown" : "|score| of each component";
  }

  paths(paths) {
    const items = paths.map((edges) => {
      const weakest = weakestOf(this.graph, edges), against = edges.some((i) => this.graph.opposes(i));
      const value = this.data.scored && this.data.effects ? signed(this.graph.edges.score[weakest]) : short(this.graph.strength(weakest));
      const title = against ? againstText(this.graph, edges) : "";
      const button = make("button", { type: "button", class: against ? "against" : "", title }, make("span", { class: "name" }, pathName(this.graph, edges)), make("span", { class: "figure" }, value));
      button.addEventListener("click", () => this.on.choosePath(edges));
      return make("li", {}, button);
    });
    const told = make("p", { class: "quiet" }, this.told(paths));
    return make("section", { class: "paths" }, make("h3", {}, "Strongest paths"), told, make("ol", {}, ...items));
  }

  told(paths) {
    const by = this.data.scored ? "by the |score| of the weakest edge, which is beside it with its sign" : "by the |score| of the weakest component";
    const against = paths.flat().some((i) => this.graph.opposes(i)) ? " Dashed: an edge of it works against the behaviour." : "";
    return `From the input to the logits, ${by}.${against} Choose one to see it in the diagram.`;
  }

  // Nothing where the roles of heads are not known.
  roles(weight) {
    const groups = new Map();
    for (const [id, role] of Object.entries(this.data.roles)) {
      if (!weight.has(id)) continue;
      groups.has(role) ? groups.get(role).push(id) : groups.set(role, [id]);
    }
    const sum = (ids) => ids.reduce((all, id) => all + weight.get(id), 0);
    const rows = [...groups].sort((a, b) => sum(b[1]) - sum(a[1])).map(([role, ids]) => make("tr", {}, make("th", { scope: "row" }, role), make("td", { class: "figure" }, short(sum(ids))), make("td", {}, ids.join(", "))));
    if (!rows.length) return [];
    const head = ["role", "summed |score|", "heads"].map((name) => make("th", { scope: "col" }, name));
    const found = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
    return [make("section", { class: "groups" }, make("h3", {}, "Heads by role"), found)];
  }
}

// The edge of a path that decides how strong it is.
function weakestOf(graph, edges) {
  return edges.reduce((least, i) => (graph.strength(i) < graph.strength(least) ? i : least));
}

function againstText(graph, edges) {
  const names = edges.filter((i) => graph.opposes(i)).map((i) => `${graph.names[i]} (${signed(graph.edges.score[i])})`);
  return names.length ? `${names.join(", ")} ${names.length === 1 ? "works" : "work"} against the behaviour` : "";
}
