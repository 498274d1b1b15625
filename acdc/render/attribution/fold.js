// Which nodes have a box of their own, and which are folded: those of a layer at a token are one box, neighbouring layers
// without a node of their own one row, and of a prompt that is too long, neighbouring tokens one column. Pictures fold
// alike (see `folding.py`).

class Folding {
  // `count`: how many units, then remainders, have boxes of their own, the most influential first; `also`: further nodes
  // that have, by place; `columns`: whether tokens are folded too; `groups`: supernodes, names with sets of nodes.
  constructor({ nodes, links, groups }) {
    Object.assign(this, { nodes, links, count: 0, columns: false, also: new Set() });
    const place = new Map(nodes.map(({ id }, i) => [id, i]));
    const members = (ids) => new Set(ids.filter((id) => place.has(id)).map((id) => place.get(id)));
    this.groups = new Map(Object.entries(groups ?? {}).map(([name, ids]) => [name, members(ids)]));
    this.order = nodes.map((_, i) => i).filter((i) => !nodes[i].always);
    this.order.sort((a, b) => nodes[a].rest - nodes[b].rest || nodes[a].rank - nodes[b].rank);
    this.turn = new Map(this.order.map((i, turn) => [i, turn]));
    this.top = Math.max(...nodes.map(({ layer }) => layer));
    this.last = Math.max(...nodes.map(({ position }) => position));
  }

  groupOf(i) {
    for (const [name, members] of this.groups) if (members.has(i)) return name;
    return null;
  }

  // {boxes, of, rows, columns}: of each node the number of its box; rows and columns as [first, last].
  fold() {
    const { nodes, order } = this, names = nodes.map((_, i) => this.groupOf(i));
    const single = new Set(order.filter((i) => names[i] !== null || this.turn.get(i) < this.count || this.also.has(i)));
    const on = (key, which) => new Set([...which].map((i) => nodes[i][key]));
    const rows = [[-1, -1], ...runs(on("layer", order), on("layer", single)), [this.top, this.top]];
    const tokens = [...Array(this.last + 1).keys()], open = [...this.also].filter((i) => nodes[i].always);
    const columns = runs(tokens, this.columns ? new Set([...on("position", [...single, ...open]), this.last]) : new Set(tokens));
    const cells = new Map();
    nodes.forEach((node, i) => {
      const row = within(rows, node.layer), column = node.position < 0 ? -1 : within(columns, node.position);
      const alone = node.always ? column < 0 || node.layer === this.top || columns[column][0] === columns[column][1] : single.has(i);
      const key = names[i] !== null ? `group:${names[i]}` : alone ? node.id : `folded:${row}@${column}`;
      if (!cells.has(key)) cells.set(key, { key, name: names[i], folded: false, members: [], row, column });
      const cell = cells.get(key), before = nodes[cell.members.at(-1)];
      cell.members.push(i);
      if (before && (node.layer > before.layer || (node.layer === before.layer && node.position > before.position))) Object.assign(cell, { row, column });
    });
    const boxes = [...cells.values()], of = Array(nodes.length);
    boxes.forEach((box, b) => {
      box.folded = box.name === null && box.members.length > 1;
      for (const i of box.members) of[i] = b;
    });
    return { boxes, of, rows, columns };
  }

  // Links between boxes, summed up, those of most influence first.
  between({ of }) {
    const { source, target, weight, influence } = this.links, found = new Map();
    for (let l = 0; l < source.length; l++) {
      const from = of[source[l]], to = of[target[l]];
      if (from === to) continue;
      const key = from * of.length + to, link = found.get(key) ?? { from, to, weight: 0, influence: 0 };
      link.weight += weight[l];
      link.influence += influence[l];
      found.set(key, link);
    }
    return [...found.values()].sort((a, b) => b.influence - a.influence || a.from - b.from || a.to - b.to);
  }
}

function runs(all, own) {
  const found = [];
  let alone = true;
  for (const number of [...new Set(all)].sort((a, b) => a - b)) {
    if (own.has(number) || alone) found.push([number, number]);
    else found.at(-1)[1] = number;
    alone = own.has(number);
  }
  return found;
}

const within = (runs, number) => runs.findIndex(([first, last]) => first <= number && number <= last);
const span = ([first, last]) => (first === last ? `${first}` : `${first} to ${last}`);
