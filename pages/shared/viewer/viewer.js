// The field viewer: a stage with marks, and a panel that counts, filters by score and shows the detections.
// Data comes in by the contract in docs/viewer.md; moving the score slider redraws at once and tells the page when
// it is let go.

const CLOSE_UP_UM_PX = 0.125; // µm per pixel of the screen after going to a detection
const KEYS = [
  ["N  P", "next, previous detection"],
  ["+  −  0", "zoom in, out, whole field"],
  ["Arrows", "move"],
  ["H", "heat map"],
  ["Esc", "deselect"],
];

class Viewer {
  constructor(parent) {
    this.root = make("div", "viewer", parent, {
      tabindex: "0",
      role: "application",
      "aria-label":
        "Field with its detections. N and P step through the detections, plus, minus and zero zoom, " +
        "arrow keys move, H shows the heat map.",
    });
    this.views = new Map(); // field -> its view, for coming back to it
    this.selected = null;
    this.heatOpacity = 0;
    this.sent = null; // a score the page has not answered yet
    this.stage = new Stage(this.root, {
      pick: (id) => this.pick(id),
      loaded: () => this.onLoaded(),
      failed: () => this.say("The image could not be loaded; please reload the page.", true),
    });
    this.makeTools();
    this.makePanel();
    this.message = make("div", "message", this.stage.root);
    this.message.hidden = true;
    this.live = make("div", "live", this.root, { "aria-live": "polite" });
    this.root.addEventListener("keydown", (event) => this.onKey(event));
  }

  // ---- building

  makeTools() {
    const tools = make("div", "tools", this.stage.root);
    // The stage would take the click for its own.
    for (const type of ["pointerdown", "pointerup"]) tools.addEventListener(type, (event) => event.stopPropagation());
    const add = (text, title, act) => {
      const button = make("button", "", tools, { type: "button", title, "aria-label": title });
      button.textContent = text;
      button.addEventListener("click", act);
      return button;
    };
    add("+", "Zoom in (+)", () => this.stage.zoom(1.5));
    add("−", "Zoom out (−)", () => this.stage.zoom(1 / 1.5));
    add("⤢", "Whole field (0)", () => this.stage.fit());
    const help = make("dl", "help", this.stage.root);
    help.hidden = true;
    for (const [keys, meaning] of KEYS) {
      make("dt", "", help).textContent = keys;
      make("dd", "", help).textContent = meaning;
    }
    const ask = add("?", "Keys", () => {
      help.hidden = !help.hidden;
      ask.setAttribute("aria-expanded", !help.hidden);
    });
  }

  makePanel() {
    const panel = make("div", "panel", this.root);
    const count = make("div", "count", panel);
    this.number = make("strong", "", count);
    this.noun = make("span", "", count);
    this.density = make("div", "density", panel);
    this.note = make("div", "note", panel);
    this.score = this.makeSlider(panel, "Score at least", "score");
    this.ticks = make("canvas", "ticks", this.score.track, { "aria-hidden": "true" });
    this.reset = make("button", "reset", this.score.head, { type: "button" });
    this.reset.textContent = "reset";
    this.reset.addEventListener("click", () => (this.setScore(this.data.score.default), this.sendScore()));
    this.score.input.addEventListener("input", () => this.setScore(Number(this.score.input.value)));
    this.score.input.addEventListener("change", () => this.sendScore());
    this.heat = this.makeSlider(panel, "Heat map", "heat");
    this.heat.input.addEventListener("input", () => this.setHeat(Number(this.heat.input.value)));
    this.gallery = new Gallery(panel, (id) => this.goTo(id));
  }

  makeSlider(panel, label, name) {
    const box = make("label", `slider ${name}`, panel);
    const head = make("span", "head", box);
    make("span", "", head).textContent = label;
    const value = make("output", "", head);
    const track = make("span", "track", box);
    const input = make("input", "", track, { type: "range", min: 0, max: 1, step: 0.01, "aria-label": label });
    return { box, head, value, track, input };
  }

  // ---- data

  update(component) {
    const data = component.data;
    const before = this.data;
    this.data = data;
    this.setStateValue = component.setStateValue;
    const another = !before || before.field !== data.field;
    if (another && before) this.views.set(before.field, this.stage.view);
    this.stage.show(data.image, data.um_per_px);
    if (another) {
      this.selected = null;
      this.say("");
      this.gallery.show(this.stage.image, data.um_per_px);
      const kept = this.views.get(data.field);
      if (kept) this.stage.view = kept;
      else this.stage.fit();
    }
    this.points = [...data.points].sort((a, b) => b.score - a.score);
    this.heat.box.hidden = !data.heat;
    this.setHeat(this.heatOpacity);
    this.takeScore(data.score.value, before);
    this.root.dataset.ready = data.field;
    for (const url of data.prefetch) new Image().src = new URL(url, document.baseURI);
  }

  // The page may still be answering an older score than the one just chosen here.
  takeScore(value, before) {
    if (this.sent !== null && value === this.sent) this.sent = null;
    const ours = before && (this.sent !== null || this.root.dataset.sliding);
    this.setScore(ours ? this.threshold : value, Boolean(ours));
  }

