"""The field viewer as Streamlit sees it: a component of plain JavaScript, fed by the contract in docs/viewer.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from db.preferences import KEY_LAYOUTS
from mitosis_core.scoring.counting import Count
from mitosis_core.types import Detections, Field, ProbabilityMap
from pages.shared.service.detecting import Tally
from pages.shared.viewer.images import publish_field, publish_heat
from pages.shared.viewer.routes import image_url

RING_UM = 8.0  # clears a mitotic figure: the ring never lies on the cell it marks
MITOSIS = {"id": "mitosis", "label": "Mitosis", "color": "#3df5ff", "dash": ""}

_HERE = Path(__file__).parent
# One module of several files; the leading comment keeps Streamlit from taking the text for a path.
PARTS = (
    *("stage.js", "marks.js", "pointer.js", "area_tool.js", "ruler.js", "display.js", "ring.js", "strip.js"),
    *("gallery.js", "case_gallery.js", "outbox.js", "activity_timer.js", "editing.js", "point_style.js", "panel.js"),
    *("tools.js", "dialog.js", "key_layout.js", "keys.js", "keyboard_focus.js", "viewer.js", "reviewer.js"),
)
_JS = "// the field viewer\n" + "\n".join((_HERE / name).read_text(encoding="utf-8") for name in PARTS)
_component = st.components.v2.component(
    "concentric_viewer", js=_JS, css=(_HERE / "viewer.css").read_text(encoding="utf-8")
)


def viewer_data(
    field: Field,
    candidates: Detections,
    tally: Tally,
    *,
    user: str,
    score: float,
    default_score: float,
    heat: ProbabilityMap | None = None,
    coming: tuple[Field, ...] = (),
) -> dict[str, Any]:
    """What the viewer shows, as JSON. coming: the fields likely to be looked at next, fetched ahead.

    The same arguments give the same data, so that a rerun sends nothing new.
    """
    return {
        "field": f"{field.digest}@{field.um_per_px}",
        "user": user,
        "editable": False,
        "image": {
            "url": image_url(publish_field(field), user),
            "width": field.width_px,
            "height": field.height_px,
            "radius": RING_UM / field.um_per_px if field.um_per_px else 32.0,
        },
        "um_per_px": field.um_per_px,
        "heat": _heat(heat, user) if heat is not None else None,
        "prefetch": [image_url(publish_field(one), user) for one in coming],
        "classes": [MITOSIS],
        "points": _points(candidates),
        "rev": 0,
        "score": {"value": score, "default": default_score},
        "count": count_worth(Count(1, tally.count.area_mm2), tally.field_diameter_mm, "the field"),
    }


def count_worth(one: Count, field_diameter_mm: float, part: str) -> dict[str, Any]:
    """What one mitosis in this tissue is worth, so that the viewer can count alone. part: where that tissue is."""
    carried = f"Carried over from the {one.area_mm2:.3f} mm² of tissue in {part}: a small sample."
    return {
        "per_mm2": one.per_mm2,
        "per_10_hpf": one.per_10_hpf(field_diameter_mm),
        "note": one.problem.reason if one.problem else carried,
    }


def show_viewer(data: dict[str, Any], *, key: str, on_score: Callable[[], None]) -> None:
    """Mount the viewer. on_score: called when the user has moved the score slider, see chosen_score."""
    _component(key=key, data=data, on_score_change=on_score)


def _nothing() -> None:
    """What only looks asks for nothing."""


def show_review(
    data: dict[str, Any],
    *,
    key: str,
    on_score: Callable[[], None] = _nothing,
    on_settled: Callable[[], None] = _nothing,
    on_go: Callable[[], None] = _nothing,
    on_prefer: Callable[[], None] = _nothing,
    on_gallery: Callable[[], None] = _nothing,
) -> None:
    """Mount the viewer for reviewing. on_settled: changes were stored; on_go: the reader moves on, see requested_step.

    on_prefer: a setting was chosen, see chosen_preferences; on_gallery: that of the case was opened or closed, see
    gallery_wanted.
    """
    _component(
        key=key,
        data=data,
        on_score_change=on_score,
        on_settled_change=on_settled,
        on_go_change=on_go,
        on_prefer_change=on_prefer,
        on_gallery_change=on_gallery,
    )


@dataclass(frozen=True)
class QueueStep:
    """Where a reader wants to go. to: next, previous, finish, exclude, reopen, onward or open; left: the field.

    target: the field to go to, as the viewer knows it; step: a counter.
    """

    to: str
    left: int
    step: int
    target: int


def requested_step(key: str) -> QueueStep | None:
    """The wish of the reader, inside on_go; None when there is none."""
    value = st.session_state.get(key, {}).get("go")
    if not value:
        return None
    numbers = (_count(value.get(name)) for name in ("field", "n", "target"))
    return QueueStep(str(value.get("to")), *numbers)


def chosen_preferences(key: str) -> dict[str, Any]:
    """What the reader chose in the viewer, inside on_prefer: advance, key_layout. Anything odd is left out."""
    value = st.session_state.get(key, {}).get("prefer") or {}
    known = {"advance": isinstance(value.get("advance"), bool), "key_layout": value.get("key_layout") in KEY_LAYOUTS}
    return {name: value[name] for name, good in known.items() if good}


def gallery_wanted(key: str) -> bool:
    """Whether the gallery of the case is open, inside on_gallery."""
    return bool((st.session_state.get(key, {}).get("gallery") or {}).get("open"))


def _count(value: object) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def chosen_score(key: str) -> float | None:
    """Where the slider of a mounted viewer stands; None before the user touched it. Anything odd counts as None."""
    value = st.session_state.get(key, {}).get("score")
    return min(1.0, max(0.0, float(value))) if isinstance(value, int | float) else None


def _points(found: Detections) -> list[dict[str, Any]]:
    return [
        {
            "id": f"c{place}",
            "x": round(float(x), 2),
            "y": round(float(y), 2),
            "cls": MITOSIS["id"],
            "src": "model",
            "score": float(score),
        }
        for place, ((x, y), score) in enumerate(zip(found.xy_px, found.score, strict=True))
    ]


def _heat(heat: ProbabilityMap, user: str) -> dict[str, Any]:
    rows, columns = heat.values.shape
    # The map may reach beyond the field, where the image was padded; the viewer cuts it off at the edge.
    return {
        "url": image_url(publish_heat(heat), user),
        "width": columns * heat.cell_px[0],
        "height": rows * heat.cell_px[1],
    }
