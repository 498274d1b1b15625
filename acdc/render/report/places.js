// Where components stand: layers from the embeddings down, the heads of a layer left and its MLP at the right and below
// them; above heads the slots that several of them share.
//
// In a model of few layers each component has a fixed place, so that no threshold moves one. In a deep one only what is
// shown takes room, and neighbouring layers without a part are one thin band that says how many they are.

const NODE = { width: 62, height: 24 }, SLOT = { width: 44, height: 20 }, DEEP = 6, SPACE = 14, BAND = 20;

class Places {
  // `alive`: ids of the components and slots that are shown; `fold`: what is drawn as one node, see `Folding`.
  constructor(graph, alive, fold) {
    Object.assign(this, { graph, fold, nodes: new Map(), of: new Map(), bands: [] });
    this.deep = Places.isDeep(graph);
    const used = this.used(alive);
    const heads = [...new Set(used.map(headOf).filter((head) => head >= 0))].sort((a, b) => a - b);
    this.columns = new Map(heads.map((head, place) => [head, place]));
    this.pitch = this.deep ? NODE.width + SPACE : Math.min(130, Math.max(76, 1100 / (heads.length + 1)));
    this.grouped = graph.readers.some(({ shared }) => shared);
    const layers = this.layersOf(used, alive);
    this.width = Math.max(2 * this.pitch, ...layers.map(({ cells }) => extent(cells)));
    this.middle = this.deep ? 0 : (heads.length * this.pitch) / 2;
    this.put(used.filter((id) => layerOf(id) < 0), 0);
    const bottom = this.putLayers(layers);
    this.add("logits", "logits", "logits", this.middle, bottom, this.deep ? Math.max(140, this.width) : 140);
  }

  static isDeep(graph) {
    return Math.max(...graph.writers.map(layerOf)) >= DEEP;
  }

  used(alive) {
    const { graph } = this, found = new Set();
    graph.edges.w.forEach((w) => found.add(graph.writers[w]));
    graph.edges.r.forEach((r) => graph.readers[r].owners.forEach((owner) => found.add(graph.writers[owner])));
    return graph.writers.filter((id) => (this.deep ? alive.has(id) : found.has(id)));
  }

  // By layer that has a part: its nodes in cells, a cell for the heads of each KV group, in their order.
  layersOf(used, alive) {
    const read = new Set(this.graph.edges.r);
    const slots = this.graph.readers.filter(({ id, shared }, r) => shared && (this.deep ? alive.has(id) : read.has(r)));
    return [...new Set(used.map(layerOf).filter((layer) => layer >= 0))].sort((a, b) => a - b).map((layer) => {
      const own = used.filter((id) => layerOf(id) === layer), above = slots.filter(({ id }) => layerOf(id) === layer);
      const cells = new Map();
      for (const id of own.filter((id) => headOf(id) >= 0)) {
        const group = this.fold.of(id), slot = above.find(({ owners }) => owners.some((owner) => this.graph.writers[owner] === id));
        const key = slot ? slotGroup(slot.id) : this.deep ? "" : id;
        if (!cells.has(key)) cells.set(key, { nodes: new Map(), slots: [] });
        const { nodes } = cells.get(key);
        nodes.set(group.id, { ...group, members: [...(nodes.get(group.id)?.members ?? []), id] });
      }
      for (const slot of above) if (!this.fold.hidesSlots(layer)) cells.get(slotGroup(slot.id))?.slots.push(slot.id);
      return { layer, cells: [...cells.values()], mlp: own.find((id) => headOf(id) < 0), slots: above.map(({ id }) => id) };
    });
  }

  putLayers(layers) {
    let y = 70, next = 0;
    const last = Math.max(...this.graph.writers.map(layerOf));
    const skip = (layer) => {
      if (this.deep && layer > next) {
        const count = layer - next, which = count === 1 ? `layer ${next}` : `layers ${next} to ${layer - 1}`;
        this.bands.push({ top: y - 26, bottom: y - 26 + BAND - 6, label: `${count} ${count === 1 ? "layer" : "layers"} without a part: ${which}`, empty: true });
        y += BAND + 4;
      }
      next = layer + 1;
    };
    for (const one of layers) {
      skip(one.layer);
      const top = y - 26;
      y = this.fold.folds(one.layer) ? this.putFolded(one, y) : this.putLayer(one, y);
      this.bands.push({ layer: one.layer, top, bottom: y - (this.deep ? 14 : 8), label: `layer ${one.layer}` });
      y += this.deep ? 14 : 28;
    }
    if (layers.length) skip(last + 1);
    return y;
  }

