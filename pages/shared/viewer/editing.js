// Editing: the marks and state of each field, what a click or a key means, undo and redo. Nothing is drawn here.
// A mark that is not decided is a proposal of the model. Deciding makes it the reader's own; taking that back makes it
// a proposal again.

const STANDING = ["in_review", "complete", "excluded"]; // of a field that somebody has begun
const CLOSED = { complete: "finished", excluded: "excluded" }; // nothing changes before it is reopened

// What an op says of a mark.
function wholeMark({ x, y, cls, comment }) {
  return comment ? { x, y, cls, comment } : { x, y, cls };
}

class Editing {
  // changed(): something looks different now. notify(sentence): why nothing does. looking: nothing may be changed
  constructor(outbox, changed, notify) {
    this.outbox = outbox;
    this.changed = changed;
    this.notify = notify;
    this.looking = false;
    this.reviews = new Map(); // field -> { marks, proposals, gone, state, area, rev, done, undone }
  }

  // ---- data

  // The server's list is the truth, with what is still on its way laid over it; but a list that was made before our
  // last save was answered is older than what we have.
  take(data) {
    const field = String(data.field);
    this.field = field;
    this.outbox.open(field, data.api, data.strip?.find((one) => one.id === field)?.name ?? "");
    const known = this.reviews.get(field);
    const review = (this.review = known ?? { proposals: new Map(), gone: new Set(), done: [], undone: [] });
    if (known && data.rev < (this.outbox.saved.get(field) ?? 0)) return;
    this.reviews.set(field, review);
    Object.assign(review, { rev: data.rev, state: data.review?.state ?? "unseen", area: data.review?.area ?? null });
    // Another reader may have a verdict on the same proposal: the same id twice.
    review.marks = new Map(data.points.map((point) => [point.by ? `${point.by}/${point.id}` : point.id, { ...point }]));
    for (const [id, point] of review.marks) {
      point.id = id;
      if (!point.decided && !point.by) review.proposals.set(id, { ...point });
    }
    this.applyPending();
  }

  // Does something to another field that was taken, and comes back.
  on(field, act) {
    const { field: here, review, changed } = this;
    Object.assign(this, { field, review: this.reviews.get(field), changed: () => {} });
    const done = act();
    Object.assign(this, { field: here, review, changed });
    this.changed();
    return done;
  }

  // The data of another field, which is not on the stage.
  takeAside(data) {
    if (String(data.field) === this.field) return;
    const { field, review } = this;
    this.take(data);
    [this.field, this.review] = [field, review];
  }

  // What of another field lies in its reviewed area.
  countedOf(field) {
    const { marks, area } = this.reviews.get(field);
    return [...marks.values()].filter(insideOf(area));
  }

  applyPending() {
    for (const op of this.outbox.waiting(this.field)) this.apply(op);
  }

  get points() {
    return [...this.review.marks.values()];
  }

  point(id) {
    return this.review.marks.get(id);
  }

  own(id) {
    const point = this.point(id);
    return point && !point.by ? point : null;
  }

  get closed() {
    return this.review.state in CLOSED;
  }

  // Whether nothing may be changed; the reader is told.
  refuses() {
    if (this.looking) this.notify("Look only: nothing is changed. Switch it off to review.");
    else if (this.closed) this.notify(`This field is ${CLOSED[this.review.state]}. Reopen it to change it.`);
    return this.looking || this.closed;
  }

  // ---- changes

  apply(op) {
    const { marks, proposals, gone } = this.review;
    if (op.kind === "state") this.review.state = op.state;
    else if (op.kind === "area") this.review.area = op.area;
    else if (op.kind === "delete") {
      gone.add(op.id);
      const mark = marks.get(op.id);
      if (proposals.has(op.id)) marks.set(op.id, { ...proposals.get(op.id) });
      else if (mark?.src === "model") marks.set(op.id, { ...mark, decided: false, cls: "mitosis" });
      else marks.delete(op.id);
    } else if (op.id !== undefined) {
      const origin = marks.get(op.id) ?? { id: op.id, src: "reader", score: null, by: null };
      marks.set(op.id, { ...origin, x: op.x, y: op.y, cls: op.cls, comment: op.comment ?? null, decided: true });
    }
  }

  send(change) {
    if (change.kind !== "state" && !STANDING.includes(this.review.state)) this.send({ kind: "state", state: "in_review" });
    this.apply(change);
    this.outbox.add(this.field, this.review.rev, change);
  }

