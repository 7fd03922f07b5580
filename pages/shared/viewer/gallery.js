// The gallery: every detection as a small crop, best score first, drawn from the field image already loaded.

const CROP_UM = 32;
const CROP_CSS_PX = 76;

class Gallery {
  constructor(parent, onPick) {
    this.onPick = onPick;
    this.root = make("div", "gallery", parent, { role: "group", "aria-label": "Detections, best score first" });
    this.crops = new Map(); // id -> button
  }

  // A new field: forget the old crops.
  show(image, umPerPx) {
    this.image = image;
    this.sizePx = umPerPx ? CROP_UM / umPerPx : 128;
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
      crop.setAttribute("aria-label", `Detection ${place + 1} of ${points.length}, score ${point.text}`);
      crop.lastChild.textContent = point.text;
      if (this.root.children[place] !== crop) this.root.insertBefore(crop, this.root.children[place] || null);
    });
  }

  makeCrop(point) {
    // N and P step through the detections: the crops are not a long row of tab stops.
    const crop = make("button", "crop", null, { type: "button", tabindex: "-1" });
    crop.dataset.id = point.id;
    const canvas = make("canvas", "", crop);
    canvas.width = canvas.height = Math.round(CROP_CSS_PX * Math.max(1, devicePixelRatio));
    make("span", "", crop);
    crop.addEventListener("click", () => this.onPick(point.id));
    crop.point = point;
    this.draw(crop);
    return crop;
  }

  draw(crop) {
    if (!this.image.complete || !this.image.naturalWidth) return;
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

  select(id) {
    for (const [key, crop] of this.crops) crop.setAttribute("aria-pressed", key === id);
    // Scrolls the gallery alone: scrollIntoView would also move the page.
    const crop = this.crops.get(id);
    if (!crop) return;
    const above = crop.offsetTop - this.root.scrollTop;
    if (above < 0 || above + crop.offsetHeight > this.root.clientHeight)
      this.root.scrollTop = crop.offsetTop - (this.root.clientHeight - crop.offsetHeight) / 2;
  }
}