  putLayer({ cells, mlp, layer }, y) {
    const slots = this.deep ? cells.some(({ slots }) => slots.length) : this.grouped && cells.length;
    if (slots) y += this.deep ? 38 : 36;
    let x = this.middle - extent(cells) / 2;
    for (const cell of cells) {
      const width = cellWidth(cell), nodes = [...cell.nodes.values()];
      let left = x + (width - headsWidth(nodes)) / 2;
      for (const node of nodes) {
        const at = this.deep ? left + node.width / 2 : this.columns.get(headOf(node.members[0])) * this.pitch;
        this.add(node.id, node.label, "attention", at, y, node.width, NODE.height, node.members);
        left += node.width + SPACE;
      }
      const middle = nodes.reduce((sum, { id }) => sum + this.nodes.get(id).x, 0) / Math.max(1, nodes.length);
      cell.slots.forEach((id) => this.addSlot(id, middle, y - 36));
      x += width + SPACE;
    }
    if (cells.length) y += this.deep ? 38 : 48;
    const right = this.deep ? this.width / 2 + 56 : this.columns.size * this.pitch;
    if (mlp) this.add(mlp, this.fold.label(mlp), "mlp", right, y, this.fold.width(mlp), NODE.height), (y += this.deep ? 38 : 44);
    return y;
  }

  // A whole layer as one node.
  putFolded({ layer, cells, mlp, slots }, y) {
    const members = [...cells.flatMap(({ nodes }) => [...nodes.values()].flatMap((node) => node.members)), ...(mlp ? [mlp] : [])];
    const id = `layer ${layer}`;
    this.add(id, `layer ${layer}: ${members.length}`, "layer", this.middle, y, 110, NODE.height, members);
    for (const slot of slots) this.of.set(slot, id);
    return y + 38;
  }

  addSlot(id, middle, y) {
    const kind = id.slice(-2, -1);
    this.add(id, slotName(id), "slot", middle + (kind === "k" ? -24 : 24), y, SLOT.width, SLOT.height);
  }

  put(ids, y) {
    ids.forEach((id, i) => this.add(id, id, "embedding", this.middle + (i - (ids.length - 1) / 2) * 100, y, 84));
  }

  add(id, label, kind, x, y, width = NODE.width, height = NODE.height, members = [id]) {
    this.nodes.set(id, { id, label, kind, x, y, width, height, members });
    for (const member of members) this.of.set(member, id);
  }

  // The node that a component or slot is drawn in.
  at(id) {
    return this.nodes.get(this.of.get(id) ?? id);
  }

  // Where an edge ends: queries, keys and values of a head apart, others by where they come from. A slot that is not
  // drawn lies in the node of its heads.
  port(reader, from) {
    const slot = reader.shared && this.at(reader.id);
    if (slot && slot.kind === "slot") return { ...slot, node: slot };
    const owner = reader.owners.map((owner) => this.at(this.graph.writers[owner])).find(Boolean);
    const node = owner ?? this.nodes.get("logits"), reach = node.width / 2 - 10;
    const share = { q: -0.3, k: 0, v: 0.3 }[reader.kind];
    const wide = node.kind === "logits" && this.deep;
    const shift = share !== undefined ? share * node.width : wide ? Math.max(-reach, Math.min(reach, from.x - node.x)) : Math.max(-0.4, Math.min(0.4, (from.x - node.x) / (4 * this.pitch))) * node.width;
    return { x: node.x + shift, y: node.y, height: node.height, width: node.width, node };
  }

