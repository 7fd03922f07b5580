// The gallery of a case: the cells of all its fields as crops, as large as the screen allows, each with its verdicts. The
// crops come from the server one by one; no field is loaded for them.

const CASE_CROP_UM = 40;
const TILE_PX = { least: 116, most: 320, gap: 10, foot: 34 };
const SORTS = { undecided: "Undecided first", score: "Best score first", field: "By field" };

class CaseGallery {
  // act: { verdict(cell, cls), remove(cell), open(cell), undo(), close() }; a cell: { field, id }
  constructor(parent, act) {
    this.act = act;
    this.root = make("div", "case-gallery", parent, { role: "group", "aria-label": "Cells of the case" });
    const head = make("div", "row", this.root);
    this.title = make("strong", "", head);
    this.note = make("span", "quiet", head);
    this.sorting = make("select", "", head, { "aria-label": "Order of the cells" });
    for (const [value, label] of Object.entries(SORTS)) make("option", "", this.sorting, { value }).textContent = label;
    this.sorting.addEventListener("change", () => (this.forget(), this.draw()));
    makeButton("", head, "↶ Undo", "Undo the last verdict (Ctrl+Z)", act.undo);
    makeButton("", head, "Close", "Back to the field (Esc)", act.close);
    this.tiles = make("div", "tiles", this.root);
    this.cells = new Map(); // key -> { tile, cell }
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.tiles);
    this.hide();
  }

  get open() {
    return !this.root.hidden;
  }

  // Until the page brings the fields.
  wait() {
    this.root.hidden = false;
    this.title.textContent = "Reading the fields of the case…";
    this.note.textContent = "";
  }

  hide() {
    this.root.hidden = true;
    this.fields = null;
    this.forget();
  }

  // The order is kept while verdicts are given: nothing jumps under the hand.
  forget() {
    this.order = null;
    this.selected = null;
    this.cells.clear();
    this.tiles.replaceChildren();
  }

  // title, missing: of the case, fields of it that no version has analysed. fields: [{ id, name, umPerPx, crops, state }].
  // cellsOf(field): its points with their look, best score first.
  show({ title, missing }, fields, cellsOf) {
    Object.assign(this, { fields, cellsOf, missing });
    this.title.textContent = title;
    this.root.hidden = false;
    this.draw();
  }

  draw() {
    const cells = this.fields.flatMap((field) => this.cellsOf(field.id).map((point) => ({ ...point, field, key: `${field.id}/${point.id}` })));
    const known = new Map(cells.map((cell) => [cell.key, cell]));
    const kept = (this.order ?? []).filter((key) => known.has(key));
    const fresh = cells.filter((cell) => !kept.includes(cell.key));
    this.order = [...kept, ...this.sorted(fresh)];
    this.describe(cells);
    for (const [key, tile] of this.cells)
      if (!known.has(key)) {
        tile.remove();
        this.cells.delete(key);
      }
    this.order.forEach((key, place) => this.place(known.get(key), place));
    if (!this.cells.has(this.selected)) this.select(this.firstOpen() ?? this.order[0] ?? null);
    this.resize();
  }

  describe(cells) {
    const open = cells.filter((cell) => cell.open).length;
    const missing = this.missing ? ` · ${this.missing} not analysed` : "";
    this.note.textContent = `${this.fields.length} fields · ${cells.length} cells, ${open} undecided${missing}`;
  }

  place(cell, place) {
    if (!this.cells.has(cell.key)) this.cells.set(cell.key, this.makeTile(cell));
    const tile = this.cells.get(cell.key);
    this.style(tile, cell);
    if (this.tiles.children[place] !== tile) this.tiles.insertBefore(tile, this.tiles.children[place] ?? null);
  }

  sorted(cells) {
    const score = (a, b) => (b.score ?? -1) - (a.score ?? -1);
    const ways = { undecided: (a, b) => b.open - a.open || score(a, b), score, field: () => 0 };
    return [...cells].sort(ways[this.sorting.value]).map((cell) => cell.key);
  }

  makeTile(cell) {
    const tile = make("div", "tile", null);
    const picture = makeButton("picture", tile, "", "", () => this.act.open(tile.cell));
    const image = make("img", "", picture, { alt: "", loading: "lazy", draggable: "false" });
    image.src = cropUrl(cell.field, cell);
    make("span", "", picture);
    const verdicts = make("div", "verdicts", tile);
    for (const { id, label, shape, color } of cell.classes) {
      const button = makeButton("", verdicts, GLYPHS[shape] || GLYPHS.circle, label, () => this.act.verdict(tile.cell, id));
      button.style.setProperty("--verdict", color);
    }
    makeButton("reject", verdicts, "✕", "Reject, or delete an own mark", () => this.act.remove(tile.cell));
    tile.addEventListener("pointerdown", () => this.select(tile.cell.key));
    return tile;
  }

  style(tile, cell) {
    tile.cell = cell;
    tile.className = `tile ${cell.look}`;
    tile.style.setProperty("--verdict", cell.color);
    const label = `${cell.field.name} · ${cell.text}`;
    tile.querySelector(".picture").setAttribute("aria-label", `Open ${label}`);
    tile.querySelector(".picture").title = label;
    tile.querySelector(".picture span").textContent = `${cell.field.name.replace(/\.[^.]*$/, "")} · ${cell.short || cell.text}`;
    const buttons = tile.querySelector(".verdicts").children;
    cell.classes.forEach((one, n) => buttons[n].setAttribute("aria-pressed", !cell.open && cell.cls === one.id));
    tile.classList.toggle("selected", cell.key === this.selected);
  }

  // The largest tiles with which all are in sight; else the least, and the gallery scrolls.
  resize() {
    const { clientWidth: w, clientHeight: h } = this.tiles;
    if (!this.open || !w || !h) return;
    const { least, most, gap, foot } = TILE_PX;
    const fits = (side) => Math.floor((w + gap) / (side + gap)) * Math.floor((h + gap) / (side + foot + gap)) >= this.cells.size;
    let side = most;
    while (side > least && !fits(side)) side -= 4;
    this.tiles.style.setProperty("--tile", `${side}px`);
  }

  // ---- selecting

  get cell() {
    return this.cells.get(this.selected)?.cell ?? null;
  }

  firstOpen(after = -1) {
    const around = [...this.order.slice(after + 1), ...this.order.slice(0, after + 1)];
    return around.find((key) => this.cells.get(key)?.cell.open);
  }

  select(key) {
    this.cells.get(this.selected)?.classList.remove("selected");
    this.selected = key;
    const tile = this.cells.get(key);
    if (!tile) return;
    tile.classList.add("selected");
    const top = tile.offsetTop - this.tiles.scrollTop;
    if (top < 0 || top + tile.offsetHeight > this.tiles.clientHeight)
      this.tiles.scrollTop = tile.offsetTop - (this.tiles.clientHeight - tile.offsetHeight) / 2;
  }

  walk(by) {
    const place = this.order.indexOf(this.selected);
    const next = this.order[Math.min(this.order.length - 1, Math.max(0, place + by))];
    if (next) this.select(next);
  }

  // To the next undecided cell; false when there is none.
  stepOpen(by = 1) {
    const place = this.order.indexOf(this.selected);
    const before = this.order.slice(0, Math.max(0, place)).reverse();
    const next = by > 0 ? this.firstOpen(place) : before.find((key) => this.cells.get(key)?.cell.open);
    if (next) this.select(next);
    return Boolean(next);
  }

  get columns() {
    return Math.max(1, getComputedStyle(this.tiles).gridTemplateColumns.split(" ").length);
  }

  remove() {
    this.observer.disconnect();
  }
}

// The address of a square of the field round a cell; the same whenever it is asked for, so that browsers keep it.
function cropUrl({ crops, umPerPx }, { home }) {
  const side = Math.round(CASE_CROP_UM / umPerPx);
  return new URL(`${crops.url}/${Math.round(home.x)}-${Math.round(home.y)}-${side}.jpg?t=${crops.token}`, document.baseURI).href;
}
