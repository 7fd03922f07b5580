// The panel beside the stage: the count, the verdicts, the sliders, and a button for everything that a key does.

class Panel {
  // act: { slide(score), slid(), reset(), heat(opacity) }, and for a reviewer also { verdict(cls), accept(), remove(),
  //   zoomIn(), deselect(), undo(), redo(), acceptAll(), comment(text), advance(on), grid(), gallery(), go(to), finish(),
  //   exclude(), reopen() }
  constructor(parent, act) {
    this.act = act;
    this.root = make("div", "panel", parent);
    this.makeCount();
    this.makeVerdicts();
    this.makeSliders();
    const head = make("div", "edit row gallery-head", this.root);
    this.cells = make("span", "", head);
    this.triage = this.button(head, "Grid", "All cells of this field in a grid", act.grid);
    this.case = this.button(head, "Case", "The cells of all fields of the case", act.gallery);
  }

  button(parent, text, title, press, className = "") {
    return makeButton(className, parent, text, title, () => press());
  }

  makeCount() {
    const count = make("div", "count", this.root);
    this.number = make("strong", "", count);
    this.noun = make("span", "noun", count);
    this.proposed = make("span", "edit proposed", count);
    this.density = make("div", "density", this.root);
    this.note = make("div", "note", this.root);
    this.hint = make("div", "edit hint", this.root);
  }

  makeVerdicts() {
    const { root, act } = this;
    const head = make("div", "edit row head-verdicts", root);
    this.caption = make("span", "", head);
    this.deselect = this.button(head, "deselect", "Deselect (Esc)", act.deselect, "link");
    this.classes = make("div", "edit classes", root, { role: "group", "aria-label": "Verdict" });
    const acts = make("div", "edit row acts", root);
    this.accept = this.button(acts, "Accept", "Accept as mitosis (Enter or A)", act.accept);
    this.reject = this.button(acts, "Reject", "", act.remove);
    this.zoom = this.button(acts, "Zoom", "Zoom to the selected cell (Z)", act.zoomIn);
    this.makeComment();
    const history = make("div", "edit row history", root);
    this.undo = this.button(history, "↶", "Undo (Ctrl+Z)", act.undo, "icon");
    this.redo = this.button(history, "↷", "Redo (Ctrl+Shift+Z)", act.redo, "icon");
    this.advance = this.makeAdvance(history);
    this.saved = make("span", "saved", history, { role: "status" });
  }

  makeAdvance(parent) {
    const box = make("label", "advance", parent, { title: "After a verdict go to the next undecided cell" });
    const input = make("input", "", box, { type: "checkbox" });
    box.append("Advance");
    input.addEventListener("change", () => this.act.advance(input.checked));
    return input;
  }

