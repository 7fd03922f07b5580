"""One change to a review as a page sends it, checked before anything believes it.

{op_id, client, seq, t, field, base, kind, ...}
add | delete | restore | move | class    + id, x, y, cls, perhaps comment: the whole mark after the change
state + state        area + area: null or [x0, y0, x1, y1]        time + seconds
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mitosis_core.errors import ConcentricError
from mitosis_core.types import Region
from mitosis_core.vocabulary import VERDICTS, ReviewState, Verdict

STATES: tuple[ReviewState, ...] = ("in_review", "complete", "excluded")  # that a reader may choose
MARK_KINDS = ("add", "delete", "restore", "move", "class")
MAX_SECONDS = 3600.0
MAX_COMMENT = 500  # characters

_COMMON = {"op_id", "client", "seq", "t", "field", "base", "kind"}
_OWN: dict[str, set[str]] = {kind: {"id", "x", "y", "cls"} for kind in MARK_KINDS}
_OWN |= {"state": {"state"}, "area": {"area"}, "time": {"seconds"}}
_OPTIONAL = {kind: {"comment"} if kind in MARK_KINDS else set[str]() for kind in _OWN}
OP_ID = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST = 2**53 - 1  # JavaScript counts exactly up to here, and SQLite holds it


class BadOp(ConcentricError):
    """A change, or the name of a reader, that cannot be accepted."""


@dataclass(frozen=True)
class Op:
    """One change. target: the id of a mark, or ":state", ":area", ":time". sent_ms: the browser's clock.

    comment: on the mark, None for none. settles: see `db.replay.Mark`; no browser sends it.
    """

    op_id: str
    client: str
    seq: int
    sent_ms: float
    field: str
    base: int
    kind: str
    target: str
    x: float | None = None
    y: float | None = None
    verdict: Verdict | None = None
    state: ReviewState | None = None
    area: Region | None = None
    seconds: float | None = None
    comment: str | None = None
    settles: bool = False


def parse_op(sent: Any) -> Op:
    """Raises BadOp, with a sentence, for anything that is not exactly one well-formed change."""
    if not isinstance(sent, Mapping):
        raise BadOp("A change must be an object.")
    kind = sent.get("kind")
    if not isinstance(kind, str) or kind not in _OWN:
        raise BadOp("This kind of change is not known.")
    if set(sent) - _OPTIONAL[kind] != _COMMON | _OWN[kind]:
        raise BadOp("The change has missing or unknown parts.")
    return Op(
        op_id=_text(sent["op_id"], OP_ID),
        client=_text(sent["client"], _ID),
        seq=_whole(sent["seq"]),
        sent_ms=_number(sent["t"], 0, _LARGEST),
        field=_text(sent["field"], _ID),
        base=_whole(sent["base"]),
        kind=kind,
        **_own(kind, sent),
    )


def check_reader(name: str) -> str:
    """A reader's name without spaces around it. Raises BadOp unless it has 1 to 60 printable characters."""
    name = name.strip()
    if not (1 <= len(name) <= 60 and name.isprintable()):
        raise BadOp("The name of a reader must have 1 to 60 printable characters.")
    return name


def _own(kind: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    if kind in MARK_KINDS:
        place = {"x": _number(sent["x"]), "y": _number(sent["y"])}
        said = {"verdict": _one_of(sent["cls"], VERDICTS), "comment": _comment(sent.get("comment"))}
        return {"target": _text(sent["id"], _ID), **place, **said}
    if kind == "state":
        return {"target": ":state", "state": _one_of(sent["state"], STATES)}
    if kind == "area":
        return {"target": ":area", "area": _area(sent["area"])}
    return {"target": ":time", "seconds": _number(sent["seconds"], 0, MAX_SECONDS)}


def _text(value: Any, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise BadOp("The change has an id of unknown form.")
    return value


def _comment(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_COMMENT or not value.isprintable():
        raise BadOp(f"A comment has at most {MAX_COMMENT} printable characters, on one line.")
    return value.strip() or None


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise BadOp("The change has a count that is no whole number from 0 on.")
    return value


def _number(value: Any, low: float = -_LARGEST, high: float = _LARGEST) -> float:
    # Compared before it is made a float: a whole number may be too long for one. NaN fails every comparison.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadOp("The change has a number that is out of range.")
    return float(value)


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise BadOp(f"The change must say one of {', '.join(known)}.")
    return value


def _area(value: Any) -> Region | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise BadOp("A reviewed area has four sides.")
    x0, y0, x1, y1 = (_number(side) for side in value)
    if not (x0 < x1 and y0 < y1):
        raise BadOp("A reviewed area must not be empty.")
    return Region(x0, y0, x1, y1)
