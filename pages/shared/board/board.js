// All cases as cards: search, filter, choose fields, add files by dropping them anywhere on the page. What is wanted from
// the page goes there as a wish; what a hand has set outlives the page in `memory`.

const STORED_EVERY_MS = 700;
const WAY = ["Drop the fields of a case", "Read them: one key per cell", "Result, report, export", "Retrain on what was read"];

function memory() {
  window.concentricCases ??= {
    selected: new Set(),
    opened: new Set(),
    search: sessionStorage.getItem("cases-search") ?? "",
    filter: sessionStorage.getItem("cases-filter") ?? "",
    case: "",
    unnamed: false,
    wishes: 0,
  };
  return window.concentricCases;
}

class Board {
  constructor(parent) {
    this.memory = memory();
    this.uploads = uploads();
    this.cards = new Map();
    this.root = element("div", "board", parent);
    this.makeBar();
    this.sending = element("div", "sending", this.root, { role: "status" });
    this.refused = element("div", "refused", this.root);
    this.empty = element("div", "empty", this.root);
    this.list = element("div", "cards", this.root);
    this.nothing = element("p", "nothing", this.root);
    this.makeSelection();
    this.drop = element("div", "drop", this.root);
    this.drop.hidden = true;
    this.listen();
  }

  // ---- parts

  makeBar() {
    this.bar = element("div", "toolbar", this.root);
    this.search = element("input", "search", this.bar, { type: "search", placeholder: "Search cases and fields", "aria-label": "Search cases and fields" });
    this.search.addEventListener("input", () => this.remember("search", this.search.value));
    this.filters = element("div", "filters", this.bar, { role: "group", "aria-label": "Show cases by state" });
    this.adding = element("div", "adding", this.bar);
    this.makeAdding(this.adding);
  }

  makeAdding(parent) {
    const one = element("input", "case", parent, { type: "text", placeholder: "Case: from the file names", "aria-label": "One case for all added files; empty: guessed from their names", maxlength: "100" });
    one.title = "One case for all files you add. Empty: guessed from each name, so that A00_01.tif is of case A00.";
    one.value = this.memory.case;
    one.addEventListener("input", () => (this.memory.case = one.value.trim()));
    const label = element("label", "unnamed", parent);
    label.title = "Fields are numbered instead, and their case is not guessed from the name.";
    const box = element("input", "", label, { type: "checkbox" });
    box.checked = this.memory.unnamed;
    box.addEventListener("change", () => (this.memory.unnamed = box.checked));
    label.append("Leave out file names");
    this.scanner = button("quiet", parent, "", () => this.wish("scanner", {}), "For files that do not say how large a pixel is");
    this.chooser(parent, "Add folder", "", { webkitdirectory: "" });
    this.chooser(parent, "Add fields", "primary", {});
  }

  chooser(parent, text, className, attributes) {
    const input = element("input", "", parent, { type: "file", multiple: "", "aria-label": text, tabindex: "-1", ...attributes });
    input.hidden = true;
    input.addEventListener("change", () => {
      this.add(chosenFiles(input));
      input.value = "";
    });
    return button(className, parent, text, () => input.click());
  }

  makeSelection() {
    this.selection = element("div", "selection", this.root, { role: "toolbar", "aria-label": "Selected fields" });
    this.chosen = element("b", "", this.selection, { "aria-live": "polite" });
    const acts = [["Case…", "case"], ["Reader…", "reader"], ["Exclude…", "exclude"], ["Detect again…", "detect"], ["µm/px…", "scale"], ["Delete…", "delete"]];
    this.acts = acts.map(([text, kind]) => [kind, button("", this.selection, text, () => this.wish(kind, { ids: [...this.memory.selected] }))]);
    button("quiet", this.selection, "Clear", () => this.select([]), "Clear the selection (Esc)");
  }

  // ---- data

  update(component) {
    this.component = component;
    const first = !this.data;
    const { data } = component;
    this.data = data;
    this.uploads.to = data.files;
    if (first && data.search) this.memory.search = data.search;
    if (first) this.search.value = this.memory.search;
    const there = new Set(data.cards.flatMap((card) => card.tiles.map((tile) => tile.id)));
    for (const id of this.memory.selected) if (!there.has(id)) this.memory.selected.delete(id);
    this.draw();
    this.root.dataset.ready = "1";
  }

  draw() {
    const { cards, may } = this.data;
    this.adding.hidden = !may.add || !cards.length;
    this.scanner.hidden = !this.data.scanner;
    this.scanner.textContent = this.data.scanner;
    this.search.hidden = this.filters.hidden = !cards.length;
    this.drawEmpty(!cards.length);
    this.drawCards(cards, may);
    this.drawFilters(cards);
    this.drawRefused(this.data.refused);
    this.drawSending();
    this.drawSelection();
    this.filter();
  }

