// The keys, and what each does. They work while the viewer has the focus, and none of its letters reaches Streamlit,
// where R reruns and C clears the cache.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function viewingKeys(viewer) {
  const { stage, layout } = viewer;
  const zooms = { "+": () => stage.zoom(1.5), "=": () => stage.zoom(1.5), "-": () => stage.zoom(1 / 1.5) };
  const acts = {
    next: () => viewer.step(1),
    previous: () => viewer.step(-1),
    close: () => viewer.open(viewer.selected),
    whole: () => stage.fit(),
    hide: () => viewer.display.press(),
    ruler: () => viewer.useRuler(!viewer.ruler.on),
    display: () => viewer.display.show(viewer.display.root.hidden),
  };
  const heat = { h: () => viewer.data.heat && viewer.setHeat(viewer.heatOpacity ? 0 : 0.7) };
  return { ...heat, ...zooms, ...layout.bind(acts), Escape: () => viewer.escape() };
}

function editingKeys(viewer) {
  const { layout } = viewer;
  const keys = layout.bind({
    confirm: () => viewer.confirm(),
    reject: () => viewer.reject(),
    menu: () => viewer.openMenu(viewer.selected, viewer.stage.middle),
    comment: () => viewer.writeComment(),
    grid: () => viewer.showGrid(!viewer.grid),
    gallery: () => viewer.showGallery(!viewer.caseGallery.open),
    onward: () => viewer.onward(),
    finish: () => viewer.finish(),
    previousField: () => viewer.go("previous"),
    nextField: () => viewer.go("next"),
    look: () => viewer.look(!viewer.looking),
  });
  layout.verdictKeys(viewer.data.classes).forEach((mine, n) => {
    for (const key of mine) keys[key] = () => viewer.verdict(viewer.data.classes[n].id);
  });
  return keys;
}

// What a viewer says under "?": [keys, meaning].
function helpRows(layout, editing, heat) {
  const zoom = ["+  −", "zoom in, out"];
  const arrows = ["Arrows", editing ? "move the mark by 1 px, Shift: 5 px; or the field, Shift: a little" : "move the field, Shift: a little"];
  const last = [...(heat ? [["H", "heat map"]] : []), ["Esc", editing ? "deselect, cancel, leave the gallery" : "deselect"]];
  const viewing = [...layout.help(VIEWING), zoom, arrows];
  if (!editing) return [...viewing, ...last];
  const verdicts = layout.name === "right hand" ? "7  8  9" : "1  2  3";
  return [
    ["Click", "on tissue: new mark, on a mark: select"],
    ["Shift + click", "new mark beside another"],
    ["Double-click", "zoom in; never a mark"],
    ["Drag", "a mark: move it, elsewhere: move the field"],
    [verdicts, "mitosis, look-alike, unsure"],
    ...layout.help(EDITING),
    ["Ctrl + Z  Y", "undo, redo"],
    ...viewing,
    ...last,
  ];
}

function onKey(viewer, event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const act = findAction(viewer, event, key);
  if (key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  if (!event.repeat || key !== viewer.layout.keyOf("hide")) act();
}

// Holding the key hides the marks until it is let go.
function onKeyUp(viewer, event) {
  if (event.key.toLowerCase() === viewer.layout.keyOf("hide").toLowerCase()) viewer.display.release();
}

function findAction(viewer, event, key) {
  const { target } = event;
  if (target instanceof HTMLInputElement && target.type === "text") return null;
  if (target instanceof HTMLSelectElement) return null;
  if (event.ctrlKey || event.metaKey) {
    if (!viewer.editing || event.altKey || (key !== "z" && key !== "y")) return null;
    return () => viewer.turn(key === "z" && !event.shiftKey ? "undo" : "redo");
  }
  if (event.altKey) return null;
  if (key in ARROWS) return target instanceof HTMLInputElement ? null : () => viewer.arrow(...ARROWS[key], event.shiftKey);
  // A button that has the focus is pressed by Enter.
  if (key === "Enter" && target instanceof HTMLButtonElement) return null;
  if (target instanceof HTMLInputElement && (key.startsWith("Page") || key === "Home" || key === "End")) return null;
  const acts = viewer.keys;
  return Object.hasOwn(acts, key) ? acts[key] : null;
}
