// The reviewer: a viewer whose marks may be changed. A change is drawn at once and sent by the outbox;
// the page is notified when all is saved and it is quiet, or when the field is left.

const QUIET_MS = 300; // after the last change was saved, before the page is notified
const LEAVING_MS = 3000; // for the page to bring the next field

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
    this.activityTimer = new ActivityTimer(this.root, (seconds) => this.editing?.spend(this.editing.field, seconds));
    // After a press by mouse or finger the keys are the viewer's again.
    this.root.addEventListener("click", (event) => event.detail && !this.dialog.open && this.focus());
    // Else the first letters would be Streamlit's.
    if (document.activeElement === document.body) this.focus();
  }

  get help() {
    return HELP.editing;
  }

  get keys() {
    return { ...viewingKeys(this), ...editingKeys(this) };
  }

  get points() {
    return this.editing.points;
  }

  get area() {
    return this.editing.review.area;
  }

  stageActions() {
    return {
      ...super.stageActions(),
      click: (id, place, force) => this.click(id, place, force),
      movable: (id) => !this.editing.closed && Boolean(this.editing.own(id)),
      move: (id, place) => (this.editing.move(id, place), this.select(id)),
      drew: (area) => (this.drawArea(false), area && this.editing.setArea(area)),
    };
  }

  toolActions() {
    const area = () => this.drawArea(!this.stage.pointer.drawing);
    return {
      ...super.toolActions(),
      area,
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
      triage: () => this.showGrid(!this.grid),
      go: (to) => this.go(to),
      finish: () => this.finish(),
      exclude: () => (this.editing.setState("excluded"), this.go("exclude")),
      reopen: () => (this.editing.setState("in_review"), this.go("reopen")),
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
    this.ahead = { step, late: null, timer: setTimeout(wait, LEAVING_MS) };
    this.show(data);
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
    outbox.listener = {
      changed: () => this.showOutbox(),
      notify,
      answered: (ops, outdated) => this.onAnswer(ops, outdated),
      adopted: () => (this.editing.applyPending(), this.draw()),
    };
  }

  leave(before) {
    super.leave(before);
    this.activityTimer.report();
    this.drawArea(false);
  }

  arrive(data) {
    super.arrive(data);
    this.leaving = false;
    this.activityTimer.start();
    this.dialog.close();
  }

  onAnswer(ops, outdated) {
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

  drawCount(shown, listed) {
    const { review } = this.editing;
    this.numbers = {};
    for (const { by, decided, cls } of shown) if (!by && decided) this.numbers[cls] = (this.numbers[cls] ?? 0) + 1;
    super.drawCount(shown, listed);
    this.panel.cells.textContent = `${listed.length} cell${listed.length === 1 ? "" : "s"}`;
    this.panel.showHistory(review);
    this.panel.showState(review.state, Boolean(this.data.blind) && review.state !== "complete");
    this.tools.showArea(this.stage.pointer.drawing, review.area);
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
    const add = (id === null || force) && this.stage.contains(place);
    this.select(add ? this.editing.add(this.stage.clip(place), this.current) : id);
  }

  // Of the selected mark, or of the marks to come.
  verdict(cls) {
    if (this.editing.point(this.selected)) return this.decide((id) => this.editing.verdict(id, cls));
    this.current = cls;
    this.select(null);
    this.announce(`New marks are: ${cls}`);
  }

  confirm() {
    if (!this.editing.point(this.selected)?.decided) this.decide((id) => this.editing.verdict(id, "mitosis"));
  }

  reject() {
    this.decide((id) => this.editing.remove(id));
  }

  // In the grid a decision leads to the next cell without one.
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
    if (!this.grid) return;
    const list = this.listed();
    const next = [...list.slice(place), ...list.slice(0, place)].find((one) => one.id !== id && one.decided === false);
    if (next) this.goTo(next.id);
    else this.tools.say("All cells are decided.");
  }

  turn(way) {
    const id = this.editing[way]();
    if (this.editing.point(id)) this.select(id);
  }

  arrow(dx, dy, far) {
    const point = this.editing.own(this.selected);
    if (this.grid) this.walk(dx + dy * this.gallery.columns);
    else if (!point) super.arrow(dx, dy);
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

  open(id) {
    if (this.grid) this.showGrid(false);
    super.open(id);
  }

  drawArea(drawing) {
    this.stage.pointer.draw(drawing);
    this.stage.marks.showArea(this.area);
    this.tools.showArea(drawing, this.area);
  }

  escape() {
    this.stage.pointer.cancelDrag();
    if (this.stage.pointer.drawing) this.drawArea(false);
    else if (this.grid) this.showGrid(false);
    else super.escape();
  }

  // ---- moving on

  finish() {
    if (this.leaving) return;
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
  async go(to) {
    if (this.leaving) return;
    this.leaving = true;
    setTimeout(() => (this.leaving = false), LEAVING_MS);
    const { field } = this.editing;
    await this.outbox.whenSent(); // the time spent follows when the field is left: nobody waits for it
    clearTimeout(this.settling);
    const { targets, fields } = this.data.next_fields ?? {};
    const n = ++this.triggers;
    this.component.setTriggerValue("go", { to, field, n });
    if (fields?.[targets[to]]) this.showAhead(fields[targets[to]], n);
  }

  remove() {
    this.showAhead(null);
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
