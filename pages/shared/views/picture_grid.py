"""A grid of small pictures, each of which opens a field in Review: counted cells, or the fields of a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.shared import session

# Links, so that a new tab, the keyboard and a reload work as everywhere; a plain click stays in this session.
_JS = """// a grid of pictures
export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.style.setProperty("--side", `${data.side_px}px`);
  grid.replaceChildren(...data.pictures.map((one) => {
    const link = document.createElement("a");
    link.href = `review?field=${one.field}`;
    link.title = one.title;
    if (one.faint) link.className = "faint";
    link.onclick = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      setTriggerValue("open", one.field);
    };
    const image = new Image();
    Object.assign(image, { src: one.url, alt: one.title, loading: "lazy" });
    const label = document.createElement("span");
    label.textContent = one.label;
    link.append(image, label);
    return link;
  }));
}
"""
_HTML = '<div class="grid"></div>'
_CSS = """
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(var(--side), 100%), 1fr)); gap: 8px;
  font: 13px/1.35 var(--st-font, sans-serif); color: var(--st-text-color); font-variant-numeric: tabular-nums; }
a { display: block; color: inherit; text-decoration: none; border-radius: 6px; outline-offset: 2px; }
a:focus-visible { outline: 2px solid var(--st-primary-color); }
img { display: block; width: 100%; border-radius: 6px; min-height: 60px;
  background: var(--st-secondary-background-color); }
a:hover img { box-shadow: 0 0 0 2px var(--st-primary-color); }
span { display: block; padding: 4px 2px 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.faint img { opacity: .5; }
"""
_component = st.components.v2.component("concentric_picture_grid", html=_HTML, css=_CSS, js=_JS)


@dataclass(frozen=True)
class GridPicture:
    """One picture. title: shown on hover and read aloud; faint: it does not count."""

    url: str
    field: int
    label: str
    title: str
    faint: bool = False


def show_pictures(pictures: Sequence[GridPicture], *, side_px: int, key: str) -> None:
    """The grid, each picture at least side_px wide; a click leads to its field in Review."""
    data = {"side_px": side_px, "pictures": [asdict(one) for one in pictures]}
    opened = _component(key=key, data=data, on_open_change=lambda: None).get("open")
    if isinstance(opened, int) and opened in {one.field for one in pictures}:
        st.session_state[session.FIELD_ID] = opened
        st.switch_page("pages/review.py", query_params={"field": str(opened)})
