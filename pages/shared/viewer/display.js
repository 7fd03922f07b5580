// How the field is displayed: brightness, contrast, marks hidden. Nothing of it is stored; it holds until the page is closed.

const HOLD_MS = 300; // a key that is pressed longer was held
const displayed = { brightness: 1, contrast: 1 }; // for all fields and viewers of this page of the browser

class Display {
  constructor(parent, stage) {
    this.stage = stage;
    this.root = make("div", "float display", parent, { role: "group", "aria-label": "Brightness and contrast" });
    this.root.hidden = true;
    this.sliders = {};
    for (const [name, label] of [["brightness", "Brightness"], ["contrast", "Contrast"]]) this.makeSlider(name, label);
    const row = make("div", "row", this.root);
    this.marks = makeButton("", row, "Hide marks", "Hide or show the marks", () => this.hide(!this.hidden));
    makeButton("", row, "Reset", "Brightness and contrast as they were", () => this.reset());
    this.hidden = false;
    this.apply();
  }

  makeSlider(name, label) {
    const box = make("label", "slider", this.root);
    const head = make("span", "head", box);
    make("span", "", head).textContent = label;
    const value = make("output", "", head);
    const input = make("input", "", make("span", "track", box), { type: "range", min: 0.4, max: 2, step: 0.05, "aria-label": label });
    input.addEventListener("input", () => this.set(name, Number(input.value)));
    this.sliders[name] = { input, value };
  }

  show(visible) {
    this.root.hidden = !visible;
    if (visible) this.apply();
  }

  set(name, value) {
    displayed[name] = value;
    this.apply();
  }

  reset() {
    Object.assign(displayed, { brightness: 1, contrast: 1 });
    this.apply();
  }

  apply() {
    const { brightness, contrast } = displayed;
    const changed = brightness !== 1 || contrast !== 1;
    this.stage.image.style.filter = changed ? `brightness(${brightness}) contrast(${contrast})` : "";
    this.root.parentNode.classList.toggle("displayed-otherwise", changed);
    for (const [name, { input, value }] of Object.entries(this.sliders)) {
      input.value = displayed[name];
      input.style.setProperty("--at", (displayed[name] - 0.4) / 1.6);
      value.textContent = `${Math.round(100 * displayed[name])} %`;
    }
  }

  // ---- the marks

  hide(hidden) {
    this.hidden = hidden;
    this.stage.root.classList.toggle("marks-hidden", hidden);
    this.marks.textContent = hidden ? "Show marks" : "Hide marks";
    this.marks.setAttribute("aria-pressed", hidden);
  }

  // The key goes down: a tap switches, holding hides until it is let go.
  press() {
    this.before = this.hidden;
    this.pressed = performance.now();
    this.hide(!this.before);
  }

  release() {
    if (this.pressed && performance.now() - this.pressed > HOLD_MS) this.hide(this.before);
    this.pressed = 0;
  }
}
