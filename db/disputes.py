"""Disputes: cells that readers call differently, settled by one who has seen what all of them said."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from math import hypot

from db.engine import Store
from db.fields import StoredField
from db.ops import Op
from db.replay import Mark
from db.reviews import LOCKED, Applied, apply_ops, review_of
from mitosis_core.vocabulary import SAME_CELL_UM, Verdict


def settle(store: Store, field: StoredField, reader: str, x_px: float, y_px: float, verdict: Verdict) -> Applied:
    """Let this reader's verdict on the cell at a place stand for all readers.

    It is a change of the reader's own review, which is reopened for it and finished again where it was finished; the
    reviews of the others, and what was said before, stay as they were. Settled again, the later verdict stands.
    Raises FieldGone, BadOp, StoreBusy, StoreFull; then nothing was stored.
    """
    review = review_of(store, field.id, reader)
    own = _own_mark(review.standing, x_px, y_px, SAME_CELL_UM / field.um_per_px)
    blank = Op(
        "", f"settle-{secrets.token_hex(8)}", 0, 1000 * time.time(), str(field.id), review.rev, "state", ":state"
    )
    if own:
        mark = replace(blank, kind="class", target=own.id, x=own.x, y=own.y, comment=own.comment)
    else:
        mark = replace(blank, kind="add", target=secrets.token_hex(16), x=x_px, y=y_px)
    ops = [replace(mark, verdict=verdict, settles=True)]
    if review.state in LOCKED:
        ops = [replace(blank, state="in_review"), *ops, replace(blank, state=review.state)]
    return apply_ops(
        store, field.id, reader, [replace(op, op_id=secrets.token_hex(16), seq=n) for n, op in enumerate(ops, 1)]
    )


def _own_mark(marks: tuple[Mark, ...], x_px: float, y_px: float, radius_px: float) -> Mark | None:
    """The nearest of these marks that means the same cell."""

    def away(mark: Mark) -> float:
        return hypot(mark.x - x_px, mark.y - y_px)

    return min((mark for mark in marks if away(mark) <= radius_px), key=away, default=None)
