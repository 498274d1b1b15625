// A circuit that has more edges than can be followed one by one: how important each component is, by layer and head,
// the strongest paths, and what is known of the roles of heads. Each leads into the diagram.

const PATHS = 8;

class Summary {
  constructor(holder, graph, data, on) {
    Object.assign(this, { holder, graph, data, on });
  }

  draw(shown, connected, counts) {
    const weight = this.weigh(shown), paths = this.graph.strongestPaths(shown, connected, PATHS);
    this.holder.replaceChildren(this.map(weight, counts), this.paths(paths), this.roles(weight));
    roveTable(this.holder.querySelector(".importance"));
  }

  // By component, the summed |score| of the edges out of it.
  weigh(shown) {
    const found = new Map();
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
    table.append(make("caption", {}, "Importance by layer and head: summed |score| of the edges out of a component that are shown. Darker is more; empty: not in it. Choose a cell for its edges."));
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
    const said = `${id}: summed |score| ${short(value)}, ${into} ${into === 1 ? "edge" : "edges"} in, ${out} out`;
    const button = make("button", { type: "button", tabindex: "-1", "aria-label": said, title: said });
    heat(button, strength);
    button.addEventListener("click", () => this.on.choose(id));
    return make("td", {}, button);
  }

  paths(paths) {
    const items = paths.map((edges) => {
      const weakest = Math.min(...edges.map((i) => Math.abs(this.graph.edges.score[i])));
      const button = make("button", { type: "button" }, make("span", { class: "name" }, pathName(this.graph, edges)), make("span", { class: "figure" }, short(weakest)));
      button.addEventListener("click", () => this.on.choosePath(edges));
      return make("li", {}, button);
    });
    const told = make("p", { class: "quiet" }, "From the input to the logits, by the |score| of the weakest edge. Choose one to see it in the diagram.");
    return make("section", { class: "paths" }, make("h3", {}, "Strongest paths"), told, make("ol", {}, ...items));
  }

  roles(weight) {
    const groups = new Map();
    for (const [id, role] of Object.entries(this.data.roles)) {
      if (!weight.has(id)) continue;
      groups.has(role) ? groups.get(role).push(id) : groups.set(role, [id]);
    }
    const sum = (ids) => ids.reduce((all, id) => all + weight.get(id), 0);
    const rows = [...groups].sort((a, b) => sum(b[1]) - sum(a[1])).map(([role, ids]) => make("tr", {}, make("th", { scope: "row" }, role), make("td", { class: "figure" }, short(sum(ids))), make("td", {}, ids.join(", "))));
    const found = rows.length
      ? make("table", {}, make("thead", {}, make("tr", {}, ...["role", "summed |score|", "heads"].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows))
      : make("p", { class: "quiet" }, "Roles of heads are not known: 'acdc verify RUN' looks at where they attend.");
    return make("section", { class: "groups" }, make("h3", {}, "Heads by role"), found);
  }
}
