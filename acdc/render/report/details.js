// What is told beside the diagram of a node, an edge or a path: numbers that the run holds, nothing else.

const SHOWN_ROWS = 2, MOST_BESIDE = 12;

class Details {
  constructor(holder, graph, data, examples, names, on) {
    Object.assign(this, { holder, graph, data, examples, names, on });
  }

  effect(id) {
    const found = this.data.removals[id];
    if (!found) return "";
    const [change, rows, hurts] = found;
    return `removed alone: ${this.data.metric} ${signed(change)}, worse on ${(100 * rows).toFixed(0)}% of rows${hurts ? ", needed" : ", not needed"}`;
  }

  edgeText(i) {
    const { graph, data } = this;
    const parts = [`score ${data.effects ? signed(graph.edges.score[i]) : `${short(graph.edges.score[i])} (rank only)`}`];
    if (!data.scored) parts[0] = "between two components that were chosen; edges have no scores of their own";
    if (graph.opposes(i)) parts.push("works against the behaviour");
    const effect = this.effect(graph.names[i]);
    parts.push(effect || (graph.edges.own[i] ? "" : "not in the circuit as found"));
    return parts.filter(Boolean).join("; ");
  }

  nodeText(members, counts) {
    const sum = (side) => members.reduce((all, id) => all + (counts.get(id)?.[side] ?? 0), 0), [into, out] = [sum(0), sum(1)];
    const one = members.length === 1 ? members[0] : null;
    return [this.data.names[one] ?? "", `${into} ${into === 1 ? "edge" : "edges"} in, ${out} out`, one && one in this.data.components ? `score ${this.componentScore(one)}` : "", one ? this.effect(one) : ""].filter(Boolean).join("; ");
  }

  componentScore(id) {
    const score = this.data.components[id];
    return this.data.effects ? signed(score) : `${short(score)} (rank only)`;
  }

  tellNode(id, members, { edges, nodes, into, out, counts }) {
    const several = members.length > 1 || !members.includes(id), [one] = members;
    this.holder.replaceChildren(
      make("h3", {}, id),
      make("p", { class: "quiet" }, `${this.nodeText(members, counts)}. All paths through it: ${edges} edges among ${nodes} nodes. Choose it again, or press Escape, to clear.`),
      ...this.pages(members), ...(several ? this.inside(id, members) : this.verified(one)), ...this.listed("Into it", into, MOST_BESIDE), ...this.listed("Out of it", out, MOST_BESIDE),
      ...(several ? [] : [...this.attention(one), ...this.lens(one), ...this.names.form(one)]),
    );
  }

  // Pages of what its units mean: of a head, or of the neurons of an MLP.
  pages(members) {
    const there = Object.entries(this.data.pages ?? {}).filter(([unit]) => members.some((id) => unit === id || unit.startsWith(`${id}.`)));
    return there.length ? [make("p", {}, "What it means: ", ...there.flatMap(([unit, href], i) => [i ? ", " : "", make("a", { href }, unit)]), ".")] : [];
  }

  // What a folded node stands for.
  inside(id, members) {
    const open = make("button", { type: "button" }, "Unfold");
    const layer = /^layer (\d+)$/.exec(id);
    open.addEventListener("click", () => (layer ? this.on.foldLayer(Number(layer[1])) : this.on.unfold(id)));
    return [make("p", {}, `Folded: ${members.join(", ")}.`), open];
  }

