// Attention patterns of example rows as small heat maps: one pixel for each pair of tokens, enlarged.

class Pattern {
  constructor(head, pattern, row, article, units) {
    Object.assign(this, { head, pattern, row, article, units, at: null });
    const n = row.tokens.length;
    this.canvas = make("canvas", { width: n, height: n, tabindex: "0", role: "img" });
    this.note = make("span", { class: "pair quiet", role: "status" });
    this.figure = make("figure", { class: "pattern" }, make("figcaption", {}, head), this.canvas, this.note);
    this.canvas.setAttribute("aria-label", `Attention of ${head}. ${this.strongest()}`);
    this.note.textContent = this.strongest();
    this.draw();
    this.listen();
  }

  share(from, to) {
    return (this.pattern[from]?.[to] ?? 0) / this.units;
  }

  strongest() {
    const shares = this.pattern[this.row.answer] ?? [];
    const to = shares.indexOf(Math.max(...shares));
    return to < 0 ? "" : this.pair(this.row.answer, to);
  }

  pair(from, to) {
    const name = (place) => `\u201c${this.row.tokens[place].trim() || this.row.tokens[place]}\u201d ${this.row.start + place}`;
    return `${name(from)} to ${name(to)}: ${(100 * this.share(from, to)).toFixed(1)}%`;
  }

  draw() {
    const context = this.canvas.getContext("2d"), n = this.row.tokens.length, image = context.createImageData(n, n);
    for (let from = 0; from < n; from++)
      for (let to = 0; to < n; to++) image.data.set([38, 128, 200, Math.round(255 * Math.sqrt(this.share(from, to)))], 4 * (from * n + to));
    context.putImageData(image, 0, 0);
  }

  listen() {
    const { canvas } = this, n = this.row.tokens.length, end = n - 1;
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect(), scale = (at, size) => Math.max(0, Math.min(end, Math.floor((at / size) * n)));
      this.show(scale(event.clientY - box.top, box.height), scale(event.clientX - box.left, box.width));
    });
    for (const name of ["pointerleave", "blur"]) canvas.addEventListener(name, () => this.show(null));
    canvas.addEventListener("focus", () => this.show(this.row.answer, Math.max(0, (this.pattern[this.row.answer] ?? []).length - 1)));
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }, move = moves[event.key];
      if (!move || !this.at) return;
      event.preventDefault();
      this.show(...this.at.map((place, i) => Math.max(0, Math.min(end, place + move[i]))));
    });
  }

  show(from, to) {
    this.at = from === null ? null : [from, to];
    this.note.textContent = this.at ? this.pair(from, to) : this.strongest();
    for (const token of this.article.querySelectorAll(".tokens:first-child .token[data-place]")) {
      const place = Number(token.dataset.place);
      token.classList.toggle("from", place === from), token.classList.toggle("to", this.at !== null && place === to);
    }
  }
}

function drawPatterns(data) {
  if (!data) return;
  for (const holder of document.querySelectorAll(".patterns")) {
    const row = data.rows[Number(holder.dataset.row)], article = holder.closest("article");
    data.heads.forEach((head, i) => holder.append(new Pattern(head, row.patterns[i], row, article, data.units).figure));
  }
}
