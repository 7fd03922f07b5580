// The ring: a few buttons round a cell, where the eye is. The arrow keys choose by direction, Esc closes.

const SIDES = ["top", "right", "bottom", "left"]; // of the first button, the second, ...
const SIDE_OF_ARROW = { ArrowUp: "top", ArrowRight: "right", ArrowDown: "bottom", ArrowLeft: "left" };
const ROOM_PX = [150, 76]; // from its middle to its edge
const [LEAST_AWAY_PX, MOST_AWAY_PX] = [34, 84]; // from its middle to its buttons: the cell stays in sight

class Ring {
  // closed(): called when it has gone
  constructor(parent, closed) {
    this.closed = closed;
    this.root = make("div", "verdict-ring", parent, { role: "menu", "aria-label": "Verdict at this place" });
    this.root.hidden = true;
    for (const type of ["pointerdown", "pointerup", "dblclick"])
      this.root.addEventListener(type, (event) => event.stopPropagation());
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    parent.addEventListener("pointerdown", (event) => this.onElsewhere(event), { capture: true });
    this.root.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  get open() {
    return !this.root.hidden;
  }

  // x, y: on the stage. reach: of the cell, in pixels of the screen. choices: [{ label, glyph, color, keys, act }], at most four.
  show(x, y, reach, choices) {
    this.root.style.setProperty("--away", `${Math.min(MOST_AWAY_PX, Math.max(LEAST_AWAY_PX, reach + 6))}px`);
    const { clientWidth: w, clientHeight: h } = this.root.parentNode;
    const inside = (at, size, room) => (size < 2 * room ? size / 2 : Math.min(size - room, Math.max(room, at)));
    this.root.style.left = `${inside(x, w, ROOM_PX[0])}px`;
    this.root.style.top = `${inside(y, h, ROOM_PX[1])}px`;
    this.choices = choices;
    this.root.classList.toggle("marked", choices.length > 3); // else a point says where
    this.root.replaceChildren(...choices.map((choice, n) => this.makeChoice(choice, SIDES[n])));
    this.root.hidden = false;
    this.root.firstChild.focus({ preventScroll: true });
  }

  makeChoice({ label, glyph, color, act }, side) {
    const button = makeButton(`choice ${side}`, null, "", label, () => (this.close(), act()));
    button.setAttribute("role", "menuitem");
    const sign = make("i", "", button, { "aria-hidden": "true" });
    sign.textContent = glyph;
    if (color) sign.style.color = color;
    make("span", "", button).textContent = label;
    return button;
  }

  onKey(event) {
    const side = SIDE_OF_ARROW[event.key];
    const chosen = this.choices.findIndex(({ keys }) => keys.includes(event.key.toLowerCase()));
    if (side) this.root.querySelector(`.${side}`)?.focus();
    else if (chosen >= 0) this.root.children[chosen].click();
    else if (event.key === "Escape" || event.key === "Tab") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // A press elsewhere closes it, and does nothing else.
  onElsewhere(event) {
    if (!this.open || this.root.contains(event.target)) return;
    event.stopPropagation();
    this.close();
  }

  close() {
    if (!this.open) return;
    this.root.hidden = true;
    this.closed();
  }
}
