"""What a link asks for that cannot be shown yet, because nobody has said its µm/px."""

from __future__ import annotations

from db.case_counts import fields_of
from db.engine import Store
from db.fields import list_unscaled
from db.splits import case_of


def waiting_for_scale(store: Store, case: str, field: str = "") -> str:
    """A sentence where this field (its id), or every field of this case, waits for its µm/px; "" else.

    case, field: as an address gives them, "" where it does not.
    """
    waiting = list_unscaled(store)
    if field:
        name = next((one.name for one in waiting if str(one.id) == field), "")
    else:
        name = case if any(case_of(one) == case for one in waiting) and not fields_of(store, case) else ""
    return f"{name} waits for its µm/px: without it nothing can be measured in it or counted." if name else ""
