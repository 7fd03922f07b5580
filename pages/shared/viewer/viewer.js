// The field viewer: a stage with marks, and a panel that counts, filters by score and shows the detections. Data comes
// in by the contract in docs/viewer.md; moving the score slider redraws at once and tells the page when it is let go.

const CLOSE_UP_UM_PX = 0.125; // µm per pixel of the screen after going to a detection
const PAGE = '[data-testid="stMainBlockContainer"]';
const placed = new Set(); // the counters of the places that a viewer of this page has gone to
const MOST_ABOVE = 0.4; // of the window: further down the viewer is scrolled to

class Viewer {
  constructor(parent) {
    this.root = make("div", "viewer", parent, { tabindex: "0", role: "application" });
    this.layout = new KeyLayout(LAYOUTS[0]);
    this.views = new Map(); // field -> its view, for coming back to it
    this.selected = null;
    this.heatOpacity = 0;
    this.sent = null; // a score the page has not answered yet
    this.strip = new Strip(this.root, (field) => this.goToField(field));
    this.stage = new Stage(this.root, this.stageActions());
    this.ruler = this.stage.ruler = new Ruler(this.stage);
    this.tools = new Tools(this.stage.root, this.toolActions());
    this.display = new Display(this.tools.catchPointer(make("div", "", this.stage.root)), this.stage);
    this.panel = new Panel(this.root, this.panelActions());
    this.gallery = new Gallery(this.panel.root, { pick: (id) => this.goTo(id), open: (id) => this.open(id) });
    this.panel.makeFoot();
    this.panel.foot.prepend(this.tools.onward);
    this.live = make("div", "live", this.root, { "aria-live": "polite" });
    this.root.addEventListener("keydown", (event) => onKey(this, event));
    this.root.addEventListener("keyup", (event) => onKeyUp(this, event));
    this.keyboardFocus = new KeyboardFocus(this.root);
    this.above = new ResizeObserver(() => this.leaveRoom());
    this.above.observe(document.querySelector(PAGE) ?? document.body);
  }

  // The whole viewer is in sight below what stands above it, whatever that is just now.
  leaveRoom() {
    const scrolled = document.querySelector(PAGE)?.parentElement.scrollTop ?? 0;
    const above = Math.min(this.root.getBoundingClientRect().top + scrolled, MOST_ABOVE * window.innerHeight);
    this.root.style.setProperty("--above", `${Math.round(above)}px`);
  }

  // ---- what a reviewer does otherwise

  get help() {
    return helpRows(this.layout, false, Boolean(this.data.heat));
  }

  get keys() {
    return viewingKeys(this);
  }

  get points() {
    return this.data.points;
  }

  get area() {
    return this.data.review?.area ?? null;
  }

  get state() {
    return this.data.review?.state;
  }

  stageActions() {
    return {
      click: (id) => (this.focus(), this.select(id)),
      open: (id, place) => this.zoomInOn(id, place),
      menu: () => {},
      movable: () => false,
      loaded: () => (this.tools.say(""), this.gallery.redraw()),
      failed: () => this.tools.say("The image could not be loaded; please reload the page.", true),
    };
  }

  toolActions() {
    return {
      zoom: (factor) => this.stage.zoom(factor),
      fit: () => this.stage.fit(),
      ruler: () => this.useRuler(!this.ruler.on),
      display: () => this.display.show(this.display.root.hidden),
      help: () => this.help,
      layout: (name) => this.prefer({ key_layout: name }),
      focus: () => this.focus(),
    };
  }

  panelActions() {
    return {
      slide: (score) => this.setScore(score),
      slid: () => this.sendScore(),
      reset: () => (this.setScore(this.data.score.default), this.sendScore()),
      heat: (opacity) => this.setHeat(opacity),
    };
  }

  // ---- data

  update(component) {
    this.component = component;
    this.show(component.data);
  }

