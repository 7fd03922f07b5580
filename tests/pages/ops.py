"""A change of a review as the viewer sends it."""

from __future__ import annotations

import uuid
from typing import Any


def make_op(field: int, /, **changed: Any) -> dict[str, Any]:
    """A new mark on a field; changed: what is otherwise."""
    given = {
        "op_id": uuid.uuid4().hex,
        "client": "c1",
        "seq": 1,
        "t": 0,
        "field": str(field),
        "base": 0,
        "kind": "add",
        "id": "m1",
        "x": 10.0,
        "y": 20.0,
        "cls": "mitosis",
    }
    return given | changed
