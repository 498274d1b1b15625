// The drawing. Edges of one colour, width and dash are one path, so that thousands are redrawn at once; what is under
// the pointer is found by the distance to their curves.

const LEVELS = 8, THINNEST = 0.9, THICKEST = 5.5, REACH = 7;

class Diagram {
  constructor(svg, graph, places, on) {
    Object.assign(this, { svg, graph, places, on, shown: [], view: { x: 0, y: 0, k: 1 }, pointers: new Map() });
    this.root = this.make("g", svg, { class: "root" });
    this.bands = this.make("g", this.root, { class: "bands" });
    this.ghosts = this.make("g", this.root, { class: "ghosts" });
    this.wiring = this.make("g", this.root, { class: "wiring" });
    this.base = this.make("g", this.root, { class: "edges" });
    this.traced = this.make("g", this.root, { class: "edges traced" });
    this.hot = this.make("g", this.root, { class: "edges hot" });
    this.nodeLayer = this.make("g", this.root, { class: "nodes" });
    this.drawBands();
    this.nodes = new Map([...places.nodes.values()].map((node) => [node.id, this.drawNode(node)]));
    this.listen();
  }

  make(name, parent, attributes = {}) {
    const made = document.createElementNS(this.svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  drawBands() {
    const [left, , right] = this.places.box([]);
    this.places.bands.forEach(({ layer, top, bottom }, i) => {
      const size = { x: left - 76, y: top, width: right - left + 100, height: bottom - top + 6, rx: 8 };
      this.make("rect", this.bands, { ...size, class: i % 2 ? "band odd" : "band" });
      const label = this.make("text", this.bands, { x: left - 64, y: (top + bottom) / 2 + 7, class: "layer" });
      label.textContent = `layer ${layer}`;
    });
  }

  drawNode(node) {
    const group = this.make("g", this.nodeLayer, { class: `node ${node.kind}`, "data-id": node.id });
    const { x, y, width, height } = node;
    this.make("rect", group, { x: x - width / 2, y: y - height / 2, width, height, rx: node.kind === "slot" ? 8 : 6 });
    this.make("text", group, { x, y: y + 4.5, "text-anchor": "middle" }).textContent = node.label;
    if (node.kind === "slot") return group;
    group.setAttribute("role", "button");
    group.addEventListener("click", (event) => (event.stopPropagation(), this.on.choose(node.id)));
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault(), event.stopPropagation(), this.on.choose(node.id);
    });
    group.addEventListener("pointerenter", (event) => this.on.hoverNode(node.id, event));
    group.addEventListener("pointerleave", () => this.on.leave());
    group.addEventListener("focus", () => (this.reveal(node.id), this.on.hoverNode(node.id, null)));
    group.addEventListener("blur", () => this.on.leave());
    return group;
  }

  // Draw these edges; `alive`: by id of a node, [edges in, edges out].
  draw(shown, alive) {
    this.shown = shown;
    this.paint(this.base, shown);
    this.svg.classList.toggle("dense", shown.length > 600);
    this.svg.classList.toggle("crowded", shown.length > 1500);
    const wires = shown.filter((i) => this.graph.readers[this.graph.edges.r[i]].shared);
    this.paintWiring(new Set(wires.map((i) => this.graph.edges.r[i])), alive);
    for (const [id, group] of this.nodes) {
      const counts = alive.get(id);
      const layer = counts ? this.nodeLayer : this.ghosts; // behind the edges, what is not in the circuit
      if (group.parentNode !== layer) layer.append(group);
      group.classList.toggle("ghost", !counts);
      if (group.classList.contains("slot")) continue;
      group.setAttribute("tabindex", counts ? "0" : "-1");
      group.setAttribute("aria-label", counts ? `${id}: ${counts[0]} edges in, ${counts[1]} out` : `${id}: not in it`);
    }
  }

  paintWiring(slots, alive) {
    let path = "";
    for (const r of slots) {
      const slot = this.places.nodes.get(this.graph.readers[r].id);
      for (const owner of this.graph.readers[r].owners) {
        const head = this.places.nodes.get(this.graph.writers[owner]);
        if (head && alive.has(head.id)) path += `M${slot.x} ${slot.y + slot.height / 2}L${head.x} ${head.y - head.height / 2}`;
      }
    }
    this.wiring.replaceChildren();
    if (path) this.make("path", this.wiring, { d: path });
  }

  paint(layer, edges) {
    const buckets = new Map(), heads = new Map();
    const arrows = edges.length <= 600;
    for (const i of edges) {
      const share = this.graph.largest ? Math.sqrt(Math.abs(this.graph.edges.score[i]) / this.graph.largest) : 0;
      const kind = this.graph.kinds[i], level = Math.round(share * (LEVELS - 1));
      const key = `${level} ${kind} ${this.graph.opposes(i) ? "against" : "for"}`;
      buckets.has(key) ? buckets.get(key).push(this.places.paths[i]) : buckets.set(key, [this.places.paths[i]]);
      if (!arrows) continue;
      const [x, y] = this.places.curves[i].slice(6), size = 3 + level * 0.35;
      heads.set(kind, `${heads.get(kind) ?? ""}M${x} ${y + 1}l${-size} ${-2 * size}h${2 * size}z`);
    }
    layer.replaceChildren();
    for (const key of [...buckets.keys()].sort((a, b) => parseInt(a) - parseInt(b))) {
      const [level, kind, sense] = key.split(" ");
      const width = THINNEST + ((THICKEST - THINNEST) * level) / (LEVELS - 1);
      this.make("path", layer, { d: buckets.get(key).join(""), class: `edge ${kind} ${sense}`, "stroke-width": width.toFixed(2) });
    }
    for (const [kind, d] of heads) this.make("path", layer, { d, class: `head ${kind}` });
  }