  show(data) {
    const before = this.data;
    const another = !before || before.field !== data.field;
    if (another && before) this.leave(before);
    this.data = data;
    this.takePreferences(data.preferences);
    this.stage.show(data.image, data.um_per_px);
    this.take(data);
    if (another) this.arrive(data);
    this.panel.heat.box.hidden = !data.heat;
    this.setHeat(this.heatOpacity);
    this.takeScore(data.score.value, before);
    this.strip.show(data.strip, String(data.field));
    this.tools.showLooking(this.lookOnly);
    this.goToPlace(data.place);
    this.root.dataset.ready = data.field;
    for (const url of data.prefetch) new Image().src = new URL(url, document.baseURI);
  }

  take() {}

  // Once, to the cell that the address has named: its mark, or the place where there is none.
  goToPlace(place) {
    if (!place || placed.has(place.n)) return;
    placed.add(place.n);
    const away = (point) => Math.hypot(point.x - place.x, point.y - place.y);
    const near = this.listed().sort((a, b) => away(a) - away(b))[0];
    if (near && away(near) <= this.data.image.radius) this.goTo(near.id);
    else this.stage.centre(place, (this.data.um_per_px || 0.25) / CLOSE_UP_UM_PX);
  }

  // Why nothing can be changed, "" where it can.
  get lookOnly() {
    return this.data.review ? "Look only" : "";
  }

  // What was just chosen here stands until the page knows it.
  takePreferences(given = {}) {
    if (this.preferred && Object.entries(this.preferred).every(([name, value]) => given[name] === value)) this.preferred = null;
    this.preferences = { ...given, ...this.preferred };
    this.layout = new KeyLayout(this.preferences.key_layout);
    this.tools.layout = this.layout.name;
    this.root.setAttribute("aria-label", `Field with its detections. ${this.help.map((row) => row.join(": ")).join("; ")}.`);
  }

  prefer(changed) {
    this.preferred = { ...this.preferred, ...changed };
    this.takePreferences(this.data.preferences);
    this.component.setTriggerValue("prefer", this.preferred);
  }

  leave(before) {
    this.views.set(before.field, this.stage.view);
    this.ruler.clear();
  }

  arrive(data) {
    this.selected = null;
    this.tools.say("");
    this.gallery.show(this.stage.image, data.um_per_px);
    const kept = this.views.get(data.field);
    if (kept) this.stage.view = kept;
    else this.stage.fit();
    this.keyboardFocus.take();
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
    const { score, reset } = this.panel;
    score.input.value = value;
    score.input.style.setProperty("--at", value);
    score.value.textContent = value.toFixed(2);
    reset.hidden = Math.abs(value - this.data.score.default) < 0.005;
    reset.title = `Back to ${this.data.score.default.toFixed(2)}, the threshold of the model version`;
    this.draw();
    // In the frame, where the layout is made anyway: the ticks ask how wide they are.
    requestAnimationFrame(() => this.panel.drawTicks(this.points, this.threshold));
  }

  sendScore() {
    delete this.root.dataset.sliding;
    if (this.threshold === (this.sent ?? this.data.score.value)) return;
    this.sent = this.threshold;
    this.component.setStateValue("score", this.threshold);
  }

  setHeat(opacity) {
    const { heat } = this.panel;
    this.heatOpacity = opacity;
    heat.input.value = opacity;
    heat.input.style.setProperty("--at", opacity);
    heat.value.textContent = opacity ? `${Math.round(opacity * 100)} %` : "off";
    this.stage.showHeat(this.data.heat, opacity);
  }

  // ---- drawing

  styleOf(point, area = this.area) {
    return pointStyle(point, this.data.classes, !point.by && !insideOf(area)(point));
  }

  // Outside the reviewed area nothing is proposed; marks stay, faint.
  shown(points = this.points, area = this.area) {
    const inside = insideOf(area);
    // Scores are 32-bit numbers: compared as such, the count is the page's to the last one.
    const threshold = Math.fround(this.threshold);
    const proposed = (one) => inside(one) && (typeof one.score !== "number" || one.score >= threshold);
    return points.filter((one) => one.decided || one.by || proposed(one));
  }

