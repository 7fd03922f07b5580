// The focus of the keyboard: a viewer that has come takes it, and takes it back after a click elsewhere that types nothing.
// While it has not, a button on the stage says so.

const WAITS_MS = [60, 400]; // for what a click opens, or closes, to be there or gone
const LAYERS = '[data-baseweb="popover"], [role="dialog"], [role="listbox"], [role="menu"]';

class KeyboardFocus {
  constructor(root) {
    this.root = root;
    this.onClick = (event) => {
      if (event.detail) for (const wait of WAITS_MS) setTimeout(() => this.take(), wait);
    };
    document.addEventListener("click", this.onClick, true);
    this.take();
    for (const wait of WAITS_MS) setTimeout(() => this.take(), wait); // what was typed into before may still be there
  }

  take() {
    if (this.root.matches(":focus-within") || !this.root.isConnected || this.taken(document.activeElement)) return;
    if ([...document.querySelectorAll(LAYERS)].some((one) => one.checkVisibility())) return;
    this.root.focus({ preventScroll: true });
  }

  // Whether this element needs the keys: something to type into, a slider, a list that is open.
  taken(active) {
    if (!active) return false;
    if (active.matches('input, textarea, select, [role="slider"], [aria-expanded="true"]')) return true;
    return active.isContentEditable || active.tagName === "IFRAME";
  }

  remove() {
    document.removeEventListener("click", this.onClick, true);
  }
}
