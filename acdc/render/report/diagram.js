// The drawing. Edges of one colour, width and dash are one path, so that thousands are redrawn at once; what is under
// the pointer is found by the distance to their curves.

const LEVELS = 8, THINNEST = 0.9, THICKEST = 5.5, REACH = 7, LEAST_TEXT = 10, TEXT = 12, LEAST_ZOOM = 0.08, EVEN = 0.15;

class Diagram {
  constructor(svg, graph, on) {
    Object.assign(this, { svg, graph, on, places: null, shown: [], curves: new Map(), nodes: new Map(), view: { x: 0, y: 0, k: 1 }, pointers: new Map() });
    this.root = this.make("g", svg, { class: "root" });
    this.bands = this.make("g", this.root, { class: "bands" });
    this.ghosts = this.make("g", this.root, { class: "ghosts" });
    this.wiring = this.make("g", this.root, { class: "wiring" });
    this.base = this.make("g", this.root, { class: "edges" });
    this.traced = this.make("g", this.root, { class: "edges traced" });
    this.hot = this.make("g", this.root, { class: "edges hot" });
    this.labels = this.make("g", this.root, { class: "labels" });
    this.nodeLayer = this.make("g", this.root, { class: "nodes" });
    this.listen();
  }

  // Draw the nodes anew where these stand.
  stand(places) {
    const focused = document.activeElement?.closest?.("#graph .node")?.dataset.id;
    for (const layer of [this.bands, this.labels, this.ghosts, this.nodeLayer]) layer.replaceChildren();
    this.places = places;
    this.drawBands();
    this.nodes = new Map([...places.nodes.values()].map((node) => [node.id, this.drawNode(node)]));
    if (focused !== undefined) this.nodes.get(focused)?.focus();
  }

  make(name, parent, attributes = {}) {
    const made = document.createElementNS(this.svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  drawBands() {
    const [left, , right] = this.places.box([]);
    this.places.bands.forEach(({ layer, top, bottom, label, empty }, i) => {
      const size = { x: left - 84, y: top, width: right - left + 108, height: bottom - top + 6, rx: 8 };
      this.make("rect", this.bands, { ...size, class: empty ? "band empty" : i % 2 ? "band odd" : "band" });
      const text = this.make("text", this.labels, { x: left - 74, y: (top + bottom) / 2 + 7, class: empty ? "layer none" : "layer" });
      text.textContent = label;
      if (!empty && this.places.deep) this.foldable(text, layer);
    });
  }

  foldable(text, layer) {
    const toggle = (event) => (event.stopPropagation(), this.on.foldLayer(layer));
    for (const [name, value] of Object.entries({ role: "button", tabindex: "0", "data-layer": layer, "aria-label": `fold or unfold layer ${layer}` })) text.setAttribute(name, value);
    text.addEventListener("click", toggle);
    text.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), toggle(event)));
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

  // Draw these edges; `alive`: by id of a component or slot, [edges in, edges out].
  draw(shown, alive) {
    this.shown = shown;
    this.curves = this.places.curves(shown);
    this.paint(this.base, shown);
    this.svg.classList.toggle("dense", shown.length > 600);
    const wires = shown.filter((i) => this.graph.readers[this.graph.edges.r[i]].shared);
    this.paintWiring(new Set(wires.map((i) => this.graph.edges.r[i])), alive);
    for (const [id, group] of this.nodes) {
      const counts = this.places.nodes.get(id).members.map((member) => alive.get(member)).filter(Boolean);
      const [into, out] = [0, 1].map((side) => counts.reduce((sum, one) => sum + one[side], 0));
      const layer = counts.length ? this.nodeLayer : this.ghosts; // behind the edges, what is not in the circuit
      if (group.parentNode !== layer) layer.append(group);
      group.classList.toggle("ghost", !counts.length);
      if (group.classList.contains("slot")) continue;
      group.setAttribute("tabindex", counts.length ? "0" : "-1");
      group.setAttribute("aria-label", counts.length ? `${id}: ${into} edges in, ${out} out` : `${id}: not in it`);
    }
  }

  paintWiring(slots, alive) {
    const lines = new Set();
    for (const r of slots) {
      const slot = this.places.at(this.graph.readers[r].id);
      if (slot?.kind !== "slot") continue;
      for (const owner of this.graph.readers[r].owners) {
        const id = this.graph.writers[owner], head = this.places.at(id);
        if (head && alive.has(id)) lines.add(`M${slot.x} ${slot.y + slot.height / 2}L${head.x} ${head.y - head.height / 2}`);
      }
    }
    this.wiring.replaceChildren();
    if (lines.size) this.make("path", this.wiring, { d: [...lines].join("") });
  }

