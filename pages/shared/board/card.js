// One case: its fields as small pictures, how far it is, who reads, and the step that comes next. Elements are kept as
// long as what they show is the same, so that pictures do not flicker as results come in.

const FEW = 12; // fields shown before "more"
const FLAGS = { needs_scale: "µm?", failed: "!", waiting: "", running: "" };

class Card {
  constructor(board) {
    this.board = board;
    this.tiles = new Map();
    this.root = element("section", "card", null);
    const head = element("header", "", this.root);
    this.name = button("name", head, "", () => this.rename());
    this.pill = element("span", "pill", head);
    this.all = button("quiet all", head, "Select all", () => board.selectAll(this.ids));
    this.list = element("div", "tiles", this.root);
    this.more = button("quiet more", this.root, "", () => this.open());
    this.bar = element("div", "bar", this.root, { role: "progressbar", "aria-valuemin": "0" });
    this.filled = element("i", "", this.bar);
    const foot = element("footer", "", this.root);
    this.facts = element("div", "facts", foot);
    this.readers = element("div", "readers", foot);
    this.steps = element("div", "steps", foot);
  }

  get ids() {
    return this.data.tiles.map((tile) => tile.id);
  }

  update(data, may) {
    this.data = data;
    const title = data.case || "Without a case";
    this.root.dataset.case = data.case;
    this.root.setAttribute("aria-label", title);
    this.name.textContent = title;
    this.name.disabled = !may.add || !data.case;
    this.name.title = data.case && may.add ? "Rename this case" : "";
    this.pill.textContent = data.word;
    this.pill.className = `pill ${data.state}`;
    this.all.hidden = !may.add;
    this.bar.hidden = !data.detecting;
    this.bar.setAttribute("aria-valuemax", data.tiles.length);
    this.bar.setAttribute("aria-valuenow", data.detected);
    this.bar.setAttribute("aria-label", `${data.detected} of ${data.tiles.length} fields analysed`);
    this.filled.style.width = `${(100 * data.detected) / data.tiles.length}%`;
    const area = data.area_mm2 ? ` · ${data.area_mm2.toFixed(2)} mm² of images` : "";
    this.facts.textContent = plural(data.tiles.length, "field") + area;
    if (data.figure) element("b", "", this.facts).textContent = data.figure;
    this.drawReaders(data.readers);
    this.drawSteps(data, may);
    this.drawTiles();
  }

  drawReaders(readers) {
    this.readers.replaceChildren();
    for (const [name, done, all] of readers) {
      const one = element("span", "reader", this.readers, { title: `${name}: ${done} of ${all} fields read` });
      element("span", "", one).textContent = name;
      element("progress", "", one, { max: all, value: done, "aria-label": `${name}: ${done} of ${all} fields read` });
      element("span", "share", one).textContent = `${done}/${all}`;
    }
  }

  drawSteps(data, may) {
    this.steps.replaceChildren();
    if (data.case && data.step !== "result") this.link("quiet", "Result", "results", { case: data.case });
    if (data.detecting && may.add) button("quiet", this.steps, "Stop", () => this.board.wish("stop", { ids: this.ids }), "Stop detecting in the fields that wait");
    if (data.step === "review") this.link("primary", data.next, "review", { case: data.case });
    else if (data.step === "result") this.link("primary", data.next, "results", { case: data.case });
    else if (data.next) {
      const act = () => (data.step === "scale" ? this.board.askForScale() : this.board.wish("detect", { ids: this.ids }));
      button("primary", this.steps, data.next, act).disabled = !data.step;
    }
  }

  link(className, text, page, query) {
    const href = `${page}?${new URLSearchParams(query)}`;
    const one = element("a", `button ${className}`, this.steps, { href });
    one.textContent = text;
    one.addEventListener("click", (event) => this.board.follow(event, page, query));
  }

  // ---- its fields

  drawTiles() {
    const { tiles } = this.data;
    const all = this.board.memory.opened.has(this.data.case);
    const shown = all || tiles.length <= FEW + 1 ? tiles : tiles.slice(0, FEW);
    const kept = new Map();
    for (const tile of shown) {
      const one = this.tiles.get(tile.id) ?? new Tile(this.board);
      one.update(tile, this.data.case);
      kept.set(tile.id, one);
    }
    for (const [id, one] of this.tiles) if (!kept.has(id)) one.root.remove();
    this.tiles = kept;
    const elements = [...kept.values()].map((one) => one.root);
    if (elements.some((one, place) => this.list.children[place] !== one)) this.list.replaceChildren(...elements);
    this.more.hidden = tiles.length <= FEW + 1;
    this.more.textContent = all ? "Show fewer" : `${tiles.length - shown.length} more`;
  }

  open() {
    const { opened } = this.board.memory;
    if (!opened.delete(this.data.case)) opened.add(this.data.case);
    this.drawTiles();
  }

  rename() {
    this.board.wish("rename", { case: this.data.case });
  }
}

class Tile {
  constructor(board) {
    this.board = board;
    this.root = element("div", "tile", null);
    this.link = element("a", "open", this.root);
    this.image = element("img", "", this.link, { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
    this.flag = element("span", "flag", this.link);
    this.badge = element("span", "badge", this.link);
    this.pick = button("pick", this.root, "", (event) => board.pick(this.id, event.shiftKey));
    this.pick.tabIndex = -1;
    this.link.addEventListener("click", (event) => this.click(event));
    this.link.addEventListener("keydown", (event) => this.key(event));
  }

  update(data, name) {
    this.id = data.id;
    this.address = name ? { case: name, field: data.id } : { field: data.id }; // in the queue of its case
    this.root.dataset.field = data.id;
    this.root.className = `tile ${data.state}`;
    this.root.classList.toggle("read", data.read);
    this.root.classList.toggle("excluded", data.excluded);
    this.root.classList.toggle("selected", this.board.memory.selected.has(data.id));
    const url = new URL(data.url.replace(/^\//, ""), document.baseURI).href;
    if (this.image.src !== url) this.image.src = url;
    this.link.href = `review?${new URLSearchParams(this.address)}`;
    this.link.title = data.says;
    this.link.setAttribute("aria-label", data.says);
    this.flag.textContent = FLAGS[data.state] ?? "";
    this.badge.textContent = data.count ?? "";
    this.badge.hidden = data.count === null || data.excluded;
    this.pick.hidden = !this.board.data.may.add;
    this.pick.setAttribute("aria-label", `Select ${data.name}`);
    this.pick.setAttribute("aria-pressed", this.board.memory.selected.has(data.id));
  }

  click(event) {
    const { board } = this;
    if (!board.data.may.add || (!board.memory.selected.size && !event.shiftKey)) {
      board.follow(event, "review", this.address);
      return;
    }
    event.preventDefault();
    board.pick(this.id, event.shiftKey);
  }

  key(event) {
    if (event.key === " ") {
      event.preventDefault();
      if (this.board.data.may.add) this.board.pick(this.id, event.shiftKey);
    }
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const links = [...this.board.root.querySelectorAll(".card:not([hidden]) a.open")];
    links[links.indexOf(this.link) + way]?.focus();
  }
}
