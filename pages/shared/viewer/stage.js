// The stage: one image under a CSS transform, a heat map stretched over it, and marks drawn in an SVG on top.
// Everything is placed in pixels of the original image; the centre of its top-left pixel is (0, 0).

const SVG = "http://www.w3.org/2000/svg";
const MIN_RING_PX = 8; // on the screen: a ring stays visible however far one zooms out
const MAX_SCALE = 16;
const MARGIN_PX = 80; // of the image that always stays in sight
const DRAG_PX = 5; // a pointer that moves less has clicked
const WHEEL_LINE_PX = 16;

function make(tag, className, parent, attributes = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (parent) parent.append(element);
  return element;
}

function makeSvg(tag, className, parent) {
  const element = document.createElementNS(SVG, tag);
  element.setAttribute("class", className);
  parent.append(element);
  return element;
}

class Stage {
  // on: { pick(id or null), loaded(), failed() }
  constructor(parent, on) {
    this.on = on;
    this.root = make("div", "stage", parent);
    this.sheet = make("div", "sheet", this.root);
    this.image = make("img", "field", this.sheet, { alt: "", draggable: "false" });
    this.heat = make("img", "heat", this.sheet, { alt: "", draggable: "false" });
    this.svg = makeSvg("svg", "marks", this.root);
    this.layer = makeSvg("g", "", this.svg);
    this.tag = make("div", "tag", this.root);
    this.bar = make("div", "scale-bar", this.root);
    this.marks = new Map(); // id -> { point, group, rings }
    this.selected = this.hovered = null;
    this.width = this.height = this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true; // until the user moves, a resize fits the field again
    this.pointers = new Map();
    this.image.addEventListener("load", () => on.loaded());
    this.image.addEventListener("error", () => on.failed());
    this.listen();
    this.observer = new ResizeObserver(() => (this.fitted ? this.fit() : this.paint()));
    this.observer.observe(this.root);
  }

  // ---- what is shown

  show(image, umPerPx) {
    this.width = image.width;
    this.height = image.height;
    this.radius = image.radius;
    this.umPerPx = umPerPx;
    this.sheet.style.width = `${image.width}px`;
    this.sheet.style.height = `${image.height}px`;
    const url = new URL(image.url, document.baseURI).href;
    if (this.image.src !== url) this.image.src = url;
  }

  showHeat(heat, opacity) {
    this.heat.hidden = !heat || opacity === 0;
    if (this.heat.hidden) return;
    const url = new URL(heat.url, document.baseURI).href;
    if (this.heat.src !== url) this.heat.src = url;
    this.heat.style.width = `${heat.width}px`;
    this.heat.style.height = `${heat.height}px`;
    this.heat.style.opacity = opacity;
  }

  // points: [{ id, x, y, color, dash, text }]
  setPoints(points) {
    const wanted = new Set(points.map((point) => point.id));
    for (const [id, mark] of this.marks)
      if (!wanted.has(id)) {
        mark.group.remove();
        this.marks.delete(id);
      }
    for (const point of points) {
      if (!this.marks.has(point.id)) this.marks.set(point.id, this.makeMark(point.id));
      const mark = this.marks.get(point.id);
      mark.point = point;
      mark.group.setAttribute("transform", `translate(${point.x + 0.5} ${point.y + 0.5})`);
      mark.rings[1].style.stroke = point.color;
      mark.rings[1].setAttribute("stroke-dasharray", point.dash || "");
    }
    if (!wanted.has(this.hovered)) this.hovered = null;
    if (!wanted.has(this.selected)) this.selected = null;
    this.paint();
  }

  makeMark(id) {
    const group = makeSvg("g", "mark", this.layer);
    group.dataset.id = id;
    // A dark rim under the coloured ring: visible on dark nuclei and on white glass, with any colour vision.
    return { group, rings: [makeSvg("circle", "rim", group), makeSvg("circle", "ring", group)] };
  }

  select(id) {
    this.selected = this.marks.has(id) ? id : null;
    for (const [key, mark] of this.marks) mark.group.classList.toggle("selected", key === this.selected);
    if (this.selected !== null) this.layer.append(this.marks.get(this.selected).group); // on top of its neighbours
    this.paint();
  }

  // ---- the view

  fit() {
    const { clientWidth: w, clientHeight: h } = this.root;
    if (!w || !h) return;
    this.scale = Math.min(w / this.width, h / this.height);
    this.x = (w - this.width * this.scale) / 2;
    this.y = (h - this.height * this.scale) / 2;
    this.fitted = true;
    this.paint();
  }

  get view() {
    return { scale: this.scale, x: this.x, y: this.y, fitted: this.fitted };
  }

  set view(view) {
    Object.assign(this, view);
    if (this.fitted) this.fit();
    else this.paint();
  }

