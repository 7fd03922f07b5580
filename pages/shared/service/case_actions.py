"""What is done with many fields at once, without Streamlit; and what would be lost by it, in a sentence."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from db.case_overview import FieldOverview, read_overview
from db.engine import Store
from db.errors import FieldGone
from db.fields import delete_field, set_case
from db.reviews import apply_ops, parse_op, review_of
from mitosis_core.plurals import count_noun
from pages.shared.service.case_board import READ
from pages.shared.service.detection_worker import detect_later
from pages.shared.service.importing import give_scale

_NAMED = 3  # cases that a sentence names


def put_into_case(store: Store, field_ids: Iterable[int], case: str) -> None:
    """Move fields to a case, "" for none; those that were deleted meanwhile are passed over."""
    for one in field_ids:
        with suppress(FieldGone):
            set_case(store, one, case)


def delete_fields(store: Store, field_ids: Iterable[int], *, by: str) -> None:
    """Delete fields with everything said about them; those that are gone already are passed over."""
    for one in field_ids:
        with suppress(FieldGone):
            delete_field(store, one, by=by)


def set_excluded(store: Store, field_ids: Iterable[int], reader: str, excluded: bool) -> None:
    """Take fields out of a reader's review, finished ones too, or back into it. Raises BadOp for no name."""
    client = f"cases-{secrets.token_hex(8)}"
    for number, one in enumerate(field_ids, start=1):
        review = review_of(store, one, reader)
        wanted = "excluded" if excluded else "in_review"
        if review.state == wanted or (not excluded and review.state != "excluded"):
            continue
        change = {
            "op_id": secrets.token_hex(16),
            "client": client,
            "seq": number,
            "t": time.time() * 1000,
            "field": str(one),
            "base": review.rev,
            "kind": "state",
            "state": wanted,
        }
        with suppress(FieldGone):
            apply_ops(store, one, reader, [parse_op(change)])


def detect_again(store: Store, field_ids: Sequence[int], version: str, *, by: str) -> str:
    """Ask a version to look at fields; a sentence says how many it has looked at before, which are not done again."""
    added = detect_later(store, field_ids, version, by=by)
    known = len(field_ids) - added
    said = f"{count_noun(added, 'field')} will be analysed by {version}." if added else ""
    if known:
        was = "was" if known == 1 else "were"
        said += (
            f" {count_noun(known, 'field')} {was} analysed by it already or will be, so nothing is done there again."
        )
    return said.strip()


def correct_scale(store: Store, field_ids: Sequence[int], um_per_px: float, version: str, *, by: str) -> None:
    """Give fields a µm/px, in the place of an old one too; they are analysed at it. Raises MissingScale, FieldGone."""
    give_scale(store, field_ids, um_per_px)
    detect_later(store, field_ids, version, by=by)


def say_what_goes(store: Store, field_ids: Iterable[int]) -> str:
    """What deleting these fields would lose."""
    wanted = set(field_ids)
    fields = [one for one in read_overview(store, "") if one.id in wanted]
    finished = sum(any(review.state in READ for review in one.reviews.values()) for one in fields)
    names = sorted({name for one in fields for name in one.reviews})
    marks = sum(review.mitoses for one in fields for review in one.reviews.values())
    said = f"{count_noun(len(fields), 'field')} of {_cases(fields)} and what was detected there,"
    if names:
        said += (
            f" {finished} of them finished, and all marks of {', '.join(names)} "
            f"({count_noun(marks, 'mitosis')} among them)"
        )
    return f"{said} will be deleted. This cannot be undone."


def _cases(fields: Sequence[FieldOverview]) -> str:
    names = list(dict.fromkeys(one.case or "no case" for one in fields))
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