  // Makes one thing so: a mark { x, y, cls, comment } or null for none, or the area. Returns how it was before.
  make(id, after) {
    if (id === "area") {
      const before = this.review.area;
      this.send({ kind: "area", area: after });
      return before;
    }
    const mark = this.point(id);
    const before = mark?.decided ? wholeMark(mark) : null;
    if (!after && before) this.send({ kind: "delete", id, ...before });
    if (after) this.send({ kind: this.kindOf(id, mark, after), id, ...wholeMark(after) });
    return before;
  }

  // What the server did not take, or another window has changed since, is no step of this window any more: undoing it
  // would take the other window's change back.
  forget(lost) {
    for (const { field, kind, id = kind } of lost) {
      const review = this.reviews.get(field);
      if (!review) continue;
      for (const steps of ["done", "undone"])
        review[steps] = review[steps].map((step) => step.filter((one) => one.id !== id)).filter((step) => step.length);
    }
  }

  // Whether the verdict on a mark is what this window has made it.
  stands(id, mark) {
    const now = this.point(id);
    return id === "area" || (now?.decided ? now.cls : undefined) === mark?.cls;
  }

  // As if the last step had not been made: not to be redone either.
  takeBack() {
    if (this.turn(this.review.done, this.review.undone, "before") !== null) this.review.undone.pop();
  }

  kindOf(id, mark, after) {
    if (!mark?.decided && this.review.gone.has(id)) return "restore";
    if (!mark) return "add";
    return mark.x === after.x && mark.y === after.y ? "class" : "move";
  }

  // One step for undo: several changes, each [id, after].
  act(changes) {
    if (!changes.length || this.refuses()) return;
    this.review.done.push(changes.map(([id, after]) => ({ id, after, before: this.make(id, after) })));
    this.review.undone = [];
    const inside = insideOf(this.review.area);
    if (changes.some(([id, after]) => id !== "area" && after && !inside(after)))
      this.notify("This mark lies outside the reviewed area and does not count.");
    this.changed();
  }

  // Both return the mark that they changed, null for many or none.
  undo() {
    return this.turn(this.review.done, this.review.undone, "before");
  }

  redo() {
    return this.turn(this.review.undone, this.review.done, "after");
  }

  turn(from, to, side) {
    if (!from.length || this.refuses()) return null;
    const other = side === "before" ? "after" : "before";
    const step = from.pop().filter((change) => this.stands(change.id, change[other]));
    if (step.length) to.push(step);
    else this.notify(NEWER);
    for (const change of step) this.make(change.id, change[side]);
    this.changed();
    return step.length === 1 ? step[0].id : null;
  }

  // ---- what clicks and keys mean

  add(place, cls) {
    const id = randomId();
    this.act([[id, { ...place, cls }]]);
    return this.point(id) ? id : null;
  }

  // Moving a proposal says that it is one.
  move(id, { x, y }) {
    const mark = this.own(id);
    if (mark) this.act([[id, { ...mark, x, y }]]);
  }

  verdict(id, cls) {
    const mark = this.own(id);
    if (mark && !(mark.decided && mark.cls === cls)) this.act([[id, { ...mark, cls }]]);
  }

  comment(id, text) {
    const mark = this.own(id);
    if (mark?.decided && (mark.comment ?? "") !== text) this.act([[id, { ...mark, comment: text }]]);
  }

  // The reader's own mark: deleted. A proposal of the model: not a mitosis; once more: undecided again.
  remove(id) {
    const mark = this.own(id);
    if (!mark) return;
    if (mark.src !== "model" || (mark.decided && mark.cls === "lookalike")) this.act([[id, null]]);
    else this.verdict(id, "lookalike");
  }

  accept(ids) {
    const open = ids.map((id) => this.own(id)).filter((mark) => mark && !mark.decided);
    this.act(open.map(({ id, x, y }) => [id, { x, y, cls: "mitosis" }]));
  }

  setArea(area) {
    if (JSON.stringify(area) !== JSON.stringify(this.review.area)) this.act([["area", area]]);
  }

  setState(state) {
    if (state === this.review.state || this.looking) return;
    this.send({ kind: "state", state });
    this.changed();
  }

  spend(field, seconds) {
    this.outbox.add(field, this.reviews.get(field).rev, { kind: "time", seconds });
  }
}
