// The keys, and what each does. They work while the viewer has the focus, and none of its letters reaches Streamlit,
// where R reruns and C clears the cache.

const HELP = {
  viewing: [
    ["N  P", "next, previous detection"],
    ["+  −  0", "zoom in, out, whole field"],
    ["Z", "zoom to the selected cell"],
    ["Arrows", "move"],
    ["H", "heat map"],
    ["Esc", "deselect"],
  ],
  editing: [
    ["Click", "on tissue: new mark, on a mark: select"],
    ["Shift + click", "new mark beside another"],
    ["Drag", "a mark: move it, elsewhere: move the field"],
    ["1  2  3", "mitosis, look-alike, unsure"],
    ["Enter  A", "confirm the proposal"],
    ["X  Delete", "reject the proposal, delete an own mark"],
    ["N  P", "next, previous, undecided first"],
    ["Arrows", "move the mark by 1 px, Shift: 5 px; or the field"],
    ["Ctrl + Z  Y", "undo, redo"],
    ["+  −  0  Z", "zoom in, out, whole field, to the cell"],
    ["G", "grid of all cells"],
    ["H", "heat map"],
    ["[  ]", "previous, next field"],
    ["F", "finish the field"],
    ["Esc", "deselect, cancel, leave the grid"],
  ],
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function viewingKeys(viewer) {
  const { stage } = viewer;
  return {
    n: () => viewer.step(1),
    p: () => viewer.step(-1),
    h: () => viewer.data.heat && viewer.setHeat(viewer.heatOpacity ? 0 : 0.7),
    z: () => viewer.open(viewer.selected),
    "+": () => stage.zoom(1.5),
    "=": () => stage.zoom(1.5),
    "-": () => stage.zoom(1 / 1.5),
    0: () => stage.fit(),
    Escape: () => viewer.escape(),
  };
}

function editingKeys(viewer) {
  const keys = {
    x: () => viewer.reject(),
    a: () => viewer.confirm(),
    g: () => viewer.showGrid(!viewer.grid),
    f: () => viewer.finish(),
    "[": () => viewer.go("previous"),
    "]": () => viewer.go("next"),
  };
  Object.assign(keys, { Delete: keys.x, Backspace: keys.x, Enter: keys.a, PageUp: keys["["], PageDown: keys["]"] });
  for (const { id, key } of viewer.data.classes) if (key) keys[key] = () => viewer.verdict(id);
  return keys;
}

function onKey(viewer, event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const act = findAction(viewer, event, key);
  if (key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

function findAction(viewer, event, key) {
  if (event.ctrlKey || event.metaKey) {
    if (!viewer.editing || event.altKey || (key !== "z" && key !== "y")) return null;
    return () => viewer.turn(key === "z" && !event.shiftKey ? "undo" : "redo");
  }
  if (event.altKey) return null;
  const target = event.target;
  if (key in ARROWS) return target instanceof HTMLInputElement ? null : () => viewer.arrow(...ARROWS[key], event.shiftKey);
  // A button that has the focus is pressed by Enter.
  if (key === "Enter" && target instanceof HTMLButtonElement) return null;
  if (target instanceof HTMLInputElement && key.startsWith("Page")) return null;
  const acts = viewer.keys;
  return Object.hasOwn(acts, key) ? acts[key] : null;
}