  drawCards(cards, may) {
    const kept = new Map();
    for (const data of cards) {
      const card = this.cards.get(data.case) ?? new Card(this);
      const text = JSON.stringify(data);
      if (card.text !== text) card.update(data, may);
      card.text = text;
      kept.set(data.case, card);
    }
    for (const [name, card] of this.cards) if (!kept.has(name)) card.root.remove();
    this.cards = kept;
    const elements = [...kept.values()].map((card) => card.root);
    if (elements.some((one, place) => this.list.children[place] !== one)) this.list.replaceChildren(...elements);
  }

  drawEmpty(empty) {
    this.empty.hidden = !empty;
    if (!empty || this.empty.children.length) return;
    element("h2", "", this.empty).textContent = this.data.may.add ? "Drop high-power fields here" : "No fields yet";
    element("p", "", this.empty).textContent = this.data.may.add
      ? "H&E images as PNG, JPEG or TIFF, single files or a folder. Their mitoses are detected at once, and you read them case by case. Images stay on this computer."
      : "Fields that a reviewer adds are shown here.";
    if (!this.data.may.add) return;
    const row = element("div", "steps", this.empty);
    this.chooser(row, "Add folder", "", { webkitdirectory: "" });
    this.chooser(row, "Add fields", "primary", {});
    const look = element("a", "look", this.empty, { href: "detect" });
    look.textContent = "Take a quick look at a sample instead; nothing is kept";
    look.addEventListener("click", (event) => this.follow(event, "detect", {}));
    const way = element("ol", "way", this.empty);
    for (const step of WAY) element("li", "", way).textContent = step;
  }

  drawFilters(cards) {
    const counts = new Map();
    for (const { state } of cards) counts.set(state, (counts.get(state) ?? 0) + 1);
    if (this.memory.filter && !counts.has(this.memory.filter)) this.memory.filter = "";
    const shown = [["", "All", cards.length], ...Object.entries(this.data.states).filter(([key]) => counts.has(key)).map(([key, word]) => [key, word, counts.get(key)])];
    const text = JSON.stringify([shown, this.memory.filter]);
    if (this.filters.dataset.text === text) return;
    this.filters.dataset.text = text;
    this.filters.replaceChildren();
    for (const [key, word, number] of shown) {
      const one = button(`filter ${key}`, this.filters, word, () => this.remember("filter", key));
      element("span", "number", one).textContent = number;
      one.setAttribute("aria-pressed", this.memory.filter === key);
    }
  }

  drawRefused(refused) {
    const lost = this.uploads.lost ?? [];
    this.refused.hidden = !refused.length && !lost.length;
    const text = JSON.stringify([refused, lost]);
    if (this.refused.dataset.text === text) return;
    this.refused.dataset.text = text;
    this.refused.replaceChildren();
    const head = element("header", "", this.refused);
    element("b", "", head).textContent = `${plural(refused.length + lost.length, "file")} could not be taken`;
    if (this.data.may.add) button("quiet", head, "Dismiss all", () => this.dismiss(null));
    const list = element("ul", "", this.refused);
    for (const one of refused) {
      const row = element("li", "", list);
      element("span", "file", row).textContent = one.name;
      const says = one.says.startsWith(one.name) ? one.says : one.says.replace(`${one.name.split("/").pop()}: `, "");
      element("span", "says", row).textContent = says;
      if (this.data.may.add) button("quiet", row, "✕", () => this.dismiss([one.id]), `Dismiss ${one.name}`).setAttribute("aria-label", `Dismiss ${one.name}`);
    }
    for (const one of lost) element("span", "says", element("li", "", list)).textContent = one;
  }

  dismiss(ids) {
    if (!ids) this.uploads.lost = [];
    this.wish("dismiss", { ids });
  }

  drawSending() {
    const { open, done, total, current, problem, summary } = this.uploads;
    this.sending.hidden = !open && !summary;
    this.sending.replaceChildren();
    if (this.sending.hidden) return;
    element("span", "", this.sending).textContent = open ? `Adding ${done + 1} of ${total}: ${current ?? ""}` : summary;
    if (open) element("progress", "", this.sending, { max: total, value: done, "aria-label": "Files added" });
    else button("quiet", this.sending, "✕", () => (this.uploads.clear(), this.drawSending()), "Close").setAttribute("aria-label", "Close");
    if (problem) element("span", "problem", this.sending).textContent = problem;
  }

  drawSelection() {
    const { size } = this.memory.selected;
    this.selection.hidden = !size;
    this.root.classList.toggle("selecting", size > 0);
    this.chosen.textContent = `${plural(size, "field")} selected`;
    for (const [kind, one] of this.acts) if (kind === "delete") one.hidden = !this.data.may.delete;
  }