  // What verification found of a head: its direct effect, and where it attends.
  verified(id) {
    const found = this.data.heads[id], role = this.data.roles[id];
    const rows = [];
    if (role) rows.push(["role", role]);
    if (found) rows.push(["direct effect", `${signed(found.adds[0])}${found.adds[1] === null ? "" : ` [${signed(found.adds[1])}, ${signed(found.adds[2])}]`} in ${this.data.metric}`]);
    for (const [place, shares] of found ? [["attention", found.everywhere], ["from the answer", found.answer]] : []) {
      const top = shares.slice(0, 3).map(([target, share]) => `${target} ${(100 * share).toFixed(1)}%`);
      if (top.length) rows.push([place, top.join(", ")]);
    }
    return rows.length ? [make("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]))] : [];
  }

  // Its attention on example rows, with their tokens.
  attention(id) {
    if (headOf(id) < 0 || !this.examples?.heads.length) return [];
    const place = this.examples.heads.indexOf(id);
    if (place < 0) return [make("p", { class: "quiet" }, `Attention patterns are recorded of the ${this.examples.heads.length} strongest heads only.`)];
    const shown = this.examples.rows.slice(0, SHOWN_ROWS).map((row) => {
      const tokens = row.tokens.map((token, at) => make("span", { class: `token${at === row.answer ? " last" : ""}`, "data-place": at }, token.replaceAll("\n", "\u23ce")));
      const article = make("article", { class: "read-here" }, make("span", { class: "tokens" }, ...tokens));
      article.append(new Pattern(id, row.patterns[place], row, article, this.examples.units).figure);
      return article;
    });
    return [make("h3", {}, "Attention on example rows"), ...shown];
  }

  // What the residual stream says at the answer, before and after the component's layer.
  lens(id) {
    const layer = layerOf(id), rows = (this.examples?.rows ?? []).filter((row) => row.lens).slice(0, SHOWN_ROWS);
    if (layer < 0 || !rows.length) return [];
    const shown = rows.map(({ lens }) => {
      const [before, after] = [layer, layer + 1].map((depth) => nearestDepth(lens, depth));
      return make("li", {}, ...lensSaid(lens, before), " \u2192 ", ...lensSaid(lens, after));
    });
    const [first] = rows, [from, to] = [layer, layer + 1].map((depth) => depthName(first.lens, nearestDepth(first.lens, depth)));
    return [make("h3", {}, `Before and after layer ${layer}`), make("p", { class: "quiet" }, `Of the whole layer, all its heads and the MLP: the likeliest next token at the answer ${from} \u2192 ${to} (logit lens).`), make("ol", { class: "lens-steps" }, ...shown)];
  }

  tellEdge(i) {
    this.holder.replaceChildren(make("h3", {}, this.graph.names[i]), make("p", {}, `${this.edgeText(i)}.`));
  }

  tellPath(edges) {
    const weakest = this.graph.strength(weakestOf(this.graph, edges)), against = againstText(this.graph, edges);
    this.holder.replaceChildren(
      make("h3", {}, pathName(this.graph, edges)),
      make("p", { class: "quiet" }, `A path of ${edges.length} edges; the weakest ${this.data.scored ? "has" : "is of a component with"} |score| ${short(weakest)}. ${against ? `${against}. ` : ""}Press Escape to clear.`),
      ...this.listed("Its edges", edges),
    );
  }

  list(title, edges) {
    const note = edges.length ? [] : [make("p", { class: "quiet" }, "No edges: nothing is needed beyond the ablated run, or all are hidden.")];
    this.holder.replaceChildren(...(edges.length ? this.listed(title, edges) : [make("h3", {}, title), ...note]));
  }

  // The components of a circuit that was chosen from these, and what else it has none of.
  listComponents(title, counts) {
    const there = Object.keys(this.data.components).filter((id) => counts.has(id));
    const size = (id) => Math.abs(this.data.components[id]);
    const items = there.sort((a, b) => size(b) - size(a)).slice(0, MOST_LISTED).map((id) => {
      const button = make("button", { type: "button" }, make("span", { class: "name component" }, id), make("span", { class: "figure" }, this.componentScore(id)));
      button.addEventListener("click", () => this.on.choose(id));
      return make("li", {}, button);
    });
    const note = make("p", { class: "quiet" }, `${this.data.parts} Edges are those between them; they have no scores of their own, and all are drawn alike.`);
    this.holder.replaceChildren(make("h3", {}, `${title} (${there.length})`), note, make("ol", {}, ...items));
  }

  // The strongest so many, with a button for the others.
  listed(title, edges, most = MOST_LISTED) {
    if (!edges.length) return [];
    const { graph } = this, scores = graph.edges.score;
    const sorted = [...edges].sort((a, b) => graph.strength(b) - graph.strength(a) || a - b);
    const items = sorted.slice(0, most).map((i) => {
      const name = make("span", { class: `name ${this.graph.kinds[i]}` }, this.graph.names[i]);
      const button = make("button", { type: "button", class: this.graph.opposes(i) ? "against" : "" }, name, make("span", { class: "figure" }, !this.data.scored ? "" : this.data.effects ? signed(scores[i]) : short(scores[i])));
      for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.on.warm(i));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.on.warm(null));
      button.title = this.edgeText(i);
      button.addEventListener("click", () => this.on.chooseEdge(i));
      return make("li", {}, button);
    });
    const all = edges.length > most ? `${title} (strongest ${most} of ${edges.length.toLocaleString("en")})` : `${title} (${edges.length})`;
    if (edges.length <= most || most === MOST_LISTED) return [make("h3", {}, all), make("ol", {}, ...items)];
    const more = make("button", { type: "button" }, `All ${edges.length.toLocaleString("en")}`);
    more.addEventListener("click", () => this.list(title, edges));
    return [make("h3", {}, all), make("ol", {}, ...items), more];
  }
}

// The components that a path leads through, with the input of a head that it goes into.
function pathName(graph, edges) {
  const parts = edges.map((i, place) => {
    const { id, kind, owners } = graph.readers[graph.edges.r[i]];
    if (!owners.length) return "logits";
    const next = place + 1 < edges.length ? graph.writers[graph.edges.w[edges[place + 1]]] : graph.writers[owners[0]];
    return kind === "mlp" ? next : `${next}<${kind}>`;
  });
  return [graph.writers[graph.edges.w[edges[0]]], ...parts].join(" \u2192 ");
}
