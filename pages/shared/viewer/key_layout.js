// The layout of the keys: which key does what, for both hands, the left or the right one alone. The help is made from it.

const LAYOUTS = ["standard", "left hand", "right hand"];

// action: [what it does, its key in each of LAYOUTS]; "" where a button has to do
const VIEWING = {
  next: ["next cell, undecided first", "n", "d", "l"],
  previous: ["previous cell", "p", "s", "j"],
  close: ["zoom to the selected cell", "z", "e", "i"],
  whole: ["whole field", "0", "q", "u"],
  hide: ["hide the marks: hold, or tap to switch", "v", "r", "h"],
  ruler: ["ruler", "m", "v", "6"],
  display: ["brightness and contrast", "b", "b", "End"],
};
const EDITING = {
  confirm: ["accept the proposal", "a", "a", "k"],
  reject: ["reject the proposal, delete an own mark", "x", "x", "o"],
  menu: ["verdicts at the cell, or in the middle; also right-click, long press", "o", "4", "Insert"],
  comment: ["comment on the cell", "c", "c", "."],
  grid: ["grid of the cells of this field", "g", "g", "n"],
  gallery: ["gallery of the cells of the whole case", "k", "t", ","],
  onward: ["next undecided cell, in another field too", "j", "w", "p"],
  finish: ["finish the field", "f", "f", "m"],
  previousField: ["previous field", "[", "5", "PageUp"],
  nextField: ["next field", "]", "6", "PageDown"],
  look: ["look only: nothing can be changed", "l", "y", "Home"],
};
// In every layout, besides: these never depend on the hand.
const ALWAYS = {
  Enter: "confirm",
  Delete: "reject",
  Backspace: "reject",
  PageUp: "previousField",
  PageDown: "nextField",
  ContextMenu: "menu",
};
const VERDICT_KEYS = { "right hand": ["7", "8", "9"] }; // besides 1, 2, 3, which the number pad has too

class KeyLayout {
  constructor(name) {
    this.place = Math.max(0, LAYOUTS.indexOf(name));
    this.name = LAYOUTS[this.place];
  }

  keyOf(action) {
    return (VIEWING[action] ?? EDITING[action])[this.place + 1];
  }

  // The verdict's own key, and the one for this hand.
  verdictKeys(classes) {
    const more = VERDICT_KEYS[this.name] ?? [];
    return classes.map(({ key }, n) => [key, more[n]].filter(Boolean));
  }

  // acts: action -> function. Returns key -> function.
  bind(acts) {
    const keys = {};
    for (const [key, action] of Object.entries(ALWAYS)) if (acts[action]) keys[key] = acts[action];
    for (const [action, act] of Object.entries(acts)) if (this.keyOf(action)) keys[this.keyOf(action)] = act;
    return keys;
  }

  // Rows [keys, meaning] of the help.
  help(actions) {
    const row = ([action, [meaning]]) => [spokenKey(this.keyOf(action)), meaning];
    return Object.entries(actions)
      .filter(([action]) => this.keyOf(action))
      .map(row);
  }
}

function spokenKey(key) {
  return key.length === 1 ? key.toUpperCase() : key;
}