  makeComment() {
    const attributes = { type: "text", maxlength: 500, placeholder: "Comment", "aria-label": "Comment on the selected cell" };
    const input = (this.comment = make("input", "edit comment", this.root, attributes));
    input.addEventListener("change", () => this.act.comment(this.commented, input.value.trim()));
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") input.value = this.comment.defaultValue;
      if (event.key === "Escape" || event.key === "Enter") this.root.parentNode.focus({ preventScroll: true });
    });
  }

  // By key; false on a cell without a verdict, which can have no comment.
  writeComment() {
    if (!this.comment.hidden) this.comment.focus();
    return !this.comment.hidden;
  }

  makeSliders() {
    const { root, act } = this;
    this.score = this.makeSlider(root, "Score at least", "score");
    this.ticks = make("canvas", "ticks", this.score.track, { "aria-hidden": "true" });
    this.reset = make("button", "reset", this.score.head, { type: "button" });
    this.reset.textContent = "reset";
    this.reset.addEventListener("click", () => act.reset());
    this.score.input.addEventListener("input", () => act.slide(Number(this.score.input.value)));
    this.score.input.addEventListener("change", () => act.slid());
    this.acceptAll = this.button(root, "", "Accept every proposal shown as a mitosis", act.acceptAll, "edit wide");
    this.heat = this.makeSlider(root, "Heat map", "heat");
    this.heat.input.addEventListener("input", () => act.heat(Number(this.heat.input.value)));
  }

  makeSlider(parent, label, name) {
    const box = make("label", `slider ${name}`, parent);
    const head = make("span", "head", box);
    make("span", "", head).textContent = label;
    const value = make("output", "", head);
    const track = make("span", "track", box);
    const input = make("input", "", track, { type: "range", min: 0, max: 1, step: 0.01, "aria-label": label });
    return { box, head, value, track, input };
  }

  // Below the gallery, which the viewer puts between.
  makeFoot() {
    const { act } = this;
    const foot = (this.foot = make("div", "edit foot", this.root));
    this.state = make("div", "row state", foot);
    this.stateText = make("span", "", this.state);
    this.exclude = this.button(this.state, "Exclude", "Leave this field out of the review", act.exclude, "link");
    this.reopen = this.button(this.state, "Reopen", "Review this field again", act.reopen, "link");
    const row = make("div", "row", foot);
    this.button(row, "‹", "Previous field ([ or Page up)", () => act.go("previous"), "icon");
    this.finish = this.button(row, "Finish field", "Finish this field and go on (F)", act.finish, "main");
    this.button(row, "›", "Next field (] or Page down)", () => act.go("next"), "icon");
  }

  // ---- what it shows

  showClasses(classes) {
    const key = JSON.stringify(classes);
    if (key === this.shownClasses) return;
    this.shownClasses = key;
    this.classes.replaceChildren();
    this.verdicts = new Map();
    for (const { id, label, color, shape, key: letter } of classes) {
      const button = this.button(this.classes, "", `${label} (${letter ?? ""})`, () => this.act.verdict(id));
      const glyph = make("i", "", button, { "aria-hidden": "true" });
      glyph.textContent = GLYPHS[shape] || GLYPHS.circle;
      glyph.style.color = color;
      const number = make("b", "", button);
      make("span", "", button).textContent = label;
      this.verdicts.set(id, { button, number });
    }
  }

  // known: whether there is a density yet. Its place is kept: nothing jumps under the hand.
  showCount(count, proposed, { per_mm2, per_10_hpf, note }, known) {
    for (const box of [this.density, this.note]) box.classList.toggle("unknown", !known && per_mm2 !== null);
    this.number.textContent = count;
    this.noun.textContent = count === 1 ? "mitosis" : "mitoses";
    this.proposed.textContent = proposed ? `+ ${proposed} proposed` : "";
    this.density.replaceChildren();
    for (const [factor, unit] of [[per_mm2, "per mm²"], [per_10_hpf, "per 10 HPF"]]) {
      if (factor === null) continue; // too little tissue: the note says so
      const part = make("span", "", this.density);
      make("b", "", part).textContent = (count * factor).toFixed(1);
      part.append(` ${unit}`);
    }
    this.note.textContent = note;
    this.acceptAll.hidden = !proposed;
    this.acceptAll.textContent = proposed === 1 ? "Accept the 1 shown" : `Accept all ${proposed} shown`;
  }

  // counted: those of all cells that lie in the reviewed area.
  showCells(all, counted) {
    const outside = all > counted ? `, ${all - counted} outside` : "";
    this.cells.textContent = `${counted} cell${counted === 1 ? "" : "s"}${outside}`;
  }

  // Several sets of marks beside each other: how many there are of each, instead of one count and its score.
  showLegend(classes, shown) {
    for (const box of [this.number.parentNode, this.density, this.note, this.score.box]) box.hidden = true;
    if (!this.legend) this.root.prepend((this.legend = make("div", "legend", null)));
    this.legend.replaceChildren();
    for (const { id, label, color, shape } of classes) {
      const glyph = make("i", "", this.legend, { "aria-hidden": "true" });
      glyph.textContent = GLYPHS[shape] || GLYPHS.circle;
      glyph.style.color = color;
      make("b", "", this.legend).textContent = shown.filter((point) => point.cls === id).length;
      make("span", "", this.legend).textContent = label;
    }
  }

  // numbers: verdict -> how many. current: the verdict of new marks, or of the selected mark.
  showVerdicts(numbers, current, selected) {
    this.caption.textContent = selected ? "The selected cell is" : "New marks are";
    this.deselect.hidden = !selected;
    for (const [id, { button, number }] of this.verdicts) {
      button.setAttribute("aria-pressed", id === current);
      number.textContent = numbers[id] ?? 0;
    }
    const own = selected && !selected.by;
    const byModel = own && selected.src === "model";
    this.accept.disabled = !own || selected.decided;
    this.reject.disabled = !own;
    this.zoom.disabled = !selected;
    const again = byModel && selected.decided && selected.cls === "lookalike";
    this.reject.textContent = again ? "Undecide" : own && !byModel ? "Delete" : "Reject";
    this.reject.title = again ? "Undecided again (X)" : own && !byModel ? "Delete this mark (X)" : "Not a mitosis (X)";
    this.reject.setAttribute("aria-label", this.reject.title);
    this.showComment(own && selected.decided ? selected : null);
  }

  showComment(point) {
    this.comment.hidden = !point;
    this.comment.disabled = this.looking;
    if (!point || (this.commented === point.id && this.comment.matches(":focus"))) return;
    this.commented = point.id;
    this.comment.value = this.comment.defaultValue = point.comment ?? "";
  }

  // Look only: what would change something cannot be pressed.
  showLooking(looking) {
    this.looking = looking;
    this.root.classList.toggle("looking", looking);
    const changing = this.root.querySelectorAll(".classes button, .acts button, .history button, .foot .link, .wide");
    for (const button of changing) button.inert = looking;
  }

  showHistory({ done, undone }) {
    this.undo.disabled = !done.length;
    this.redo.disabled = !undone.length;
  }

  showState(state, hidden) {
    const names = { unseen: "Not reviewed yet", in_review: "In review", complete: "Complete", excluded: "Excluded" };
    this.stateText.textContent = names[state] ?? state;
    this.state.dataset.state = state;
    const closed = state === "complete" || state === "excluded";
    this.exclude.hidden = closed;
    this.reopen.hidden = !closed;
    this.finish.textContent = state === "complete" ? "Next field" : "Finish field";
    this.hint.hidden = !hidden;
    this.hint.textContent = "Proposals are hidden until you finish.";
    this.score.box.hidden = hidden;
  }

  // waiting: changes on their way. trouble: why they wait. refused: changes that the server does not take.
  showSaved(waiting, trouble, refused) {
    const notSaved = trouble ? waiting : refused;
    this.saved.textContent = notSaved ? `NOT SAVED (${notSaved})` : waiting ? "Saving…" : "All saved";
    this.saved.classList.toggle("bad", notSaved > 0);
  }

  // One tick per candidate over the slider: where a small step changes much, and where nothing.
  drawTicks(points, threshold) {
    const width = (this.ticks.width = Math.max(1, Math.round(this.ticks.clientWidth * devicePixelRatio)));
    const height = (this.ticks.height = Math.round(10 * devicePixelRatio));
    const context = this.ticks.getContext("2d");
    const knob = 8 * devicePixelRatio; // half the width of the slider's knob
    const { color, borderTopColor } = getComputedStyle(this.ticks);
    for (const { score } of points) {
      if (typeof score !== "number") continue;
      context.fillStyle = score >= threshold ? color : borderTopColor;
      context.fillRect(knob + score * (width - 2 * knob) - devicePixelRatio / 2, 0, devicePixelRatio * 1.5, height);
    }
  }
}
