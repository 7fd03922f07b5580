// The marks over a field: a verdict shows by colour and by shape, a proposal by a broken line. Under them the reviewed
// area, the rest dimmed.

const SVG = "http://www.w3.org/2000/svg";
const MIN_RING_PX = 8; // on the screen: a ring stays visible however far one zooms out
// Round a cell of radius 1, of about equal area.
const SHAPES = {
  circle: "M 1 0 A 1 1 0 1 1 -1 0 A 1 1 0 1 1 1 0 Z",
  square: "M -0.9 -0.9 H 0.9 V 0.9 H -0.9 Z",
  diamond: "M 0 -1.3 L 1.3 0 L 0 1.3 L -1.3 0 Z",
  triangle: "M 0 -1.5 L 1.3 0.75 L -1.3 0.75 Z",
  wedge: "M 0 1.5 L -1.3 -0.75 L 1.3 -0.75 Z",
};

function makeSvg(tag, className, parent) {
  const element = document.createElementNS(SVG, tag);
  element.setAttribute("class", className);
  parent.append(element);
  return element;
}

class Marks {
  constructor(stage) {
    this.stage = stage;
    this.svg = makeSvg("svg", "marks", stage.root);
    this.layer = makeSvg("g", "", this.svg);
    this.shade = makeSvg("path", "shade", this.layer);
    this.edge = makeSvg("path", "edge", this.layer);
    this.shade.setAttribute("fill-rule", "evenodd");
    this.marks = new Map(); // id -> { point, group, paths }
    this.drawn = null; // the radius that all marks have
    this.selected = null;
    this.showArea(null);
  }

  has(id) {
    return this.marks.has(id);
  }

  point(id) {
    return this.marks.get(id)?.point;
  }

  set(points) {
    const wanted = new Set(points.map((point) => point.id));
    for (const [id, mark] of this.marks)
      if (!wanted.has(id)) {
        mark.group.remove();
        this.marks.delete(id);
      }
    for (const point of points) {
      if (!this.marks.has(point.id)) this.marks.set(point.id, this.makeMark(point.id));
      this.applyStyle(this.marks.get(point.id), point);
    }
  }

  makeMark(id) {
    const group = makeSvg("g", "mark", this.layer);
    group.dataset.id = id;
    // A dark rim under the coloured ring: visible on dark nuclei and on white glass, with any colour vision.
    return { group, paths: [makeSvg("path", "rim", group), makeSvg("path", "ring", group)], point: {} };
  }

  // Touches only what is not so already: a click among hundreds of marks changes one.
  applyStyle(mark, point) {
    const before = mark.point;
    mark.point = point;
    if (before.x !== point.x || before.y !== point.y) this.size(mark);
    if (before.shape !== point.shape)
      for (const path of mark.paths) path.setAttribute("d", SHAPES[point.shape] || SHAPES.circle);
    if (before.color !== point.color) mark.paths[1].style.stroke = point.color;
    if (before.dash !== point.dash) mark.paths[1].setAttribute("stroke-dasharray", point.dash || "");
    if (before.thin !== point.thin) mark.group.classList.toggle("thin", Boolean(point.thin));
    if (before.faint !== point.faint) mark.group.classList.toggle("faint", Boolean(point.faint));
  }

  size(mark) {
    // The thicker ring of the selected mark grows outwards, never onto the cell.
    const grown = mark.point.id === this.selected ? 2 / this.stage.scale : 0;
    const { x, y } = mark.point;
    mark.group.setAttribute("transform", `translate(${x + 0.5} ${y + 0.5}) scale(${this.radius() + grown})`);
  }

  // While it is dragged: the mark alone; nothing is stored yet.
  drag(id, place) {
    const mark = this.marks.get(id);
    if (!mark) return; // new data has just taken it away
    mark.point = { ...mark.point, ...place };
    this.size(mark);
  }

  select(id) {
    for (const key of [this.selected, id]) {
      const mark = this.marks.get(key);
      mark?.group.classList.toggle("selected", key === id);
    }
    const before = this.marks.get(this.selected);
    this.selected = id;
    if (before) this.size(before);
    const mark = this.marks.get(id);
    if (!mark) return;
    if (this.layer.lastChild !== mark.group) this.layer.append(mark.group); // on top of its neighbours
    this.size(mark);
  }

  // area: [x0, y0, x1, y1], edges in pixels from the corner of the image, or null.
  showArea(area) {
    const box = area && `M ${area[0]} ${area[1]} H ${area[2]} V ${area[3]} H ${area[0]} Z`;
    for (const path of [this.shade, this.edge]) path.style.display = area ? "" : "none";
    if (!area) return;
    this.shade.setAttribute("d", `M 0 0 H ${this.stage.width} V ${this.stage.height} H 0 Z ${box}`);
    this.edge.setAttribute("d", box);
  }

  radius() {
    return Math.max(this.stage.radius || 0, MIN_RING_PX / this.stage.scale);
  }

  // While the field is panned, the finished picture of all marks is moved; else they are drawn anew. One by one they are touched
  // only when their rings change their size.
  paint() {
    const { x, y, scale, panning } = this.stage;
    if (panning && scale === this.scale) {
      this.svg.style.transform = `translate(${x - this.x}px, ${y - this.y}px)`;
      return;
    }
    [this.x, this.y] = [x, y];
    this.svg.style.transform = "";
    this.layer.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
    const radius = this.radius();
    if (radius !== this.drawn) {
      this.drawn = radius;
      for (const mark of this.marks.values()) this.size(mark);
    } else if (scale !== this.scale && this.has(this.selected)) this.size(this.marks.get(this.selected));
    this.scale = scale;
  }

  // The nearest mark under a place on the screen, an own one before another reader's; slack widens the ring for fingers.
  hit(x, y, slack = 0) {
    const reach = Math.max(this.radius() * this.stage.scale + 2, slack);
    let best = null;
    let nearest = Infinity;
    for (const [id, { point }] of this.marks) {
      const [px, py] = this.stage.onScreen(point);
      const away = Math.hypot(px - x, py - y);
      const rank = point.faint ? away + reach : away;
      if (away <= reach && rank < nearest) [best, nearest] = [id, rank];
    }
    return best;
  }
}
