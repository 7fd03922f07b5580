"""The viewer with reviews in memory, and nothing else: `streamlit run tests/browser/editing_app.py`.

Of the address: user, many (this many proposals), blind, stale (always the data of the first run), odd (words that the
viewer does not know).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from mitosis_core.image.sample_field import draw_sample_field
from pages.shared.guard import MIDDLEWARE
from pages.shared.viewer import routes, viewer
from pages.shared.viewer.images import publish_field
from pages.shared.viewer.routes import image_url
from tests.browser import fake_reviews
from tests.browser.fake_reviews import REVIEWS, SIZE

FIELDS = ("1", "2", "3")
HERE = Path(viewer.__file__).parent

app = st.App(__file__, routes=[*fake_reviews.ROUTES, *routes.ROUTES], middleware=MIDDLEWARE)


def main() -> None:
    st.set_page_config(layout="wide")
    asked = st.query_params
    user = asked.get("user", "Anna")
    st.session_state.setdefault("place", 0)
    field = FIELDS[st.session_state["place"] % len(FIELDS)]
    component = st.components.v2.component(
        "editing_viewer",
        js="// the viewer\n" + "\n".join((HERE / name).read_text() for name in viewer.PARTS),
        css=(HERE / "viewer.css").read_text(),
    )
    runs = st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    data = viewer_data(user, field, int(asked.get("many", 0)), "blind" in asked)
    if "stale" in asked:
        # Other data, so that it is sent again, with the points of the first run.
        data = {**st.session_state.setdefault("first", data), "count": {**data["count"], "note": f"Stale {runs}"}}
    if "odd" in asked:
        data["points"][1]["cls"] = data["review"]["state"] = "odd"
    component(key="viewer", data=data, on_go_change=go, on_settled_change=lambda: None)
    st.caption(f"Run {runs}")
    review = REVIEWS.review(user, field)
    st.write(f"Server: {len(review.marks)} marks, {review.state}")


def go() -> None:
    to = st.session_state["viewer"]["go"]["to"]
    st.session_state["place"] += {"previous": -1, "reopen": 0}.get(to, 1)


def viewer_data(user: str, field: str, many: int, blind: bool) -> dict[str, Any]:
    review = REVIEWS.review(user, field)
    hidden = blind and review.state != "complete"
    sample = draw_sample_field().field
    verdicts = (
        ("mitosis", "Mitosis", "#3df5ff", "circle", "1"),
        ("lookalike", "Look-alike", "#ffb000", "square", "2"),
        ("unsure", "Unsure", "#ff7bf2", "diamond", "3"),
    )
    keys = ("id", "label", "color", "shape", "key")
    return {
        "field": field,
        "user": user,
        "editable": True,
        "blind": blind,
        "image": {"url": image_url(publish_field(sample), user), "width": SIZE, "height": SIZE, "radius": 32.0},
        "um_per_px": 0.25,
        "heat": None,
        "prefetch": [],
        "classes": [dict(zip(keys, one, strict=True)) for one in verdicts],
        "points": fake_reviews.points(user, field, many, hidden),
        "review": {"state": review.state, "area": review.area, "seconds": review.seconds},
        "rev": review.rev,
        "api": {"url": "/api/ops", "token": user},
        "score": {"value": 0.5, "default": 0.5},
        "count": {
            "per_mm2": 15.26,
            "per_10_hpf": 36.25,
            "note": "Carried over from 0.066 mm²: one field is a small sample.",
        },
    }


if get_script_run_ctx(suppress_warning=True) is not None:
    main()
