// How a point looks and what it is called: a detection by its score, in a review a verdict, a proposal, or a mark of
// another reader.

// Whether a point counts where only this area is reviewed, as Region.contains; null: the whole field.
function insideOf(area) {
  const [left, top, right, bottom] = area ?? [-Infinity, -Infinity, Infinity, Infinity];
  return ({ x, y }) => x + 0.5 >= left && x + 0.5 < right && y + 0.5 >= top && y + 0.5 < bottom;
}

// outside: an own mark beside the reviewed area.
function pointStyle(point, classes, outside = false) {
  const look = classes.find((one) => one.id === point.cls) ?? { label: point.cls, color: "#ffffff" };
  const reviewed = point.decided !== undefined;
  const open = point.decided === false && !point.by;
  const score = typeof point.score === "number" ? point.score.toFixed(2) : null;
  const label = reviewed ? pointLabel(point, look.label, open, score) : score ?? look.label;
  const text = outside ? `${label} · outside the reviewed area` : label;
  return {
    id: point.id,
    x: point.x,
    y: point.y,
    color: look.color,
    shape: look.shape ?? "circle",
    dash: open ? "5 4" : look.dash || "",
    thin: open,
    faint: Boolean(point.by) || outside,
    text,
    spoken: reviewed || score === null ? text : `score ${score}`,
    short: score ?? (reviewed ? "" : look.label),
    look: reviewed ? `verdict ${open ? "open" : point.cls}${outside ? " outside" : ""}` : "",
  };
}

function pointLabel({ by, src, comment }, label, open, score) {
  const said = comment ? ` · “${comment}”` : "";
  if (by) return `${label} · ${by}${said}`;
  if (open) return score === null ? "Proposed" : `Proposed · ${score}`;
  return (src === "model" && score !== null ? `${label} · model ${score}` : label) + said;
}