  // What the gallery shows and N and P step through: best score first, marks without one at the end.
  listed(shown = this.shown()) {
    return shown.filter((point) => !point.by).sort((a, b) => (b.score ?? -1) - (a.score ?? -1));
  }

  draw() {
    const shown = this.shown();
    const listed = this.listed(shown);
    const looks = new Map(shown.map((point) => [point, this.styleOf(point)]));
    this.stage.setPoints([...looks.values()]);
    this.gallery.setPoints(listed.map((point) => looks.get(point)));
    this.root.dataset.points = shown.length;
    this.stage.marks.showArea(this.area);
    this.drawCount(shown, listed);
    this.select(shown.some((point) => point.id === this.selected) ? this.selected : null);
  }

  undecided(listed = this.listed()) {
    return listed.filter((point) => point.decided === false);
  }

  // A detection that nobody was asked about counts; a proposal counts once it is accepted.
  drawCount(shown, listed) {
    if (!this.data.count) return this.panel.showLegend(this.data.classes, shown);
    const mitoses = shown.filter((one) => one.cls === "mitosis" && !one.by && one.decided !== false).filter(insideOf(this.area));
    // Of a review that has found none yet there is no density: it would be one of nothing.
    const known = mitoses.length > 0 || !this.data.review || this.state === "complete";
    this.panel.showCount(mitoses.length, this.undecided(listed).length, this.data.count, known);
  }

  announce(text) {
    this.live.textContent = text;
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  // ---- selecting

  select(id) {
    this.selected = id;
    this.stage.select(id);
    this.gallery.select(id);
  }

  goTo(id) {
    const list = this.listed();
    const place = list.findIndex((point) => point.id === id);
    if (place < 0) return;
    this.focus();
    this.select(id);
    this.zoomIn();
    this.announce(`Detection ${place + 1} of ${list.length}, ${this.styleOf(list[place]).spoken}`);
  }

  open(id) {
    if (id === null) return;
    this.select(id);
    this.zoomIn();
  }

  // A double-click: to the mark, or nearer to the place.
  zoomInOn(id, place) {
    if (id === null) this.stage.zoomTo(place);
    else this.open(id);
  }

  zoomIn() {
    const point = this.points.find((one) => one.id === this.selected);
    if (point) this.stage.centre(point, (this.data.um_per_px || 0.25) / CLOSE_UP_UM_PX);
  }

  // From the selected one on, round and round, to the next that is still to be decided; if none is, to the next.
  step(by) {
    const list = by > 0 ? this.listed() : this.listed().reverse();
    const place = list.findIndex((point) => point.id === this.selected);
    const ahead = [...list.slice(place + 1), ...list.slice(0, place + 1)];
    const next = (by > 0 && ahead.find((point) => point.decided === false)) || ahead[0]; // back is to what was just judged
    if (next) this.goTo(next.id);
  }

  arrow(dx, dy, fine) {
    const step = fine ? 10 : 80;
    this.stage.pan(-step * dx, -step * dy);
  }

  useRuler(on) {
    this.ruler.use(on);
    this.tools.ruler.setAttribute("aria-pressed", on);
  }

  goToField(field) {
    const n = (this.data.last_step ?? 0) + 1;
    this.component.setTriggerValue("go", { to: "open", target: field, field: this.data.field, n });
  }

  escape() {
    if (!this.tools.help.hidden) this.tools.showHelp(false);
    else if (!this.display.root.hidden) this.display.show(false);
    else if (this.ruler.on) this.useRuler(false);
    else this.select(null);
  }

  remove() {
    this.above.disconnect();
    this.keyboardFocus.remove();
    this.gallery.remove();
    this.stage.remove();
    this.root.remove();
  }
}
