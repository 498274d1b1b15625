// The candidate edges between components, and which of them a threshold keeps: the same as Python's
// ComponentGraph.prune, with key and value slots that several heads share, and with wires that can be cut.

class Graph {
  constructor(data) {
    this.data = data;
    this.writers = data.writers;
    this.readers = data.readers.map(([id, kind, owners, shared]) => ({ id, kind, owners, shared }));
    this.edges = Graph.columns(data.edges);
    this.wires = Graph.columns(data.wires);
    this.count = this.edges.w.length;
    this.kinds = Array.from(this.edges.r, (r) => this.readers[r].kind);
    this.names = Array.from(this.edges.w, (w, i) => `${this.writers[w]}->${this.readers[this.edges.r[i]].id}`);
    this.largest = data.scored ? this.edges.score.reduce((most, score) => Math.max(most, Math.abs(score)), 0) : 0;
  }

  static columns({ w, r, score, size, own }) {
    const chosen = new Uint8Array(w.length);
    for (const i of own) chosen[i] = 1;
    const sizes = Float64Array.from(size ?? score, (value) => (size ? value : Math.abs(value)));
    return { w: Int32Array.from(w), r: Int32Array.from(r), score, size: sizes, own: chosen };
  }

  // What a threshold keeps after pruning; null: the circuit as it was found.
  kept(threshold) {
    const choose = ({ own, size }) =>
      threshold === null ? Uint8Array.from(own) : Uint8Array.from(size, (value) => (value >= threshold ? 1 : 0));
    const edges = choose(this.edges), wires = choose(this.wires);
    const before = Uint8Array.from(edges);
    const selected = edges.reduce((sum, on) => sum + on, 0) + wires.reduce((sum, on) => sum + on, 0);
    this.prune(edges, wires);
    return { edges, wires, selected, before };
  }

  // Drop dangling parts, in place, until nothing more dangles.
  prune(edges, wires) {
    for (let changed = true; changed; ) {
      changed = false;
      const connected = this.connected(wires);
      const hasEdge = new Uint8Array(this.readers.length), hasOutput = new Uint8Array(this.writers.length);
      edges.forEach((on, i) => {
        if (on) hasEdge[this.edges.r[i]] = hasOutput[this.edges.w[i]] = 1;
      });
      const hasInput = new Uint8Array(this.writers.length).fill(1, 0, this.data.embeddings);
      const useful = new Uint8Array(this.readers.length);
      this.readers.forEach(({ owners }, r) => {
        useful[r] = owners.length === 0 ? 1 : 0;
        owners.forEach((owner, place) => {
          if (!connected[r][place]) return;
          if (hasEdge[r]) hasInput[owner] = 1;
          if (hasOutput[owner]) useful[r] = 1;
        });
      });
      edges.forEach((on, i) => {
        if (on && !(hasInput[this.edges.w[i]] && useful[this.edges.r[i]])) edges[i] = 0, (changed = true);
      });
      wires.forEach((on, i) => {
        if (on && !(hasEdge[this.wires.r[i]] && hasOutput[this.wires.w[i]])) wires[i] = 0, (changed = true);
      });
    }
  }

  // By reader, whether each of its owners uses it: all do, unless wires can be cut.
  connected(wires) {
    const cut = this.data.directEdges;
    const found = this.readers.map(({ kind, owners }) => new Uint8Array(owners.length).fill(cut && kind !== "mlp" ? 0 : 1));
    wires.forEach((on, i) => {
      const r = this.wires.r[i];
      if (on) found[r][this.readers[r].owners.indexOf(this.wires.w[i])] = 1;
    });
    return found;
  }

