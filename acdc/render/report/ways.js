// How edges get past the nodes between their ends: as one curve, or where a node stands in the way, as joined curves
// through the gaps beside nodes. Edges of one writer run in one lane. The same as Python's acdc.render.ways.

const CLEAR = 4, PASSING = 4, APART = 3, CURVE_STEPS = 16;

class Ways {
  // `boxes`: {x, y, width, height}, which stand in rows.
  constructor(boxes) {
    this.rows = new Map();
    for (const { x, y, width, height } of boxes) {
      if (!this.rows.has(y)) this.rows.set(y, { half: 0, taken: [] });
      const row = this.rows.get(y);
      row.taken.push([x - width / 2 - CLEAR, x + width / 2 + CLEAR]);
      row.half = Math.max(row.half, height / 2);
    }
    for (const row of this.rows.values()) row.taken = merged(row.taken.sort((a, b) => a[0] - b[0]));
    this.ys = [...this.rows.keys()].sort((a, b) => a - b);
  }

  // `ways`: {owner, start: [x, y], end: [x, y]}, downwards; of each, 3 n + 1 points one after the other.
  curves(ways) {
    const found = ways.map((way) => this.passages(way.start, way.end)), beside = new Map();
    const order = ways.map((_, i) => i).sort((a, b) => ways[a].start[0] - ways[b].start[0] || ways[a].start[1] - ways[b].start[1]);
    for (const i of order)
      for (const { key } of found[i]) {
        if (!beside.has(key)) beside.set(key, new Map());
        const lanes = beside.get(key);
        if (!lanes.has(ways[i].owner)) lanes.set(ways[i].owner, lanes.size);
      }
    return ways.map((way, i) => {
      const stops = [way.start];
      for (const passage of found[i]) {
        const lanes = beside.get(passage.key), apart = Math.min(APART, passage.room / 2 / lanes.size);
        const x = passage.x + passage.side * apart * lanes.get(way.owner);
        stops.push(...this.past(passage.y).map((y) => [x, y]));
      }
      return this.joined([...stops, way.end]);
    });
  }

  // Curves from stop to stop; a lane that leads one into another node gets round that too.
  joined(stops) {
    const points = [...stops[0]];
    stops.slice(1).forEach((stop, place) => {
      const more = this.passages(stops[place], stop).flatMap(({ x, y }) => this.past(y).map((at) => [x, at]));
      for (const next of [...more, stop]) points.push(...bent(points.slice(-2), next));
    });
    return points;
  }

  // None where one curve meets no node; else past the node that is most in the way, and before and after it.
  passages(start, end, depth = 0) {
    let worst = null, most = 0;
    for (const y of this.ys) {
      if (y <= start[1] || y >= end[1]) continue;
      const { half } = this.rows.get(y), passage = this.beside(y, across(start, end, y - half), across(start, end, y + half));
      if (passage && passage.shift >= most) (most = passage.shift), (worst = passage);
    }
    if (!worst || depth > 40) return [];
    const [above, below] = this.past(worst.y);
    return [...this.passages(start, [worst.x, above], depth + 1), worst, ...this.passages([worst.x, below], end, depth + 1)];
  }

  past(y) {
    const half = this.rows.get(y).half + PASSING;
    return [y - half, y + half];
  }

  // The passage in a row nearest to a line between two places; null where no node is between them.
  beside(y, first, last) {
    const { taken } = this.rows.get(y), low = Math.min(first, last), high = Math.max(first, last), middle = (first + last) / 2;
    let nearest = null;
    taken.forEach(([left, right], place) => {
      if (right <= low || left >= high) return;
      const before = place ? left - taken[place - 1][1] : Infinity, after = place + 1 < taken.length ? taken[place + 1][0] - right : Infinity;
      for (const [x, side, room] of [[left, -1, before], [right, 1, after]]) {
        const shift = Math.abs(x - middle);
        if (!nearest || shift < nearest.shift) nearest = { key: `${y} ${x} ${side}`, y, x, side, room, shift };
      }
    });
    return nearest;
  }
}

// Intervals in their order, those that leave no room between them as one.
function merged(intervals) {
  const found = [];
  for (const [left, right] of intervals) {
    const last = found.at(-1);
    if (last && left <= last[1] + 1) last[1] = Math.max(last[1], right);
    else found.push([left, right]);
  }
  return found;
}

// The last three points of a curve that leaves downwards and arrives downwards.
function bent([x1, y1], [x2, y2]) {
  const middle = (y1 + y2) / 2;
  return [x1, middle, x2, middle, x2, y2];
}

// How far across such a curve is at a height.
function across([x1, y1], [x2, y2], y) {
  const down = Math.min(1, Math.max(0, (y - y1) / (y2 - y1)));
  let low = 0, high = 1;
  for (let step = 0; step < CURVE_STEPS; step++) {
    const t = (low + high) / 2;
    if (1.5 * t * (1 - t) + t ** 3 < down) low = t;
    else high = t;
  }
  return x1 + (x2 - x1) * (3 * low ** 2 - 2 * low ** 3);
}