  // Bring out some edges and nodes and let the others fade; null: nothing in particular.
  highlight(edges, ids) {
    this.svg.classList.toggle("tracing", edges !== null);
    this.paint(this.traced, edges ?? []);
    for (const [id, group] of this.nodes) group.classList.toggle("faded", edges !== null && !ids.has(id));
  }

  mark(ids) {
    for (const [id, group] of this.nodes) group.classList.toggle("marked", ids.has(id));
  }

  warm(i) {
    this.hot.replaceChildren();
    if (i !== null) this.paint(this.hot, [i]);
  }

  // ---- where one looks

  size() {
    return { width: this.svg.clientWidth || 900, height: this.svg.clientHeight || 600 };
  }

  look(view) {
    this.view = { ...view, k: Math.min(6, Math.max(0.08, view.k)) };
    const { width, height } = this.size();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.root.setAttribute("transform", `translate(${this.view.x} ${this.view.y}) scale(${this.view.k})`);
  }

  fit(ids) {
    const [left, top, right, bottom] = this.places.box(ids), { width, height } = this.size();
    const [w, h] = [right - left + 160, bottom - top + 48];
    const k = Math.min(width / w, height / h, 1.6);
    this.look({ k, x: width / 2 - k * ((left + right) / 2 - 26), y: height / 2 - k * ((top + bottom) / 2) });
  }

  centre(x, y, least = 0.8) {
    const { width, height } = this.size(), k = Math.max(this.view.k, least);
    this.look({ k, x: width / 2 - k * x, y: height / 2 - k * y });
  }

  reveal(id) {
    const { x, y } = this.places.nodes.get(id), { width, height } = this.size();
    const [px, py] = [this.view.x + this.view.k * x, this.view.y + this.view.k * y];
    if (px < 0 || py < 0 || px > width || py > height) this.centre(x, y, this.view.k);
  }

  zoom(factor, at = null) {
    const { width, height } = this.size(), [px, py] = at ?? [width / 2, height / 2];
    const k = Math.min(6, Math.max(0.08, this.view.k * factor)), ratio = k / this.view.k;
    this.look({ k, x: px - ratio * (px - this.view.x), y: py - ratio * (py - this.view.y) });
  }

  pan(dx, dy) {
    this.look({ ...this.view, x: this.view.x + dx, y: this.view.y + dy });
  }

  listen() {
    const { svg } = this;
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), this.place(event));
    }, { passive: false });
    svg.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, this.place(event));
      this.moved = false;
    });
    svg.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"])
      svg.addEventListener(name, (event) => (this.pointers.delete(event.pointerId), name === "pointerleave" && this.on.leave()));
    svg.addEventListener("click", (event) => {
      if (this.moved) return;
      const i = this.pick(this.place(event));
      i === null ? this.on.clear() : this.on.chooseEdge(i);
    });
    svg.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const step = 60, moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key in moves) this.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(0.8);
    else if (event.key === "0") this.on.fit();
    else return;
    event.preventDefault();
  }

  place(event) {
    const box = this.svg.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  move(event) {
    const at = this.place(event), before = this.pointers.get(event.pointerId);
    if (!before) {
      const i = event.target.closest(".node:not(.ghost):not(.slot)") ? null : this.pick(at);
      if (i !== null) this.on.hoverEdge(i, event);
      else if (!event.target.closest(".node")) this.on.leave();
      return;
    }
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (Math.hypot(at[0] - before[0], at[1] - before[1]) < 3 && !this.moved) return;
    this.moved = true;
    if (other) {
      const ratio = Math.hypot(at[0] - other[0], at[1] - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1]));
      this.zoom(ratio, [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
    } else this.pan(at[0] - before[0], at[1] - before[1]);
    this.pointers.set(event.pointerId, at);
  }

  // The shown edge nearest to a place of the window, if it is near.
  pick([px, py]) {
    const { x, y, k } = this.view, wx = (px - x) / k, wy = (py - y) / k, reach = REACH / k;
    let best = null, nearest = reach;
    for (const i of this.shown) {
      const c = this.places.curves[i];
      if (wy < c[1] - reach || wy > c[7] + reach) continue;
      if (wx < Math.min(c[0], c[2], c[4], c[6]) - reach || wx > Math.max(c[0], c[2], c[4], c[6]) + reach) continue;
      const distance = distanceTo(c, wx, wy);
      if (distance < nearest) (nearest = distance), (best = i);
    }
    return best;
  }
}

function pointOn(c, t) {
  const s = 1 - t, a = s * s * s, b = 3 * s * s * t, d = 3 * s * t * t, e = t * t * t;
  return [a * c[0] + b * c[2] + d * c[4] + e * c[6], a * c[1] + b * c[3] + d * c[5] + e * c[7]];
}

function distanceTo(curve, x, y) {
  let least = Infinity, [px, py] = pointOn(curve, 0);
  for (let step = 1; step <= 20; step++) {
    const [qx, qy] = pointOn(curve, step / 20), dx = qx - px, dy = qy - py;
    const t = Math.max(0, Math.min(1, ((x - px) * dx + (y - py) * dy) / (dx * dx + dy * dy || 1)));
    least = Math.min(least, Math.hypot(px + t * dx - x, py + t * dy - y));
    [px, py] = [qx, qy];
  }
  return least;
}
