"""Which fields train and which are held out to prove a version: by case, decided once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from math import floor

from sqlalchemy import select

from db.engine import Store
from db.fields import StoredField
from db.schema import SplitRow

HELD_OUT_SHARE = 0.25  # of the cases


def case_of(field: StoredField) -> str:
    """What must not be torn apart: the case, or the field alone where no case was given."""
    return field.case or f"field {field.digest[:16]}"


def held_out_by_field(store: Store, fields: Iterable[StoredField]) -> dict[int, bool]:
    """field id -> whether it is held out. A case that was seen before stays where it is; the second case of all is
    held out, and later ones so that about a quarter of the cases are."""
    fields = list(fields)
    with store.writing() as session:
        known = {case: held_out for case, held_out in session.execute(select(SplitRow.case, SplitRow.held_out))}
        for case in dict.fromkeys(case_of(field) for field in fields):
            if case not in known:
                wanted = floor((len(known) + 1) * HELD_OUT_SHARE + 0.5)
                known[case] = sum(known.values()) < wanted
                session.add(SplitRow(case=case, held_out=known[case], at=datetime.now(UTC)))
    return {field.id: known[case_of(field)] for field in fields}