  paint(layer, edges) {
    const buckets = new Map(), heads = new Map();
    const arrows = edges.length <= 600;
    for (const i of edges) {
      const points = this.curves.get(i);
      if (!points) continue;
      const share = this.graph.largest ? Math.sqrt(Math.abs(this.graph.edges.score[i]) / this.graph.largest) : EVEN;
      const kind = this.graph.kinds[i], level = Math.round(share * (LEVELS - 1));
      const key = `${level} ${kind} ${this.graph.opposes(i) ? "against" : "for"}`, path = pathOf(points);
      buckets.has(key) ? buckets.get(key).push(path) : buckets.set(key, [path]);
      if (arrows) heads.set(kind, (heads.get(kind) ?? "") + arrowhead(points, 3 + level * 0.35));
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
    const some = (id) => this.places.nodes.get(id).members.some((member) => ids.has(member));
    for (const [id, group] of this.nodes) group.classList.toggle("faded", edges !== null && !some(id));
  }

  mark(ids) {
    for (const [id, group] of this.nodes) group.classList.toggle("marked", this.places.nodes.get(id).members.some((member) => ids.has(member)));
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
    const { x, y, k } = (this.view = { ...view, k: Math.min(6, Math.max(LEAST_ZOOM, view.k)) });
    const { width, height } = this.size(), small = k * TEXT < LEAST_TEXT;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.root.setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
    this.svg.classList.toggle("small", small); // labels of nodes are left out, those of layers keep their size
    this.svg.style.setProperty("--layer-size", `${small ? (LEAST_TEXT + 0.1) / k : TEXT}px`);
    const [left, top, right, bottom] = this.places.box(this.ids ?? []);
    this.on.looked(x + k * left >= 0 && y + k * top >= 0 && x + k * right <= width && y + k * bottom <= height);
  }

  // What the whole picture takes: [left, top, width, height].
  extent() {
    const [left, top, right, bottom] = this.places.box(this.ids);
    return [left - 88, top - 14, right - left + 176, bottom - top + 48];
  }

  // All of it. If it has to be `readable` and its labels would be too small, its beginning, the rest being a drag away.
  fit(ids, readable) {
    this.ids = ids;
    const [left, top, w, h] = this.extent(), { width, height } = this.size();
    const k = Math.max(Math.min(width / w, height / h, 1.6), readable ? LEAST_TEXT / TEXT + 0.01 : LEAST_ZOOM);
    const x = w * k <= width + 1 ? (width - k * w) / 2 - k * left : width / 2 - k * this.places.middle;
    const y = h * k <= height + 1 ? (height - k * h) / 2 - k * top : 16 - k * top;
    this.look({ k, x, y });
  }

  // All of it for a page that is printed, as large as it is.
  whole(ids) {
    this.ids = ids;
    const [left, top, w, h] = this.extent();
    this.look({ k: 1, x: -left, y: -top });
    this.svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  }

  centre(x, y, least = 0.8) {
    const { width, height } = this.size(), k = Math.max(this.view.k, least);
    this.look({ k, x: width / 2 - k * x, y: height / 2 - k * y });
  }

  reveal(id) {
    const { x, y } = this.places.at(id), { width, height } = this.size();
    const [px, py] = [this.view.x + this.view.k * x, this.view.y + this.view.k * y];
    if (px < 0 || py < 0 || px > width || py > height) this.centre(x, y, this.view.k);
  }

  zoom(factor, at = null) {
    const { width, height } = this.size(), [px, py] = at ?? [width / 2, height / 2];
    const k = Math.min(6, Math.max(LEAST_ZOOM, this.view.k * factor)), ratio = k / this.view.k;
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
      const points = this.curves.get(i) ?? [];
      for (let at = 0; at + 8 <= points.length; at += 6) {
        const c = points.slice(at, at + 8);
        if (wy < Math.min(c[1], c[7]) - reach || wy > Math.max(c[1], c[7]) + reach) continue;
        if (wx < Math.min(c[0], c[2], c[4], c[6]) - reach || wx > Math.max(c[0], c[2], c[4], c[6]) + reach) continue;
        const distance = distanceTo(c, wx, wy);
        if (distance < nearest) (nearest = distance), (best = i);
      }
    }
    return best;
  }
}

function pathOf(points) {
  let path = `M${points[0]} ${points[1]}`;
  for (let at = 2; at < points.length; at += 6) path += `C${points.slice(at, at + 6).join(" ")}`;
  return path;
}

// A triangle at the end of a curve, in its direction.
function arrowhead(points, size) {
  const [x0, y0, x, y] = points.slice(-4), length = Math.hypot(x - x0, y - y0) || 1;
  const [dx, dy] = [(x - x0) / length, (y - y0) / length], [bx, by] = [x + dx - 2 * size * dx, y + dy - 2 * size * dy];
  const at = (px, py) => `${Math.round(10 * px) / 10} ${Math.round(10 * py) / 10}`;
  return `M${at(x + dx, y + dy)}L${at(bx - size * dy, by + size * dx)}L${at(bx + size * dy, by - size * dx)}z`;
}

// The middle of a path of several curves.
function middleOf(points) {
  const at = 6 * Math.floor((points.length - 2) / 12);
  return pointOn(points.slice(at, at + 8), (points.length - 2) / 6 % 2 ? 0.5 : 0);
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