  // Where a threshold can stand, from one that keeps the least: each different size, or of many some 300, evenly by
  // the logarithm of how many edges there are.
  stops() {
    const every = [...this.edges.size, ...this.wires.size].filter((size) => size >= this.data.floor);
    const sizes = [...new Set(every)].sort((a, b) => b - a);
    if (sizes.length <= 400) return sizes;
    const places = new Set();
    for (let step = 0; step <= 300; step++) places.add(Math.round(sizes.length ** (step / 300)) - 1);
    return [...places].sort((a, b) => a - b).map((place) => sizes[place]);
  }

  // How strong an edge is: its |score|, or where edges have none, what the weaker of the components at its ends has.
  strength(i) {
    return this.data.scored ? Math.abs(this.edges.score[i]) : this.edges.size[i];
  }

  // The strongest so many of some edges.
  strongest(edges, count) {
    return edges.length <= count ? edges : [...edges].sort((a, b) => this.strength(b) - this.strength(a) || a - b).slice(0, count);
  }

  // Whether an edge works against the behaviour: ablating it alone makes the metric better.
  opposes(i) {
    return this.data.effects && this.data.scored && this.data.sign * this.edges.score[i] < 0;
  }

  // All on paths through shown edges into a component and out of it: sets of edges and of writers. -1: the logits.
  trace(shown, connected, component) {
    const into = new Map(), outOf = new Map();
    const add = (map, key, value) => (map.has(key) ? map.get(key).push(value) : map.set(key, [value]));
    for (const i of shown) {
      const { owners } = this.readers[this.edges.r[i]], r = this.edges.r[i];
      add(outOf, this.edges.w[i], i);
      if (owners.length === 0) add(into, -1, i);
      owners.forEach((owner, place) => connected[r][place] && add(into, owner, i));
    }
    const edges = new Set(), components = new Set([component]);
    const walk = (map, next) => {
      const seen = new Set([component]), open = [component];
      while (open.length) {
        for (const i of map.get(open.pop()) ?? []) {
          edges.add(i);
          for (const other of next(i)) {
            if (seen.has(other)) continue;
            seen.add(other), components.add(other), open.push(other);
          }
        }
      }
    };
    walk(into, (i) => [this.edges.w[i]]);
    walk(outOf, (i) => {
      const r = this.edges.r[i], { owners } = this.readers[r];
      return owners.length === 0 ? [-1] : owners.filter((owner, place) => connected[r][place] && (owners.length === 1 || outOf.has(owner)));
    });
    return { edges, components };
  }

  // Of all paths through shown edges from the embeddings to the logits, so many of the strongest, each a list of edges.
  // A path is as strong as its weakest edge; of equals, the second weakest decides, and so on.
  strongestPaths(shown, connected, count) {
    const size = (i) => this.strength(i), into = new Map();
    const best = this.writers.map((_, w) => (w < this.data.embeddings ? [{ sizes: [], edges: [] }] : []));
    for (const i of shown) {
      const r = this.edges.r[i], { owners } = this.readers[r];
      const targets = owners.length ? owners.filter((_, place) => connected[r][place]) : [-1];
      for (const target of targets) into.has(target) ? into.get(target).push(i) : into.set(target, [i]);
    }
    const through = (target) => {
      const found = [];
      for (const i of into.get(target) ?? [])
        for (const { sizes, edges } of best[this.edges.w[i]])
          found.push({ sizes: [...sizes, size(i)].sort((a, b) => a - b), edges: [...edges, i] });
      return found.sort(byWeakest).slice(0, count);
    };
    for (let w = this.data.embeddings; w < this.writers.length; w++) best[w] = through(w);
    return through(-1).map(({ edges }) => edges);
  }
}

function byWeakest(a, b) {
  for (let place = 0; place < Math.max(a.sizes.length, b.sizes.length); place++) {
    const [x, y] = [a.sizes[place] ?? Infinity, b.sizes[place] ?? Infinity];
    if (x !== y) return y - x;
  }
  return a.edges.length - b.edges.length;
}

function layerOf(id) {
  const found = /^[am](\d+)/.exec(id);
  return found ? Number(found[1]) : -1;
}
