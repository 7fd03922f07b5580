// The gallery: every detection as a small crop, best score first, drawn from the field image already loaded. Grown over
// the stage it is a grid for going through many of them quickly.

const CROP_UM = 32;
const CROP_CSS_PX = 120; // in the grid; smaller beside the stage
const GLYPHS = { circle: "●", square: "■", diamond: "◆", triangle: "▲", wedge: "▼" };

class Gallery {
  // on: { pick(id), open(id) }
  constructor(parent, on) {
    this.root = make("div", "gallery", parent, { role: "group", "aria-label": "Detections, best score first" });
    this.crops = new Map(); // id -> button
    this.on = on;
    // Crops out of sight are drawn when they come near.
    this.observer = new IntersectionObserver((seen) => this.onSeen(seen), { root: this.root, rootMargin: "200px" });
  }

  // A new field: forget the old crops.
  show(image, umPerPx) {
    this.image = image;
    this.sizePx = umPerPx ? CROP_UM / umPerPx : 128;
    this.observer.disconnect();
    this.crops.clear();
    this.root.replaceChildren();
  }

  // points: best first.
  setPoints(points) {
    const wanted = new Set(points.map((point) => point.id));
    for (const [id, crop] of this.crops) crop.hidden = !wanted.has(id);
    points.forEach((point, place) => {
      if (!this.crops.has(point.id)) this.crops.set(point.id, this.makeCrop(point));
      const crop = this.crops.get(point.id);
      this.applyStyle(crop, point, place, points.length);
      if (this.root.children[place] !== crop) this.root.insertBefore(crop, this.root.children[place] || null);
    });
  }

  applyStyle(crop, point, place, total) {
    const label = `Detection ${place + 1} of ${total}, ${point.spoken}`;
    if (crop.getAttribute("aria-label") !== label) crop.setAttribute("aria-label", label);
    const before = crop.point;
    crop.point = point;
    if (before.x !== point.x || before.y !== point.y) this.draw(crop);
    if (before.short === point.short && before.look === point.look) return;
    crop.lastChild.textContent = point.look && point.short ? ` ${point.short}` : point.short;
    crop.className = `crop ${point.look}`;
    if (!point.look) return;
    crop.style.setProperty("--verdict", point.color);
    const glyph = make("i", "", null, { "aria-hidden": "true" });
    glyph.textContent = GLYPHS[point.shape] || GLYPHS.circle;
    crop.lastChild.prepend(glyph);
  }

  makeCrop(point) {
    // N and P step through the detections: the crops are not a long row of tab stops.
    const crop = make("button", "crop", null, { type: "button", tabindex: "-1" });
    crop.dataset.id = point.id;
    const canvas = make("canvas", "", crop);
    canvas.width = canvas.height = Math.round(CROP_CSS_PX * Math.max(1, devicePixelRatio));
    make("span", "", crop);
    crop.addEventListener("click", () => this.on.pick(point.id));
    crop.addEventListener("dblclick", () => this.on.open(point.id));
    crop.point = {};
    this.observer.observe(crop);
    return crop;
  }

  onSeen(seen) {
    for (const { target, isIntersecting } of seen) {
      target.near = isIntersecting;
      if (isIntersecting && !target.drawn) this.draw(target);
    }
  }

  draw(crop) {
    crop.drawn = false;
    if (!crop.near || !this.image.complete || !this.image.naturalWidth) return;
    crop.drawn = true;
    const canvas = crop.firstChild;
    const context = canvas.getContext("2d");
    const left = crop.point.x + 0.5 - this.sizePx / 2;
    const top = crop.point.y + 0.5 - this.sizePx / 2;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.image, left, top, this.sizePx, this.sizePx, 0, 0, canvas.width, canvas.height);
  }

  redraw() {
    for (const crop of this.crops.values()) this.draw(crop);
  }

  // Crops in one row of the grid, for going up and down.
  get columns() {
    return Math.max(1, getComputedStyle(this.root).gridTemplateColumns.split(" ").length);
  }

  select(id) {
    const another = this.selected !== id;
    if (another) this.crops.get(this.selected)?.setAttribute("aria-pressed", false);
    this.selected = id;
    this.crops.get(id)?.setAttribute("aria-pressed", true);
    if (another) this.reveal();
  }

  // Scrolls the gallery alone: scrollIntoView would also move the page.
  reveal() {
    const crop = this.crops.get(this.selected);
    if (!crop) return;
    const above = crop.offsetTop - this.root.scrollTop;
    if (above < 0 || above + crop.offsetHeight > this.root.clientHeight)
      this.root.scrollTop = crop.offsetTop - (this.root.clientHeight - crop.offsetHeight) / 2;
  }

  remove() {
    this.observer.disconnect();
  }
}
