"""What the viewer shows while a reader reviews a field: own marks, proposals, perhaps those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from db.fields import StoredField
from db.predictions import Proposal, Proposals
from db.reviews import Mark, Review
from mitosis_core.scoring.counting import Count
from mitosis_core.vocabulary import SAME_CELL_UM
from pages.shared.service.tissue_cache import TISSUES
from pages.shared.store import the_store
from pages.shared.viewer.crops import SIDES_PX
from pages.shared.viewer.images import field_picture, thumbnail_picture
from pages.shared.viewer.routes import crops_address, image_url, ops_token
from pages.shared.viewer.viewer import MITOSIS, RING_UM, count_worth

# Told apart by colour and by shape, also by readers who see few colours.
CLASSES = [
    {**MITOSIS, "shape": "circle", "key": "1"},
    {"id": "lookalike", "label": "Look-alike", "color": "#ffb000", "dash": "", "shape": "square", "key": "2"},
    {"id": "unsure", "label": "Unsure", "color": "#ff7bf2", "dash": "", "shape": "diamond", "key": "3"},
]


@dataclass(frozen=True)
class ReviewView:
    """What a reader wants to see of a field.

    editable: whether marks may be changed. blind: no proposals and no other reader until the reader has finished.
    score: lowest score of a proposal on show. others: the reviews of other readers to show, by name.
    """

    reader: str
    score: float
    field_diameter_mm: float
    editable: bool = True
    blind: bool = False
    others: Mapping[str, Review] | None = None


def review_data(
    stored: StoredField,
    review: Review,
    proposed: Proposals | None,
    sight: ReviewView,
    *,
    coming: Sequence[StoredField] = (),
) -> dict[str, Any]:
    """The data of the viewer (docs/viewer.md). coming: fields whose pictures are fetched ahead."""
    hidden = sight.blind and review.state != "complete"
    others = {} if hidden or not sight.others else sight.others
    return {
        "field": str(stored.id),
        "user": sight.reader,
        "editable": sight.editable,
        "blind": hidden,
        "image": {
            "url": image_url(field_picture(stored.digest), sight.reader),
            "small": thumbnail_url(stored, sight.reader),
            "width": stored.width_px,
            "height": stored.height_px,
            "radius": RING_UM / stored.um_per_px,
        },
        "um_per_px": stored.um_per_px,
        "heat": None,
        "prefetch": [image_url(field_picture(one.digest), sight.reader) for one in coming],
        "classes": CLASSES,
        "points": _points(stored, review, None if hidden else proposed, others),
        "review": {"state": review.state, "area": review.area and review.area.edges, "seconds": review.seconds},
        "rev": review.rev,
        "api": {"url": "/api/ops", "token": ops_token(stored.id, sight.reader) if sight.editable else ""},
        "score": {"value": sight.score, "default": proposed.threshold if proposed else 0.5},
        "count": _count(stored, review, sight.field_diameter_mm),
    }


def crop_url(stored: StoredField, x_px: float, y_px: float, side_px: float, reader: str) -> str:
    """The signed address of a square of a field round a place, of the nearest side that is served."""
    side_px = min(max(round(side_px), SIDES_PX[0]), SIDES_PX[-1])
    address = crops_address(stored.digest, reader)
    return f"{address['url']}/{round(x_px)}-{round(y_px)}-{side_px}.jpg?t={address['token']}"


def thumbnail_url(stored: StoredField, reader: str) -> str:
    """The signed address of the middle square of a field, small, as it is kept with the field."""
    return image_url(thumbnail_picture(stored.digest), reader)


def _points(
    stored: StoredField, review: Review, proposed: Proposals | None, others: Mapping[str, Review]
) -> list[dict[str, Any]]:
    own = review.standing
    points = [_mark(mark) for mark in own]
    if proposed:
        points += [_proposal(one) for one in undecided(proposed, own, stored.um_per_px)]
    for name, other in others.items():
        points += [{**_mark(mark), "id": f"{name}:{mark.id}", "by": name} for mark in other.standing]
    return points


def undecided(proposed: Proposals, own: Sequence[Mark], um_per_px: float) -> list[Proposal]:
    """Proposals that the reader has said nothing about, neither by their id nor by a mark on the same cell."""
    said = {mark.id for mark in own}
    places = np.array([(mark.x, mark.y) for mark in own], np.float64).reshape(-1, 2)
    radius_px = SAME_CELL_UM / um_per_px
    return [
        one
        for one in proposed.candidates
        if one.id not in said and not (np.hypot(*(places - (one.x, one.y)).T) <= radius_px).any()
    ]


def _mark(mark: Mark) -> dict[str, Any]:
    source = "model" if mark.version else "reader"
    return _point(mark.id, mark.x, mark.y, mark.verdict, source, mark.score, decided=True, comment=mark.comment)


def _proposal(one: Proposal) -> dict[str, Any]:
    return _point(one.id, one.x, one.y, MITOSIS["id"], "model", one.score, decided=False)


def _point(
    key: str,
    x: float,
    y: float,
    verdict: str,
    source: str,
    score: float | None,
    *,
    decided: bool,
    comment: str | None = None,
) -> dict[str, Any]:
    return {
        "id": key,
        "x": round(x, 2),
        "y": round(y, 2),
        "cls": verdict,
        "src": source,
        "score": score,
        "decided": decided,
        "by": None,
        "comment": comment,
    }


def _count(stored: StoredField, review: Review, field_diameter_mm: float) -> dict[str, Any]:
    tissue = TISSUES.soon(the_store(), stored)  # so that nobody waits for it who moves from field to field
    if tissue is None:
        return {"per_mm2": None, "per_10_hpf": None, "note": "The tissue of this field is being measured."}
    counted = tissue.within(review.area) if review.area else tissue
    part = "the reviewed part" if review.area else "the field"
    return count_worth(Count(1, counted.area_mm2), field_diameter_mm, part)
