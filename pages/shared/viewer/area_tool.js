// The tool that draws the reviewed area: a rectangle in whole pixels of the image.

class AreaTool {
  // drew(area): [x0, y0, x1, y1], edges in pixels from the corner of the image, or null for none
  constructor(stage, drew) {
    this.stage = stage;
    this.drew = drew;
  }

  drag(from, to) {
    this.stage.marks.showArea(this.box(from, to));
  }

  drop(from, to) {
    this.drew(this.box(from, to));
  }

  tap() {}

  hover() {}

  box(a, b) {
    const side = (one, two, size) =>
      [one, two].map((at) => Math.min(size, Math.max(0, Math.round(at + 0.5)))).sort((p, q) => p - q);
    const [x0, x1] = side(a.x, b.x, this.stage.width);
    const [y0, y1] = side(a.y, b.y, this.stage.height);
    return x0 < x1 && y0 < y1 ? [x0, y0, x1, y1] : null;
  }
}
