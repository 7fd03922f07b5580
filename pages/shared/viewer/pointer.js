// Mouse and touch on the stage: wheel and pinch zoom, dragging pans, moves a mark or draws the reviewed area, clicks select.

const DRAG_PX = 5; // a pointer that moves less has clicked
const WHEEL_LINE_PX = 16;
const FINGER_PX = 22;

class PointerControl {
  // on: see Stage
  constructor(stage, on) {
    this.stage = stage;
    this.on = on;
    this.pointers = new Map(); // id -> [x, y] on the stage
    this.drag = null; // { from, moved, mark }
    this.drawing = false; // whether the next drag draws the reviewed area
    const root = stage.root;
    root.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => this.onDown(event));
    root.addEventListener("pointermove", (event) => this.onMove(event));
    root.addEventListener("pointerup", (event) => this.onUp(event));
    root.addEventListener("pointercancel", (event) => this.onUp(event));
    root.addEventListener("pointerleave", () => stage.hover(null));
    root.addEventListener("dblclick", (event) => on.open(this.hit(event)));
  }

  draw(drawing) {
    this.drawing = drawing;
    this.stage.root.classList.toggle("drawing", drawing);
  }

  place(event) {
    const box = this.stage.root.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  hit(event) {
    return this.stage.marks.hit(...this.place(event), event.pointerType === "touch" ? FINGER_PX : 0);
  }

  onWheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_LINE_PX : 1;
    // Browsers report a touchpad's pinch as a wheel with Ctrl, in finer steps.
    this.stage.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), ...this.place(event));
  }

  onDown(event) {
    if (event.button > 1) return;
    this.stage.root.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.cancelDrag();
    if (this.pointers.size > 1) return; // a second finger: neither a click nor a drag any more
    const [x, y] = this.place(event);
    const mark = event.button === 0 && !event.shiftKey && !this.drawing ? this.stage.marks.hit(x, y) : null;
    this.drag = { from: [x, y], moved: false, mark: this.on.movable(mark) ? mark : null };
    if (this.drag.mark) this.drag.home = { ...this.stage.marks.point(mark) };
  }

  onMove(event) {
    const [x, y] = this.place(event);
    if (!this.pointers.has(event.pointerId)) return this.stage.hover(this.stage.marks.hit(x, y));
    const before = this.middle();
    const last = this.pointers.get(event.pointerId);
    this.pointers.set(event.pointerId, [x, y]);
    if (this.pointers.size === 2) {
      const after = this.middle();
      this.stage.zoomAt(after.spread / before.spread, before.x, before.y);
      this.stage.pan(after.x - before.x, after.y - before.y);
    } else if (this.drag) this.onDrag(x, y, last);
  }

  onDrag(x, y, last) {
    const drag = this.drag;
    if (!drag.moved && Math.hypot(x - drag.from[0], y - drag.from[1]) < DRAG_PX) return;
    const [lastX, lastY] = drag.moved ? last : drag.from;
    drag.moved = true;
    this.stage.root.classList.add("dragging");
    if (this.drawing) this.stage.marks.showArea(this.box(drag.from, [x, y]));
    else if (drag.mark) {
      this.stage.marks.drag(drag.mark, this.draggedTo(drag, x, y));
      this.stage.paintTag();
    } else {
      this.stage.setPanning(true);
      this.stage.pan(x - lastX, y - lastY);
    }
  }

  // Where the dragged mark is: it keeps its place under the pointer, and stays on the image.
  draggedTo({ from, home }, x, y) {
    const { scale } = this.stage;
    return this.stage.clip({ x: home.x + (x - from[0]) / scale, y: home.y + (y - from[1]) / scale });
  }

  // The rectangle between two places on the screen, in whole pixels of the image; null if there is none.
  box(a, b) {
    const side = (k, origin, size) =>
      [a[k], b[k]].map((at) => Math.min(size, Math.max(0, Math.round((at - origin) / this.stage.scale)))).sort((p, q) => p - q);
    const [x0, x1] = side(0, this.stage.x, this.stage.width);
    const [y0, y1] = side(1, this.stage.y, this.stage.height);
    return x0 < x1 && y0 < y1 ? [x0, y0, x1, y1] : null;
  }

  onUp(event) {
    const drag = this.drag;
    const [x, y] = this.place(event);
    const known = this.pointers.delete(event.pointerId);
    if (!drag || !known) return;
    if (event.type === "pointercancel") return this.cancelDrag();
    this.drag = null;
    this.stage.setPanning(false);
    this.stage.root.classList.remove("dragging");
    if (drag.moved && this.drawing) this.on.drew(this.box(drag.from, [x, y]));
    else if (drag.moved && drag.mark) this.on.move(drag.mark, this.draggedTo(drag, x, y));
    else if (!drag.moved && !this.drawing) this.on.click(this.hit(event), this.stage.onImage(x, y), event.shiftKey);
  }

  // Ends a drag that shall have no effect.
  cancelDrag() {
    const drag = this.drag;
    this.drag = null;
    this.stage.setPanning(false);
    this.stage.root.classList.remove("dragging");
    if (drag?.mark && drag.moved) this.stage.marks.drag(drag.mark, { x: drag.home.x, y: drag.home.y });
  }

  middle() {
    const [a, b = a] = [...this.pointers.values()];
    return { x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2, spread: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1 };
  }
}