  setScore(value, sliding = true) {
    this.threshold = value;
    if (sliding) this.root.dataset.sliding = "1";
    this.score.input.value = value;
    this.score.value.textContent = value.toFixed(2);
    this.reset.hidden = Math.abs(value - this.data.score.default) < 0.005;
    this.reset.title = `Back to ${this.data.score.default.toFixed(2)}, the threshold of the model version`;
    this.draw();
  }

  sendScore() {
    delete this.root.dataset.sliding;
    if (this.threshold === (this.sent ?? this.data.score.value)) return;
    this.sent = this.threshold;
    this.setStateValue("score", this.threshold);
  }

  setHeat(opacity) {
    this.heatOpacity = opacity;
    this.heat.input.value = opacity;
    this.heat.value.textContent = opacity ? `${Math.round(opacity * 100)} %` : "off";
    this.stage.showHeat(this.data.heat, opacity);
  }

  // ---- drawing

  shown() {
    // Scores are 32-bit numbers: compared as such, the count is the page's to the last one.
    const threshold = Math.fround(this.threshold);
    return this.points.filter((point) => point.score === null || point.score >= threshold);
  }

  draw() {
    const looks = Object.fromEntries(this.data.classes.map((one) => [one.id, one]));
    const points = this.shown().map((point) => ({
      ...point,
      color: looks[point.cls].color,
      dash: looks[point.cls].dash,
      text: point.score === null ? looks[point.cls].label : point.score.toFixed(2),
    }));
    this.stage.setPoints(points);
    this.gallery.setPoints(points);
    if (!points.some((point) => point.id === this.selected)) this.selected = null;
    this.select(this.selected);
    const count = points.length;
    this.number.textContent = count;
    this.noun.textContent = count === 1 ? "mitosis" : "mitoses";
    const { per_mm2, per_10_hpf, note } = this.data.count;
    this.density.replaceChildren();
    for (const [factor, unit] of [[per_mm2, "per mm²"], [per_10_hpf, "per 10 HPF"]]) {
      const part = make("span", "", this.density);
      make("b", "", part).textContent = (count * factor).toFixed(1);
      part.append(` ${unit}`);
    }
    this.note.textContent = note;
    this.drawTicks();
  }

  // One tick per candidate over the slider: where a small step changes much, and where nothing.
  drawTicks() {
    const width = (this.ticks.width = Math.max(1, Math.round(this.ticks.clientWidth * devicePixelRatio)));
    const height = (this.ticks.height = Math.round(10 * devicePixelRatio));
    const context = this.ticks.getContext("2d");
    const knob = 8 * devicePixelRatio; // half the width of the slider's knob
    for (const point of this.points) {
      if (point.score === null) continue;
      context.fillStyle = point.score >= this.threshold ? "#5b2a86" : "#b9b4bd";
      context.fillRect(knob + point.score * (width - 2 * knob) - devicePixelRatio / 2, 0, devicePixelRatio * 1.5, height);
    }
  }

  onLoaded() {
    this.say("");
    this.gallery.redraw();
  }

  say(text, visible = false) {
    this.message.hidden = !(text && visible);
    this.message.textContent = text;
    if (text) this.live.textContent = text;
  }

  // ---- selecting

  select(id) {
    this.selected = id;
    this.stage.select(id);
    this.gallery.select(id);
  }

  pick(id) {
    this.root.focus({ preventScroll: true });
    this.select(id);
  }

  goTo(id) {
    const points = this.shown();
    const place = points.findIndex((point) => point.id === id);
    if (place < 0) return;
    this.pick(id);
    this.stage.centre(points[place], (this.data.um_per_px || 0.25) / CLOSE_UP_UM_PX);
    const score = points[place].score;
    this.live.textContent = `Detection ${place + 1} of ${points.length}` + (score === null ? "" : `, score ${score.toFixed(2)}`);
  }

  step(by) {
    const points = this.shown();
    if (!points.length) return;
    const place = points.findIndex((point) => point.id === this.selected);
    const next = place < 0 ? (by > 0 ? 0 : points.length - 1) : (place + by + points.length) % points.length;
    this.goTo(points[next].id);
  }

  // ---- keys: only while the viewer has the focus, and none of its letters reaches Streamlit (r reruns, c clears)

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      n: () => this.step(1),
      p: () => this.step(-1),
      h: () => this.data.heat && this.setHeat(this.heatOpacity ? 0 : 0.7),
      "+": () => this.stage.zoom(1.5),
      "=": () => this.stage.zoom(1.5),
      "-": () => this.stage.zoom(1 / 1.5),
      0: () => this.stage.fit(),
      Escape: () => this.select(null),
      ArrowLeft: () => this.stage.pan(80, 0),
      ArrowRight: () => this.stage.pan(-80, 0),
      ArrowUp: () => this.stage.pan(0, 80),
      ArrowDown: () => this.stage.pan(0, -80),
    };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const onSlider = event.target instanceof HTMLInputElement && key.startsWith("Arrow");
    if (key.length === 1) event.stopPropagation();
    if (onSlider || !Object.hasOwn(acts, key)) return;
    event.preventDefault();
    event.stopPropagation();
    acts[key]();
  }

  remove() {
    this.stage.remove();
    this.root.remove();
  }
}

export default function (component) {
  const parent = component.parentElement;
  // The instance lives on its parent: a rerun brings new data to the same viewer, which keeps its view.
  parent.viewer ??= new Viewer(parent);
  parent.viewer.update(component);
  return () => {
    parent.viewer?.remove();
    parent.viewer = undefined;
  };
}