  // Curves of some edges by their index: 3 n + 1 points each, none for an edge inside one node.
  curves(edges) {
    const { graph } = this, found = new Map(), ways = [];
    for (const i of edges) {
      const from = this.at(graph.writers[graph.edges.w[i]]), to = this.port(graph.readers[graph.edges.r[i]], from);
      if (from === to.node) continue;
      if (from.kind === "mlp" && to.node.kind === "mlp") found.set(i, arc(from, to.node));
      else ways.push({ i, owner: from.id, start: [from.x, from.y + from.height / 2], end: [to.x, to.y - to.height / 2 - 1] });
    }
    const alive = new Set(edges.flatMap((i) => [this.at(graph.writers[graph.edges.w[i]]), this.port(graph.readers[graph.edges.r[i]], { x: 0 }).node]));
    const routed = new Ways([...alive].filter(Boolean)).curves(ways);
    ways.forEach(({ i }, place) => found.set(i, routed[place].map((value) => Math.round(value * 10) / 10)));
    return found;
  }

  // The box around some nodes: [left, top, right, bottom].
  box(ids) {
    const found = ids.map((id) => this.at(id)).filter(Boolean);
    const some = found.length ? found : [...this.nodes.values()], mlps = some.filter(({ kind }) => kind === "mlp").map(({ y }) => y);
    const room = this.deep && mlps.length ? 0.75 * outwards(Math.max(...mlps) - Math.min(...mlps)) : 0; // of arcs
    return [
      Math.min(...some.map((n) => n.x - n.width / 2)),
      Math.min(...some.map((n) => n.y - n.height / 2)),
      Math.max(...some.map((n) => n.x + n.width / 2 + (n.kind === "mlp" ? room : 0))),
      Math.max(...some.map((n) => n.y + n.height / 2)),
    ];
  }
}

// What is drawn as one node: heads by themselves, by KV group or by role, and layers, all or some.
class Folding {
  constructor(graph, roles, names) {
    Object.assign(this, { mode: "none", roles, names, layers: new Set(), open: new Set() });
    this.groups = new Map();
    for (const { id, owners, shared } of graph.readers) if (shared) for (const owner of owners) this.groups.set(graph.writers[owner], slotGroup(id));
  }

  folds(layer) {
    return (this.mode === "layer") !== this.layers.has(layer);
  }

  // Slots are part of a folded KV group or layer.
  hidesSlots(layer) {
    return this.mode === "kv" || this.folds(layer);
  }

  // The node that a head is in; `open`: groups that are unfolded by themselves.
  of(id) {
    const role = this.roles[id], group = this.mode === "kv" ? this.groups.get(id) : this.mode === "role" && role ? `a${layerOf(id)} ${role}` : null;
    if (!group || this.open.has(group)) return { id, label: this.label(id), width: this.width(id) };
    return { id: group, label: group, width: 20 + 7.2 * group.length };
  }

  // What a component is called: the name that a reader gave it, else its id.
  label(id) {
    return this.names[id] ?? id;
  }

  width(id) {
    return id in this.names ? Math.max(NODE.width, 20 + 7.2 * this.names[id].length) : NODE.width;
  }

  set(mode) {
    Object.assign(this, { mode, layers: new Set(), open: new Set() });
  }

  toggle(layer) {
    this.layers[this.layers.has(layer) ? "delete" : "add"](layer);
  }
}

// Beside the column of MLPs, further out the longer it is, so that no two lie on each other.
function arc(from, to) {
  const [x1, x2] = [from.x + from.width / 2, to.x + to.width / 2], out = outwards(to.y - from.y);
  return [x1, from.y, x1 + out, from.y + 6, x2 + out, to.y - 6, x2 + 1, to.y];
}

function outwards(drop) {
  return 14 + 0.12 * drop;
}

function cellWidth({ nodes, slots }) {
  return Math.max(headsWidth([...nodes.values()]), slots.length > 1 ? 2 * SLOT.width + 8 : 0);
}

function headsWidth(nodes) {
  return nodes.reduce((sum, { width }) => sum + width + SPACE, -SPACE);
}

function extent(cells) {
  return cells.reduce((sum, cell) => sum + cellWidth(cell) + SPACE, -SPACE);
}

// What is written on it.
function slotName(id) {
  return `kv${/kv(\d+)/.exec(id)[1]} ${id.slice(-2, -1)}`;
}

function slotGroup(id) {
  return id.replace(/<.>$/, "");
}

function headOf(id) {
  const found = /\.h(\d+)$/.exec(id);
  return found ? Number(found[1]) : -1;
}
