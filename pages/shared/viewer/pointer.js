// Mouse and touch on the stage: wheel and pinch zoom, dragging pans, moves a mark or is a tool's, clicks select, a double
// click zooms, a right-click or a long press asks for the menu.

const DRAG_PX = 5; // a pointer that moves less has clicked
const WHEEL_LINE_PX = 16;
const FINGER_PX = 22;
const LONG_PRESS_MS = 500;

class PointerControl {
  // on: see Stage
  constructor(stage, on) {
    this.stage = stage;
    this.on = on;
    this.pointers = new Map(); // id -> [x, y] on the stage
    this.drag = null; // { from, moved, mark }
    this.tool = null; // { drag(from, to), drop(from, to), tap(place), hover(place) }: what drags and clicks are for instead
    const root = stage.root;
    root.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => this.onDown(event));
    root.addEventListener("pointermove", (event) => this.onMove(event));
    root.addEventListener("pointerup", (event) => this.onUp(event));
    root.addEventListener("pointercancel", (event) => this.onUp(event));
    root.addEventListener("pointerleave", () => stage.hover(null));
    for (const type of ["pointerdown", "pointermove"]) root.addEventListener(type, () => (stage.aim.hidden = true));
    root.addEventListener("dblclick", (event) => !this.tool && on.open(this.hit(event), this.imagePlace(event)));
    root.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      if (event.pointerType !== "touch") this.askMenu(event); // a finger's long press is timed here
    });
  }

  use(tool) {
    this.tool = tool;
    this.cancelDrag();
    this.stage.root.classList.toggle("drawing", Boolean(tool));
  }

  askMenu(event) {
    if (!this.tool) this.on.menu(this.hit(event), this.imagePlace(event));
  }

  imagePlace(event) {
    return this.stage.onImage(...this.place(event));
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
    const mark = event.button === 0 && !event.shiftKey && !this.tool ? this.stage.marks.hit(x, y) : null;
    this.drag = { from: [x, y], moved: false, mark: this.on.movable(mark) ? mark : null };
    if (this.drag.mark) this.drag.home = { ...this.stage.marks.point(mark) };
    if (event.pointerType === "touch") this.pressing = setTimeout(() => (this.cancelDrag(), this.askMenu(event)), LONG_PRESS_MS);
  }

  onMove(event) {
    const [x, y] = this.place(event);
    if (!this.pointers.has(event.pointerId)) {
      this.tool?.hover(this.stage.onImage(x, y));
      return this.stage.hover(this.tool ? null : this.stage.marks.hit(x, y));
    }
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
    clearTimeout(this.pressing);
    this.stage.root.classList.add("dragging");
    if (this.tool) this.tool.drag(this.stage.onImage(...drag.from), this.stage.onImage(x, y));
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

  onUp(event) {
    const drag = this.drag;
    const [x, y] = this.place(event);
    const known = this.pointers.delete(event.pointerId);
    clearTimeout(this.pressing);
    if (!drag || !known) return;
    if (event.type === "pointercancel") return this.cancelDrag();
    this.drag = null;
    this.stage.setPanning(false);
    this.stage.root.classList.remove("dragging");
    const place = this.stage.onImage(x, y);
    if (this.tool && drag.moved) this.tool.drop(this.stage.onImage(...drag.from), place);
    else if (this.tool) this.tool.tap(place);
    else if (drag.moved && drag.mark) this.on.move(drag.mark, this.draggedTo(drag, x, y));
    else if (!drag.moved) this.on.click(this.hit(event), place, event.shiftKey);
  }

  // Ends a drag that shall have no effect.
  cancelDrag() {
    const drag = this.drag;
    clearTimeout(this.pressing);
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
