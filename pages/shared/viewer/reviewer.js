// The reviewer: a viewer whose marks may be changed. A change is drawn at once and sent by the outbox;
// the page is notified when all is saved and it is quiet, or when the field is left.

const QUIET_MS = 300; // after the last change was saved, before the page is notified
const LEAVING_MS = 3000; // for the page to bring the next field
const AHEAD_MS = 20000; // and where the viewer shows it already: a busy server throws nobody back to the field before

function download(name, content) {
  const link = make("a", "", null, { download: name });
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

class Reviewer extends Viewer {
  constructor(parent) {
    super(parent);
    this.root.dataset.editable = "";
    this.current = "mitosis"; // the verdict of new marks
    this.triggers = 0;
    this.dialog = new Dialog(this.root);
    this.ring = new Ring(this.stage.root, () => this.focus());
    this.caseGallery = new CaseGallery(this.root, this.galleryActions());
    this.areaTool = new AreaTool(this.stage, (area) => (this.drawArea(false), area && this.editing.setArea(area)));
    this.looking = false; // nothing may be changed
    this.turned = { undo: [], redo: [] }; // the fields of what was decided in the gallery, and of what was undone
    this.added = null; // the mark that the last click set
    this.landing = null; // where to go in the field that comes: a mark, or true for the first undecided one
    const spend = (seconds) => this.looking || this.editing?.spend(this.editing.field, seconds);
    this.activityTimer = new ActivityTimer(this.root, spend);
    // After a press by mouse or finger the keys are the viewer's again.
    this.root.addEventListener("click", (event) => event.detail && !this.dialog.open && this.focus());
  }

  get help() {
    return helpRows(this.layout, true, Boolean(this.data.heat));
  }

  get keys() {
    return { ...viewingKeys(this), ...editingKeys(this) };
  }

  get points() {
    return this.editing.points;
  }

  // On a cell without a verdict the ring asks for one first, and what is typed meanwhile does nothing else.
  writeComment() {
    if (this.panel.writeComment() || !this.selected || this.editing.refuses()) return;
    this.tools.say("A comment belongs to a verdict: please give one first.");
    this.openMenu(this.selected, this.stage.middle);
  }

  get area() {
    return this.editing.review.area;
  }

  get state() {
    return this.editing.review.state;
  }

  stageActions() {
    return {
      ...super.stageActions(),
      click: (id, place, force) => this.click(id, place, force),
      menu: (id, place) => this.openMenu(id, place),
      movable: (id) => !this.looking && !this.editing.closed && Boolean(this.editing.own(id)),
      move: (id, place) => (this.editing.move(id, place), this.select(id)),
    };
  }

  toolActions() {
    return {
      ...super.toolActions(),
      area: () => this.editing.refuses() || this.drawArea(!this.drawing),
      look: () => this.look(!this.looking),
      onward: () => this.onward(),
      wholeField: () => this.editing.setArea(null),
      retry: () => this.outbox.retry(),
      download: () => download("concentric-not-saved.json", this.outbox.refused.map(({ op, why }) => ({ op, why }))),
      discard: () => this.discard(),
    };
  }

  panelActions() {
    return {
      ...super.panelActions(),
      verdict: (cls) => this.verdict(cls),
      accept: () => this.confirm(),
      remove: () => this.reject(),
      zoomIn: () => this.open(this.selected),
      deselect: () => this.select(null),
      undo: () => this.turn("undo"),
      redo: () => this.turn("redo"),
      acceptAll: () => this.editing.accept(this.undecided().map((point) => point.id)),
      comment: (id, text) => this.editing.comment(id, text),
      advance: (advance) => this.prefer({ advance }),
      grid: () => this.showGrid(!this.grid),
      gallery: () => this.showGallery(!this.caseGallery.open),
      go: (to) => this.go(to),
      finish: () => this.finish(),
      exclude: () => this.close("excluded", "exclude"),
      reopen: () => this.close("in_review", "reopen"),
    };
  }

  galleryActions() {
    return {
      verdict: (cell, cls) => this.decideIn(cell, () => this.editing.verdict(cell.id, cls)),
      remove: (cell) => this.decideIn(cell, () => this.editing.remove(cell.id)),
      open: (cell) => this.openCell(cell),
      undo: () => this.turn("undo"),
      close: () => this.showGallery(false),
    };
  }

  // ---- data

  // After a step ahead of the page, what it said before it knew of the step waits for a moment.
  update(component) {
    this.triggers = Math.max(this.triggers, component.data.last_step ?? 0);
    if (this.ahead && component.data.last_step < this.ahead.step) {
      this.component = component;
      this.ahead.late = component;
      return;
    }
    if (component.data.last_step >= this.answer) this.leaving = false;
    this.showAhead(null);
    super.update(component);
  }

  showAhead(data, step) {
    clearTimeout(this.ahead?.timer);
    this.ahead = null;
    if (!data) return;
    const wait = () => {
      const { late } = this.ahead;
      this.ahead = null;
      if (late) super.update(late);
    };
    this.ahead = { step, late: null, timer: setTimeout(wait, AHEAD_MS) };
    const { strip, preferences, gallery, next_fields } = this.data;
    this.show({ strip, preferences, gallery, next_fields, ...data });
  }

  show(data) {
    const another = this.data?.field !== data.field;
    if (!this.data && data.gallery) this.caseGallery.wait(); // it was open when the page was left
    super.show(data);
    if (data.gallery && this.caseGallery.open) this.drawGallery();
    if (!another || !this.landing) return;
    const first = this.landing === true ? this.undecided()[0]?.id : this.landing;
    this.landing = null;
    if (first) this.goTo(first);
  }

  take(data) {
    this.use(outboxOf(data.user));
    this.panel.showClasses(data.classes);
    this.editing.take(data);
    this.showOutbox();
  }

  use(outbox) {
    if (this.outbox === outbox) return;
    this.outbox = outbox;
    const notify = (sentence) => (this.tools.say(sentence), this.announce(sentence));
    this.editing = new Editing(outbox, () => this.draw(), notify);
    this.editing.looking = this.looking;
    outbox.listener = {
      changed: () => this.showOutbox(),
      notify,
      answered: (ops, outdated, lost) => this.onAnswer(ops, outdated, lost),
      adopted: () => (this.editing.applyPending(), this.draw()),
    };
  }

  leave(before) {
    super.leave(before);
    this.activityTimer.report();
    this.drawArea(false);
    this.ring.close();
    this.added = null;
  }

  takePreferences(given) {
    super.takePreferences(given);
    this.panel.advance.checked = Boolean(this.preferences.advance);
  }

  arrive(data) {
    super.arrive(data);
    this.leaving = false;
    this.activityTimer.start();
    this.dialog.close();
  }

  onAnswer(ops, outdated, lost) {
    this.editing.forget(lost);
    for (const way of ["undo", "redo"]) this.turned[way] = this.turned[way].filter((field) => lost.every((op) => op.field !== field));
    if (outdated) {
      // What was refused must go, also when the server has nothing new to send.
      this.editing.take(this.data);
      this.draw();
    }
    if (!outdated && ops.every((op) => op.kind === "time")) return;
    clearTimeout(this.settling);
    const settle = () =>
      (outdated || !this.outbox.entries.length) && this.component.setTriggerValue("settled", ++this.triggers);
    this.settling = setTimeout(settle, outdated ? 0 : QUIET_MS);
  }

  showOutbox() {
    const { entries, trouble, saved, refused } = this.outbox;
    this.root.dataset.outbox = entries.length;
    this.root.dataset.rev = Math.max(this.editing.review.rev, saved.get(this.editing.field) ?? 0);
    this.panel.showSaved(entries.length, trouble, refused.length);
    this.tools.showTrouble(entries.length, trouble);
    this.tools.showRefused(refused);
  }

  discard() {
    const many = this.outbox.refused.length;
    this.dialog.ask(`Discard ${many === 1 ? "a change that was" : `${many} changes that were`} not saved?`, [
      ["Discard", () => (this.outbox.discard(), this.focus())],
      ["Keep", () => this.focus()],
    ]);
  }

  // ---- drawing

  draw() {
    super.draw();
    if (this.caseGallery.open && this.caseGallery.fields) this.caseGallery.draw();
  }

  drawCount(shown, listed) {
    const { review } = this.editing;
    this.numbers = {};
    for (const { by, decided, cls } of shown.filter(insideOf(review.area))) if (!by && decided) this.numbers[cls] = (this.numbers[cls] ?? 0) + 1;
    super.drawCount(shown, listed);
    this.panel.showCells(listed.length, listed.filter(insideOf(review.area)).length);
    this.panel.showHistory(review);
    this.panel.showState(review.state, Boolean(this.data.blind) && review.state !== "complete");
    this.tools.showArea(this.drawing, review.area);
    this.drawOnward(listed);
    this.drawStrip();
  }

  // When the model's proposals are all decided.
  drawOnward(listed) {
    const decided = listed.some((one) => one.decided && one.src === "model") && !this.undecided(listed).length;
    this.tools.showOnward(decided && !this.editing.closed && !this.looking, spokenKey(this.layout.keyOf("onward")));
  }

  // What is known here is newer than what the page said.
  drawStrip() {
    for (const [field, { state, marks, area }] of this.editing.reviews) {
      const own = [...marks.values()].filter((one) => one.decided && !one.by && one.cls === "mitosis");
      const mitoses = own.filter(insideOf(area)).length;
      this.strip.setState(field, state, mitoses);
    }
  }

  select(id) {
    super.select(id);
    const point = this.editing.point(id);
    const verdict = point?.decided ? point.cls : null;
    this.panel.showVerdicts(this.numbers, point ? verdict : this.current, point);
  }

  // ---- what is said about a cell

  click(id, place, force) {
    this.focus();
    const add = (id === null || force) && this.stage.contains(place) && !this.looking;
    this.added = add ? this.editing.add(this.stage.clip(place), this.current) : this.added === id ? id : null;
    this.select(add ? this.added : id);
  }

  // A double-click only zooms: the mark that its first click has set goes again.
  zoomInOn(id, place) {
    const mistaken = id !== null && id === this.added;
    this.added = null;
    if (mistaken) {
      this.editing.takeBack();
      this.tools.say(""); // what was said of that mark
    }
    super.zoomInOn(mistaken ? null : id, place);
  }

  // The verdicts, round a mark or an empty place.
  openMenu(id, place) {
    const point = this.editing.point(id);
    if ((!point && !(place && this.stage.contains(place))) || this.editing.refuses()) return;
    if (point?.by) return this.tools.say(`This is a mark of ${point.by}; Shift + click sets your own beside it.`);
    this.select(id);
    const say = (cls) => (point ? this.verdict(cls) : this.select(this.editing.add(this.stage.clip(place), cls)));
    const keys = this.layout.verdictKeys(this.data.classes);
    const choices = this.data.classes.map((one, n) => ({ label: one.label, glyph: GLYPHS[one.shape], color: one.color, keys: keys[n], act: () => say(one.id) }));
    const remove = { label: this.panel.reject.textContent, glyph: "✕", keys: [this.layout.keyOf("reject"), "delete"], act: () => this.reject() };
    const reach = this.stage.marks.radius() * this.stage.scale;
    this.ring.show(...this.stage.onScreen(point ?? place), reach, point ? [...choices, remove] : choices);
  }

  // Of the selected mark, or of the marks to come.
  verdict(cls) {
    const { cell } = this.caseGallery;
    if (this.caseGallery.open) return cell && this.decideIn(cell, () => this.editing.verdict(cell.id, cls));
    if (this.editing.point(this.selected)) return this.decide((id) => this.editing.verdict(id, cls));
    this.current = cls;
    this.select(null);
    this.announce(`New marks are: ${cls}`);
  }

  confirm() {
    const { cell } = this.caseGallery;
    if (this.caseGallery.open) return cell?.open && this.decideIn(cell, () => this.editing.verdict(cell.id, "mitosis"));
    if (!this.editing.point(this.selected)?.decided) this.decide((id) => this.editing.verdict(id, "mitosis"));
  }

  reject() {
    const { cell } = this.caseGallery;
    if (this.caseGallery.open) return cell && this.decideIn(cell, () => this.editing.remove(cell.id));
    this.decide((id) => this.editing.remove(id));
  }

  // A decision leads to the next cell without one: in the grid always, else where the reader wants it.
  decide(act) {
    const id = this.selected;
    const point = this.editing.point(id);
    if (!point) return;
    if (point.by) return this.tools.say(`This is a mark of ${point.by}; Shift + click sets your own beside it.`);
    if (this.editing.refuses()) return;
    const place = this.listed().findIndex((one) => one.id === id);
    act(id);
    const left = this.editing.point(id);
    this.announce(left ? this.styleOf(left).spoken : "Deleted");
    if (!this.grid && (point.decided || !this.preferences.advance)) return;
    const list = this.listed();
    const next = [...list.slice(place), ...list.slice(0, place)].find((one) => one.id !== id && one.decided === false);
    if (this.grid) return next ? this.goTo(next.id) : this.tools.say("All cells are decided.");
    if (next) this.panTo(next.id);
    else this.showWhole();
  }

  // At the zoom there is; in the whole field all of them are in sight.
  panTo(id) {
    if (this.stage.fitted) this.select(id);
    else this.goTo(id);
  }

  // After the last cell: what the model has missed is looked for in the whole field.
  showWhole() {
    this.select(null);
    this.stage.fit();
    this.announce("All cells of this field are decided.");
  }

  turn(way) {
    if (this.caseGallery.open) return this.turnInGallery(way);
    const id = this.editing[way]();
    if (this.editing.point(id)) this.panTo(id);
  }

  step(by) {
    if (!this.caseGallery.open) return super.step(by);
    if (!this.caseGallery.stepOpen(by)) this.caseGallery.walk(by);
  }

  arrow(dx, dy, far) {
    if (this.caseGallery.open) return this.caseGallery.walk(dx + dy * this.caseGallery.columns);
    const point = this.editing.own(this.selected);
    if (this.grid) this.walk(dx + dy * this.gallery.columns);
    else if (!point) {
      this.stage.aim.hidden = this.looking;
      super.arrow(dx, dy, far);
    }
    else this.editing.move(point.id, this.stage.clip({ x: point.x + dx * (far ? 5 : 1), y: point.y + dy * (far ? 5 : 1) }));
  }

  // ---- the grid, and the reviewed area

  walk(by) {
    const list = this.listed();
    const place = list.findIndex((point) => point.id === this.selected);
    const next = list[place < 0 ? 0 : place + by];
    if (next) this.goTo(next.id);
  }

  showGrid(visible) {
    this.grid = visible;
    this.root.classList.toggle("grid", visible);
    this.panel.triage.textContent = visible ? "Close grid" : "Grid";
    this.panel.triage.setAttribute("aria-pressed", visible);
    if (visible && this.editing.point(this.selected)?.decided !== false) this.step(1);
    else this.gallery.reveal();
  }

  // ---- the gallery of the case

  showGallery(visible) {
    if (visible === this.caseGallery.open) return;
    if (this.grid) this.showGrid(false);
    this.panel.case.setAttribute("aria-pressed", visible);
    this.component.setTriggerValue("gallery", { open: visible });
    this.turned = { undo: [], redo: [] };
    if (visible) this.caseGallery.wait();
    else this.caseGallery.hide();
    if (visible && this.data.gallery) this.drawGallery();
  }

  drawGallery() {
    const { gallery, classes } = this.data;
    for (const one of gallery.fields) this.editing.takeAside(one.data);
    const fields = gallery.fields.map(({ data, name, crops }) => ({ id: String(data.field), name, crops, umPerPx: data.um_per_px }));
    const cells = (field) => this.listed(this.shown(this.editing.countedOf(field), null));
    this.caseGallery.show(gallery, fields, (field) => cells(field).map((point) => this.cellOf(point, classes)));
  }

  cellOf(point, classes) {
    const { score, x, y, cls } = point;
    return { ...this.styleOf(point, null), score, cls, open: point.decided === false, home: { x, y }, classes };
  }

  decideIn(cell, act) {
    const { done } = this.editing.reviews.get(cell.field.id);
    const before = done.length;
    this.editing.on(cell.field.id, act);
    if (done.length > before) this.turned = { undo: [...this.turned.undo, cell.field.id], redo: [] };
    if (cell.open && this.preferences.advance && !this.looking) this.caseGallery.stepOpen();
  }

  // The last verdict given in the gallery, in whichever field it was.
  turnInGallery(way) {
    const field = this.turned[way].pop();
    if (!field) return;
    this.turned[way === "undo" ? "redo" : "undo"].push(field);
    this.editing.on(field, () => this.editing[way]());
  }

  openCell(cell) {
    if (!cell) return;
    this.showGallery(false);
    if (cell.field.id === this.editing.field) this.goTo(cell.id);
    else this.goToField(cell.field.id, cell.id);
  }

  open(id) {
    if (this.caseGallery.open) return this.openCell(this.caseGallery.cell);
    if (this.grid) this.showGrid(false);
    super.open(id);
  }

  get drawing() {
    return this.stage.pointer.tool === this.areaTool;
  }

  useRuler(on) {
    if (on) this.drawArea(false);
    super.useRuler(on);
  }

  drawArea(drawing) {
    if (drawing && this.ruler.on) super.useRuler(false);
    if (drawing || this.drawing) this.stage.pointer.use(drawing ? this.areaTool : null);
    this.stage.marks.showArea(this.area);
    this.tools.showArea(drawing, this.area);
  }

  escape() {
    this.stage.pointer.cancelDrag();
    if (this.caseGallery.open) this.showGallery(false);
    else if (this.drawing) this.drawArea(false);
    else if (this.grid) this.showGrid(false);
    else super.escape();
  }

  // ---- look only

  get lookOnly() {
    return this.looking ? "Look only: nothing is changed" : "";
  }

  look(on) {
    this.activityTimer.report(); // looking is no review: it takes no time either
    this.looking = this.editing.looking = on;
    this.ring.close();
    this.drawArea(false);
    this.root.classList.toggle("look-only", on);
    this.panel.showLooking(on);
    this.tools.showLooking(this.lookOnly);
    this.tools.say("");
    this.announce(on ? this.lookOnly : "Reviewing");
    this.draw();
    this.activityTimer.start();
  }

  // ---- moving on

  // To the next cell without a verdict, in the next field that has one when this one has none.
  onward() {
    if (this.undecided().length) return this.step(1);
    if (this.data.next_fields?.targets.onward === this.editing.field) return this.tools.say("No cell is undecided in the other fields.");
    this.go("onward");
  }

  goToField(field, cell = null) {
    if (field === this.editing.field || this.leaving) return;
    if (this.caseGallery.open) this.showGallery(false);
    this.go("open", field);
    this.landing = cell;
  }

  close(state, step) {
    if (this.looking) return this.editing.refuses();
    this.editing.setState(state);
    this.go(step);
  }

  finish() {
    if (this.leaving || (this.looking && this.editing.refuses())) return;
    if (this.editing.review.state === "complete") return this.go("next");
    const open = this.undecided();
    if (!open.length) return this.complete();
    const many = open.length > 1;
    this.dialog.ask(`${open.length} proposal${many ? "s are" : " is"} undecided.`, [
      [`Finish and count ${many ? "them" : "it"} as not mitosis`, () => this.complete()],
      [many ? "Accept them all and finish" : "Accept it and finish", () => this.complete(open)],
      ["Go on reviewing", () => this.focus()],
    ]);
  }

  complete(accepted = []) {
    this.focus();
    if (accepted.length && this.editing.closed) this.editing.setState("in_review"); // an excluded field is finished
    this.editing.accept(accepted.map((point) => point.id));
    this.editing.setState("complete");
    this.go("finish");
  }

  // The page turns over once what was done here is saved, or cannot be saved for now.
  async go(to, target = this.data.next_fields?.targets[to]) {
    if (this.leaving) return;
    this.landing = to === "onward" || (to === "finish" && this.preferences.advance) || null;
    this.answer = Infinity; // the step with whose answer the page has left, or stays
    this.leaving = to !== "reopen";
    setTimeout(() => (this.leaving = false), LEAVING_MS);
    const { field } = this.editing;
    await this.outbox.whenSent(); // the time spent follows when the field is left: nobody waits for it
    clearTimeout(this.settling);
    const { fields } = this.data.next_fields ?? {};
    const n = (this.answer = ++this.triggers);
    this.component.setTriggerValue("go", { to, target, field, n });
    if (fields?.[target]) this.showAhead(fields[target], n);
  }

  remove() {
    this.showAhead(null);
    this.caseGallery.remove();
    this.activityTimer.remove();
    clearTimeout(this.settling);
    this.outbox.listener = null;
    super.remove();
  }
}

export default function (component) {
  const parent = component.parentElement;
  // The instance lives on its parent: a rerun brings new data to the same viewer, which keeps its view.
  const Kind = component.data.editable ? Reviewer : Viewer;
  if (parent.viewer?.constructor !== Kind) {
    parent.viewer?.remove();
    parent.viewer = new Kind(parent);
  }
  parent.viewer.update(component);
  return () => {
    parent.viewer?.remove();
    parent.viewer = undefined;
  };
}
