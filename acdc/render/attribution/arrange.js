// Where boxes stand: tokens below, layers upwards, logits on top, a column for each token; boxes of one place side by
// side, in several lines where that makes the picture fit.

const HEIGHT = 18, GAP = 4, LEFT = 78, LETTER = 6.6, IN_LINE = [Infinity, 16, 10, 7, 5, 3], FONT = 11, LEAST = 10.2 / FONT;

class Arrangement {
  // `room`: width and height that it is to fit in; `text` of a box, and its `order` in its place.
  constructor(folded, room, text, orderOf) {
    const cells = new Map();
    folded.boxes.forEach((box, b) => {
      const key = `${box.row} ${box.column}`;
      if (!cells.has(key)) cells.set(key, { row: box.row, column: box.column, items: [] });
      cells.get(key).items.push({ b, order: orderOf(box), width: Math.max(32, 12 + LETTER * text(box).length) });
    });
    for (const { items } of cells.values()) items.sort((x, y) => x.order - y.order || x.b - y.b);
    const found = IN_LINE.map((most) => place(cells, folded, room, most));
    Object.assign(this, found.reduce((best, one) => (one.scale > best.scale + 1e-9 ? one : best)));
  }

  get fits() {
    return this.scale >= LEAST;
  }
}

function place(cells, { boxes, rows, columns }, room, most) {
  const lines = [...cells.values()].map((cell) => ({ ...cell, lines: inLines(cell.items, most) }));
  const widths = [...Array(columns.length + 1).keys()].map((c) => Math.max(24, ...lines.filter(({ column }) => column === c - 1).flatMap((cell) => cell.lines.map(extent))));
  const between = Math.min(60, Math.max(10, (room.width - LEFT - widths.reduce((a, b) => a + b)) / widths.length));
  const lefts = widths.map((_, c) => LEFT + widths.slice(0, c).reduce((a, b) => a + b + between, 0));
  const tall = rows.map((_, r) => Math.max(1, ...lines.filter(({ row }) => row === r).map((cell) => cell.lines.length)) * (HEIGHT + GAP) - GAP);
  const gap = Math.min(26, Math.max(6, (room.height - tall.reduce((a, b) => a + b)) / rows.length));
  const tops = rows.map((_, r) => tall.slice(r + 1).reduce((a, b) => a + b + gap, 0)), at = Array(boxes.length);
  for (const cell of lines) {
    cell.lines.forEach((line, l) => {
      let x = lefts[cell.column + 1] + (widths[cell.column + 1] - extent(line)) / 2;
      const y = tops[cell.row] + l * (HEIGHT + GAP) + HEIGHT / 2;
      for (const { b, width } of line) (at[b] = { x: x + width / 2, y, width }), (x += width + GAP);
    });
  }
  const width = lefts.at(-1) + widths.at(-1), height = tops[0] + tall[0];
  return { at, width, height, rows: tops.map((top) => top + HEIGHT / 2), scale: Math.min(room.width / width, room.height / height) };
}

function inLines(items, most) {
  const size = Math.min(most, items.length);
  return Array.from({ length: Math.ceil(items.length / size) }, (_, l) => items.slice(l * size, (l + 1) * size));
}

const extent = (line) => line.reduce((sum, { width }) => sum + width + GAP, -GAP);
