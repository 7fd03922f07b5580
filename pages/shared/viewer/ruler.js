// The ruler: a line between two places of the field and its length in µm. Drawn by a drag, or by two taps.

class Ruler {
  constructor(stage) {
    this.stage = stage;
    this.svg = makeSvg("svg", "marks ruler", stage.root);
    this.lines = [makeSvg("path", "ruler-rim", this.svg), makeSvg("path", "ruler-line", this.svg)];
    this.label = make("div", "ruler-length", stage.root);
    this.on = false;
    this.clear();
  }

  use(on) {
    this.on = on;
    this.stage.pointer.use(on ? this : null);
    if (!on) this.clear();
  }

  clear() {
    this.start = null; // of a line that a first tap has begun
    this.measure(null);
  }

  // ---- what the pointer does with it, in places of the image

  drag(from, to) {
    this.start = null;
    this.measure([from, to]);
  }

  drop(from, to) {
    this.drag(from, to);
  }

  tap(place) {
    if (this.start) return this.drag(this.start, place);
    this.measure([place, place]);
    this.start = place;
  }

  hover(place) {
    if (this.start) this.measure([this.start, place]);
  }

  measure(ends) {
    this.ends = ends;
    this.paint();
  }

  get length() {
    const [a, b] = this.ends;
    const px = Math.hypot(a.x - b.x, a.y - b.y);
    return this.stage.umPerPx ? `${(px * this.stage.umPerPx).toFixed(1)} µm` : `${px.toFixed(0)} px`;
  }

  paint() {
    this.svg.style.display = this.ends ? "" : "none";
    this.label.hidden = !this.ends;
    if (!this.ends) return;
    const [[x0, y0], [x1, y1]] = this.ends.map((end) => this.stage.onScreen(end));
    const long = Math.hypot(x1 - x0, y1 - y0) || 1;
    const [nx, ny] = [(-6 * (y1 - y0)) / long, (6 * (x1 - x0)) / long]; // the strokes at its ends
    const stroke = (x, y) => `M ${x - nx} ${y - ny} L ${x + nx} ${y + ny}`;
    for (const line of this.lines) line.setAttribute("d", `M ${x0} ${y0} L ${x1} ${y1} ${stroke(x0, y0)} ${stroke(x1, y1)}`);
    this.label.textContent = this.length;
    this.label.style.transform = `translate(${Math.max(x0, x1) + 10}px, ${(x1 > x0 ? y1 : y0) - 9}px)`;
  }
}