  zoomAt(factor, x, y) {
    const { clientWidth: w, clientHeight: h } = this.root;
    const whole = Math.min(w / this.width, h / this.height);
    const scale = Math.min(MAX_SCALE, Math.max(whole * 0.8, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.moved();
  }

  zoom(factor) {
    this.zoomAt(factor, this.root.clientWidth / 2, this.root.clientHeight / 2);
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.moved();
  }

  centre(point, scale) {
    this.scale = Math.max(this.scale, scale);
    this.x = this.root.clientWidth / 2 - (point.x + 0.5) * this.scale;
    this.y = this.root.clientHeight / 2 - (point.y + 0.5) * this.scale;
    this.fitted = false;
    this.paint();
  }

  moved() {
    this.fitted = false;
    const { clientWidth: w, clientHeight: h } = this.root;
    this.x = Math.min(w - MARGIN_PX, Math.max(MARGIN_PX - this.width * this.scale, this.x));
    this.y = Math.min(h - MARGIN_PX, Math.max(MARGIN_PX - this.height * this.scale, this.y));
    this.paint();
  }

  ringRadius() {
    return Math.max(this.radius || 0, MIN_RING_PX / this.scale);
  }

  paint() {
    this.sheet.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.image.style.imageRendering = this.scale * devicePixelRatio > 4 ? "pixelated" : "auto";
    this.layer.setAttribute("transform", `translate(${this.x} ${this.y}) scale(${this.scale})`);
    const radius = this.ringRadius();
    for (const [id, mark] of this.marks) {
      // The thicker ring of the selected mark grows outwards, never onto the cell.
      const grown = id === this.selected ? radius + 2 / this.scale : radius;
      for (const ring of mark.rings) ring.setAttribute("r", grown);
    }
    this.paintTag();
    this.paintScaleBar();
  }

  paintTag() {
    const mark = this.marks.get(this.hovered ?? this.selected);
    this.tag.hidden = !mark;
    if (!mark) return;
    const off = this.ringRadius() * this.scale * 0.72 + 3;
    this.tag.textContent = mark.point.text;
    this.tag.style.left = `${(mark.point.x + 0.5) * this.scale + this.x + off}px`;
    this.tag.style.top = `${(mark.point.y + 0.5) * this.scale + this.y - off}px`;
  }

  paintScaleBar() {
    this.bar.hidden = !this.umPerPx;
    if (!this.umPerPx) return;
    const pxPerUm = this.scale / this.umPerPx;
    const longest = 150 / pxPerUm;
    const power = 10 ** Math.floor(Math.log10(longest));
    const um = [5, 2, 1].find((step) => step * power <= longest) * power;
    this.bar.style.width = `${um * pxPerUm}px`;
    this.bar.textContent = um >= 1000 ? `${um / 1000} mm` : `${um} µm`;
  }

  // ---- pointers: wheel and pinch zoom, dragging pans, a click picks

  listen() {
    const root = this.root;
    root.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => this.onDown(event));
    root.addEventListener("pointermove", (event) => this.onMove(event));
    root.addEventListener("pointerup", (event) => this.onUp(event));
    root.addEventListener("pointercancel", (event) => this.onUp(event));
    root.addEventListener("pointerleave", () => this.hover(null));
  }

  place(event) {
    const box = this.root.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  onWheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_LINE_PX : 1;
    // Browsers report a touchpad's pinch as a wheel with Ctrl, in finer steps.
    this.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), ...this.place(event));
  }

  onDown(event) {
    if (event.button > 1) return;
    this.root.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.drag = this.pointers.size === 1 ? { from: this.place(event), moved: false } : null;
  }

  onMove(event) {
    const [x, y] = this.place(event);
    if (!this.pointers.has(event.pointerId)) return this.hover(this.hit(x, y));
    const before = this.middle();
    const [lastX, lastY] = this.pointers.get(event.pointerId);
    this.pointers.set(event.pointerId, [x, y]);
    if (this.pointers.size === 2) {
      const after = this.middle();
      this.zoomAt(after.spread / before.spread, before.x, before.y);
      this.pan(after.x - before.x, after.y - before.y);
    } else if (this.drag) {
      if (!this.drag.moved && Math.hypot(x - this.drag.from[0], y - this.drag.from[1]) < DRAG_PX) return;
      const first = !this.drag.moved;
      this.drag.moved = true;
      this.root.classList.add("dragging");
      this.pan(x - (first ? this.drag.from[0] : lastX), y - (first ? this.drag.from[1] : lastY));
    }
  }

  onUp(event) {
    const clicked = this.drag && !this.drag.moved && event.type === "pointerup";
    this.pointers.delete(event.pointerId);
    this.drag = null;
    this.root.classList.remove("dragging");
    if (clicked) this.on.pick(this.hit(...this.place(event), event.pointerType === "touch" ? 22 : 0));
  }

  middle() {
    const [a, b = a] = [...this.pointers.values()];
    return { x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2, spread: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1 };
  }

  // The nearest mark under a place on the screen; slack widens the ring for fingers.
  hit(x, y, slack = 0) {
    let best = null;
    let nearest = Math.max(this.ringRadius() * this.scale + 2, slack);
    for (const [id, { point }] of this.marks) {
      const away = Math.hypot((point.x + 0.5) * this.scale + this.x - x, (point.y + 0.5) * this.scale + this.y - y);
      if (away <= nearest) [best, nearest] = [id, away];
    }
    return best;
  }

  hover(id) {
    if (id === this.hovered) return;
    this.hovered = id;
    this.root.classList.toggle("over-mark", id !== null);
    this.paintTag();
  }

  remove() {
    this.observer.disconnect();
    this.root.remove();
  }
}
