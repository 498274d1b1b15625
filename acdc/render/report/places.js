// One fixed place for each component, so that no threshold moves one: layers from the embeddings down, heads in columns
// by their number, the MLP of a layer below its heads at their right; above them the slots that several heads share.

const NODE = { width: 62, height: 24 }, SLOT = { width: 42, height: 17 }, DEEP = 6;

class Places {
  constructor(graph) {
    this.graph = graph;
    this.nodes = new Map();
    const used = this.used();
    const layers = [...new Set(used.map(layerOf).filter((layer) => layer >= 0))].sort((a, b) => a - b);
    const heads = [...new Set(used.map(headOf).filter((head) => head >= 0))].sort((a, b) => a - b);
    this.deep = layers.length > DEEP; // then a layer takes less room downwards
    this.pitch = Math.min(130, Math.max(76, 1100 / (heads.length + 1)));
    this.middle = (heads.length * this.pitch) / 2;
    this.grouped = graph.readers.some(({ shared }) => shared);
    this.put(used.filter((id) => layerOf(id) < 0 && id !== "logits"), 0, "embedding");
    const bottom = this.putLayers(used, layers, heads);
    this.add("logits", "logits", "logits", this.middle, bottom, 140, 24);
    this.curves = Array.from({ length: graph.count }, (_, i) => this.curve(i));
    this.paths = this.curves.map((c) => `M${c[0]} ${c[1]}C${c[2]} ${c[3]} ${c[4]} ${c[5]} ${c[6]} ${c[7]}`);
  }

  used() {
    const { graph } = this, found = new Set();
    graph.edges.w.forEach((w) => found.add(graph.writers[w]));
    graph.edges.r.forEach((r) => graph.readers[r].owners.forEach((owner) => found.add(graph.writers[owner])));
    return graph.writers.filter((id) => found.has(id));
  }

  putLayers(used, layers, heads) {
    let y = 70;
    this.bands = [];
    for (const layer of layers) {
      const top = y - 26, own = used.filter((id) => layerOf(id) === layer);
      const attention = own.filter((id) => headOf(id) >= 0), mlp = own.find((id) => headOf(id) < 0);
      if (attention.length) {
        if (this.grouped) this.putSlots(layer, heads, y), (y += 36);
        for (const id of attention) this.add(id, id, "attention", heads.indexOf(headOf(id)) * this.pitch, y);
        y += this.deep ? 27 : 48;
      }
      if (mlp) this.add(mlp, mlp, "mlp", heads.length * this.pitch, y), (y += this.deep ? 26 : 44);
      this.bands.push({ layer, top, bottom: y - (this.deep ? 4 : 8) });
      y += this.deep ? 24 : 28;
    }
    return y;
  }

  putSlots(layer, heads, y) {
    const { graph } = this;
    const read = new Set(graph.edges.r);
    graph.readers.forEach(({ id, kind, owners, shared }, r) => {
      if (!shared || !read.has(r) || layerOf(id) !== layer) return;
      const at = owners.map((owner) => heads.indexOf(headOf(graph.writers[owner])) * this.pitch);
      const middle = (Math.min(...at) + Math.max(...at)) / 2 + (kind === "k" ? -24 : 24);
      this.add(id, `kv${/kv(\d+)/.exec(id)[1]} ${kind}`, "slot", middle, y, SLOT.width, SLOT.height);
    });
  }

  put(ids, y, kind) {
    ids.forEach((id, i) => this.add(id, id, kind, this.middle + (i - (ids.length - 1) / 2) * 100, y, 84, 24));
  }

  add(id, label, kind, x, y, width = NODE.width, height = NODE.height) {
    this.nodes.set(id, { id, label, kind, x, y, width, height });
  }

  // Where an edge ends: queries, keys and values of a head apart, others by where they come from.
  port(reader, from) {
    if (reader.shared) return this.nodes.get(reader.id);
    const node = this.nodes.get(reader.owners.length ? this.graph.writers[reader.owners[0]] : "logits");
    const share = { q: -0.3, k: 0, v: 0.3 }[reader.kind];
    const shift = share ?? Math.max(-0.4, Math.min(0.4, (from.x - node.x) / (4 * this.pitch)));
    return { x: node.x + shift * node.width, y: node.y, height: node.height };
  }

  curve(i) {
    const { graph } = this, from = this.nodes.get(graph.writers[graph.edges.w[i]]);
    const to = this.port(graph.readers[graph.edges.r[i]], from);
    const x1 = from.x, y1 = from.y + from.height / 2, x2 = to.x, y2 = to.y - to.height / 2 - 1;
    const drop = y2 - y1, aside = Math.abs(x2 - x1) < from.width && drop > 80 ? Math.min(46, 16 + drop / 14) : 0;
    const side = x2 >= x1 ? aside : -aside, bend = Math.max(14, drop * 0.42);
    return [x1, y1, x1 + side, y1 + bend, x2 + side, y2 - bend, x2, y2].map((value) => Math.round(value * 10) / 10);
  }

  // The box around some nodes: [left, top, right, bottom].
  box(ids) {
    const found = ids.map((id) => this.nodes.get(id)).filter(Boolean);
    const some = found.length ? found : [...this.nodes.values()];
    return [
      Math.min(...some.map((n) => n.x - n.width / 2)),
      Math.min(...some.map((n) => n.y - n.height / 2)),
      Math.max(...some.map((n) => n.x + n.width / 2)),
      Math.max(...some.map((n) => n.y + n.height / 2)),
    ];
  }
}

function headOf(id) {
  const found = /\.h(\d+)$/.exec(id);
  return found ? Number(found[1]) : -1;
}