  // ---- search and filter

  remember(name, value) {
    this.memory[name] = value;
    sessionStorage.setItem(`cases-${name}`, value);
    this.drawFilters(this.data.cards);
    this.filter();
  }

  filter() {
    const words = this.memory.search.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { root, data } of this.cards.values()) {
      const text = [data.case, ...data.tiles.map((tile) => tile.name), ...data.readers.map(([name]) => name)].join(" ").toLowerCase();
      root.hidden = (this.memory.filter && data.state !== this.memory.filter) || !words.every((word) => text.includes(word));
      shown += !root.hidden;
    }
    this.nothing.hidden = Boolean(shown) || !this.cards.size;
    this.nothing.textContent = "No case has these words and this state.";
  }

  // ---- choosing fields

  pick(id, range = false) {
    const { selected } = this.memory;
    const chosen = new Set(selected);
    if (range && this.last !== undefined) {
      const order = this.shownIds();
      const [from, to] = [order.indexOf(this.last), order.indexOf(id)].sort((a, b) => a - b);
      for (const one of order.slice(Math.max(0, from), to + 1)) chosen.add(one);
    } else if (!chosen.delete(id)) chosen.add(id);
    this.last = id;
    this.select(chosen);
  }

  selectAll(ids) {
    const chosen = new Set(this.memory.selected);
    const all = ids.every((id) => chosen.has(id));
    for (const id of ids) {
      if (all) chosen.delete(id);
      else chosen.add(id);
    }
    this.select(chosen);
  }

  select(ids) {
    this.memory.selected = new Set(ids);
    for (const card of this.cards.values()) {
      for (const [id, tile] of card.tiles) {
        const on = this.memory.selected.has(id);
        tile.root.classList.toggle("selected", on);
        tile.pick.setAttribute("aria-pressed", on);
      }
    }
    this.drawSelection();
  }

  shownIds() {
    return [...this.cards.values()].filter((card) => !card.root.hidden).flatMap((card) => card.ids);
  }

  key(event) {
    if (event.key === "Escape" && this.memory.selected.size) this.select([]);
    if (event.key === "a" && (event.ctrlKey || event.metaKey) && event.target.tagName !== "INPUT") {
      event.preventDefault();
      if (this.data.may.add) this.select(this.shownIds());
    }
  }

  // ---- files

  listen() {
    this.handlers = {
      dragenter: (event) => this.over(event),
      dragover: (event) => this.over(event),
      dragleave: (event) => event.relatedTarget === null && (this.drop.hidden = true),
      drop: (event) => this.dropped(event),
    };
    for (const [name, act] of Object.entries(this.handlers)) window.addEventListener(name, act);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.uploads.listener = () => this.data && this.drawSending();
    this.uploads.stored = () => this.stored();
  }

  over(event) {
    if (!event.dataTransfer?.types.includes("Files") || !this.data?.may.add) return;
    event.preventDefault();
    this.target = event.composedPath().find((one) => one.classList?.contains("card"))?.dataset.case ?? "";
    this.drop.hidden = false;
    this.drop.textContent = this.target ? `Add to case ${this.target}` : "Add these fields";
  }

  async dropped(event) {
    if (this.drop.hidden) return;
    event.preventDefault();
    this.drop.hidden = true;
    const name = this.target; // before anything is waited for
    this.add(await droppedFiles(event.dataTransfer), name);
  }

  add(files, name = "") {
    this.uploads.add(files, { case: name || this.memory.case, unnamed: this.memory.unnamed });
  }

  // Something was stored: the page is asked for what there is now, not for every file.
  stored() {
    if (this.asked) return;
    this.asked = setTimeout(() => {
      this.asked = undefined;
      this.wish("refresh", {});
    }, STORED_EVERY_MS);
  }

  // ---- wishes

  askForScale() {
    document.querySelector('[data-testid="stMain"]')?.scrollTo({ top: 0, behavior: "smooth" }); // the question stands there
  }

  wish(kind, more) {
    this.component?.setTriggerValue("wish", { kind, n: ++this.memory.wishes, ...more });
  }

  follow(event, page, query) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // a tab of its own
    event.preventDefault();
    this.wish("go", { page, query });
  }

  remove() {
    for (const [name, act] of Object.entries(this.handlers)) window.removeEventListener(name, act);
    clearTimeout(this.asked);
    this.uploads.listener = () => {};
    this.uploads.stored = () => {};
    this.root.remove();
  }
}

export default function (component) {
  const parent = component.parentElement;
  parent.board ??= new Board(parent);
  parent.board.update(component);
  return () => {
    parent.board?.remove();
    parent.board = undefined;
  };
}
