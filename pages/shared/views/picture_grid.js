// Links, so that a new tab, the keyboard and a reload work as everywhere; a plain click stays in this session.

function make(tag, className, parent, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
}

function makeShot({ url, ring, under }, title, parent) {
  const shot = make("span", "shot", parent);
  const frame = make("span", "frame", shot);
  Object.assign(make("img", "", frame), { src: new URL(url || "data:,", document.baseURI).href, alt: title, loading: "lazy" });
  if (ring) make("i", "ring", frame);
  if (under) make("span", ring ? "under marked" : "under", shot, under);
}

function makePicture(one, open) {
  const link = document.createElement("a");
  link.href = `review?field=${one.field}${one.at ? `&at=${one.at.map((value) => value.toFixed(1)).join(",")}` : ""}`;
  link.title = one.title;
  link.className = [one.faint && "faint", one.shots.length > 1 && "several"].filter(Boolean).join(" ");
  link.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  };
  const row = make("span", "row", link);
  for (const shot of one.shots) makeShot(shot, one.title, row);
  if (one.badge) make("b", "badge", row, one.badge);
  if (one.signs.length) {
    const signs = make("span", "signs", link);
    for (const { glyph, colour, holds } of one.signs) make("span", holds ? "" : "not", signs, glyph).style.color = colour;
  }
  if (one.label) make("span", "label", link, one.label);
  return link;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.style.setProperty("--side", `${data.side_px}px`);
  grid.classList.toggle("fill", data.fill);
  grid.replaceChildren(...data.pictures.map((one, place) => makePicture(one, () => setTriggerValue("open", place))));
  if (data.more) make("span", "more", grid, `and ${data.more} more`);
}
