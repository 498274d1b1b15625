// The logit lens of example rows: the likeliest next token at every position, after every layer that was read.

function depthName(lens, place) {
  const depth = lens.depths[place];
  return depth === 0 ? "embeddings" : `after layer ${depth - 1}`;
}

// The place among the depths that were read of the one that is closest.
function nearestDepth(lens, depth) {
  const away = lens.depths.map((read) => Math.abs(read - depth));
  return away.indexOf(Math.min(...away));
}

const inPercent = (thousandths) => `${(thousandths / 10).toFixed(1)}%`;

function lensToken(lens, token) {
  const text = lens.tokens[token];
  return make("span", { class: lens.correct.includes(text) ? "token right" : "token" }, text);
}

// What it says at the answer, as elements.
function lensSaid(lens, place) {
  return [lensToken(lens, lens.top[place][lens.answer]), ` ${inPercent(lens.shares[place][lens.answer])}`];
}

class LensTable {
  constructor(row) {
    const { lens } = row;
    Object.assign(this, { row, lens });
    this.note = make("p", { class: "quiet pair-note", role: "status" });
    const heading = row.tokens.map((token, at) => make("th", { scope: "col" }, make("span", { class: `token${at === lens.answer ? " last" : ""}` }, token.replaceAll("\n", "\u23ce"))));
    const head = make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "depth" }, "residual stream"), ...heading, make("th", { scope: "col", class: "right-share" }, lens.said)));
    const body = make("tbody", {}, ...lens.depths.map((_, place) => this.line(place)));
    this.holder = make("div", { class: "scroll lens-table", tabindex: "0", role: "region", "aria-label": "Logit lens" }, make("table", {}, head, body));
    body.addEventListener("pointerover", (event) => this.tell(event.target.closest("td[data-at]")));
    body.addEventListener("pointerleave", () => this.tell(null));
    this.tell(null);
  }

  line(place) {
    const { lens } = this;
    const cells = lens.top[place].map((token, at) => {
      const cell = make("td", { "data-at": at, "data-depth": place }, lensToken(lens, token));
      cell.style.setProperty("--share", `${Math.round(lens.shares[place][at] / 10)}%`);
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row", class: "depth" }, depthName(lens, place)), ...cells, make("td", { class: "right-share" }, inPercent(lens.right[place])));
  }

  tell(cell) {
    const { lens, row } = this;
    if (!cell) {
      this.note.textContent = "Each cell is what the final norm and the unembedding make of the residual stream there; darker is more probable. Early layers were not trained to be read so.";
      return;
    }
    const at = Number(cell.dataset.at), place = Number(cell.dataset.depth);
    this.note.textContent = `${depthName(lens, place)}, at \u201c${row.tokens[at].trim() || row.tokens[at]}\u201d ${row.start + at}: \u201c${lens.tokens[lens.top[place][at]]}\u201d ${inPercent(lens.shares[place][at])}`;
  }
}

function listenToLenses(data) {
  for (const holder of document.querySelectorAll("details.lens")) {
    holder.addEventListener("toggle", () => {
      if (!holder.open || holder.querySelector("table")) return;
      const table = new LensTable(data.rows[Number(holder.dataset.row)]);
      holder.append(table.holder, table.note);
    });
  }
}
