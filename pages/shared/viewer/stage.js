// The stage: one image under a CSS transform, a heat map stretched over it, and the marks on top.
// Everything is placed in pixels of the original image; the centre of its top-left pixel is (0, 0).

const MAX_SCALE = 16;
const MARGIN_PX = 80; // of the image that always stays in sight

function make(tag, className, parent, attributes = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (parent) parent.append(element);
  return element;
}

function makeButton(className, parent, text, title, act) {
  const button = make("button", className, parent, { type: "button", title, "aria-label": title });
  button.textContent = text;
  button.addEventListener("click", act);
  return button;
}

class Stage {
  // on: { click(id or null, place, force), open(id or null, place), menu(id or null, place), movable(id), move(id, place),
  //   loaded(), failed() }
  constructor(parent, on) {
    this.root = make("div", "stage", parent);
    this.sheet = make("div", "sheet", this.root);
    this.image = make("img", "field", this.sheet, { alt: "", draggable: "false" });
    this.heat = make("img", "heat", this.sheet, { alt: "", draggable: "false" });
    this.marks = new Marks(this);
    this.tag = make("div", "tag", this.root);
    this.aim = make("div", "aim", this.root, { "aria-hidden": "true" }); // the middle, while the keys move the field
    this.aim.hidden = true;
    this.bar = make("div", "scale-bar", this.root);
    this.selected = this.hovered = null;
    this.width = this.height = this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true; // until the user moves, a resize fits the field again
    this.panning = false; // while the field is dragged
    this.image.addEventListener("load", () => on.loaded());
    this.image.addEventListener("error", () => on.failed());
    this.pointer = new PointerControl(this, on);
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
    // Until the image is there: its middle square, small.
    this.sheet.style.backgroundImage = image.small ? `url("${new URL(image.small, document.baseURI).href}")` : "";
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

  // points: [{ id, x, y, color, dash, shape, faint, text }]
  setPoints(points) {
    this.marks.set(points);
    if (!this.marks.has(this.hovered)) this.hovered = null;
    if (!this.marks.has(this.selected)) this.selected = null;
    this.paint();
  }

  select(id) {
    this.selected = this.marks.has(id) ? id : null;
    this.marks.select(this.selected);
    this.paintTag();
  }

  hover(id) {
    if (id === this.hovered) return;
    this.hovered = id;
    this.root.classList.toggle("over-mark", id !== null);
    this.paintTag();
  }

  // ---- the view

  fit() {
    const { clientWidth: w, clientHeight: h } = this.root;
    if (!w || !h) return;
    this.scale = Math.min(w / this.width, h / this.height);
    this.x = (w - this.width * this.scale) / 2;
    this.y = (h - this.height * this.scale) / 2;
    this.fitted = true;
    this.aim.hidden = true;
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

  // Twice as near, at this place; once there, no nearer.
  zoomTo(place, factor = 2.5) {
    const [x, y] = this.onScreen(place);
    this.zoomAt(factor, x, y);
  }

  setPanning(panning) {
    if (panning === this.panning) return;
    this.panning = panning;
    this.root.classList.toggle("panning", panning);
    if (!panning) this.paint();
  }

  moved() {
    this.fitted = false;
    const { clientWidth: w, clientHeight: h } = this.root;
    this.x = Math.min(w - MARGIN_PX, Math.max(MARGIN_PX - this.width * this.scale, this.x));
    this.y = Math.min(h - MARGIN_PX, Math.max(MARGIN_PX - this.height * this.scale, this.y));
    this.paint();
  }

  // From pixels of the image to the screen and back.
  onScreen(point) {
    return [(point.x + 0.5) * this.scale + this.x, (point.y + 0.5) * this.scale + this.y];
  }

  onImage(x, y) {
    return { x: (x - this.x) / this.scale - 0.5, y: (y - this.y) / this.scale - 0.5 };
  }

  // The nearest place on the image, to a tenth of a pixel.
  clip({ x, y }) {
    const within = (value, size) => Math.min(size - 1, Math.max(0, Math.round(value * 10) / 10));
    return { x: within(x, this.width), y: within(y, this.height) };
  }

  // The place in the middle of what is on show.
  get middle() {
    return this.onImage(this.root.clientWidth / 2, this.root.clientHeight / 2);
  }

  contains(place) {
    return place.x >= -0.5 && place.y >= -0.5 && place.x < this.width - 0.5 && place.y < this.height - 0.5;
  }

  paint() {
    this.sheet.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.image.style.imageRendering = this.scale * devicePixelRatio > 4 ? "pixelated" : "auto";
    this.marks.paint();
    this.paintTag();
    this.paintScaleBar();
    this.ruler?.paint();
  }

  paintTag() {
    const point = this.marks.point(this.hovered ?? this.selected);
    this.tag.hidden = !point;
    if (!point) return;
    const off = this.marks.radius() * this.scale * 0.72 + 3;
    const [x, y] = this.onScreen(point);
    this.tag.textContent = point.text;
    this.tag.style.transform = `translate(${x + off}px, ${y - off}px) translateY(-100%)`;
  }

  paintScaleBar() {
    const now = `${this.scale}/${this.umPerPx}`;
    if (now === this.barred) return;
    this.barred = now;
    this.bar.hidden = !this.umPerPx;
    if (!this.umPerPx) return;
    const pxPerUm = this.scale / this.umPerPx;
    const longest = 150 / pxPerUm;
    const power = 10 ** Math.floor(Math.log10(longest));
    const um = [5, 2, 1].find((step) => step * power <= longest) * power;
    this.bar.style.width = `${um * pxPerUm}px`;
    this.bar.textContent = um >= 1000 ? `${um / 1000} mm` : `${um} µm`;
  }

  remove() {
    this.observer.disconnect();
    this.root.remove();
  }
}
