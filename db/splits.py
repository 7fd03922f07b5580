"""Which cases train and which are held out to judge versions: proposed, changed by a person, written by a run.

Looking writes nothing. A case is free until a run has learnt from it or a version was judged on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Protocol

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from db.engine import Store
from db.schema import FieldRow, RunRow, SplitRow
from mitosis_core.errors import ConcentricError

HELD_OUT_SHARE = 0.25  # of the cases
_USING = ("queued", "running", "done")  # runs that made a version, or may still do so


class OfCase(Protocol):
    """A field, as far as its split goes."""

    @property
    def id(self) -> int:
        """Of the field in the store."""

    @property
    def digest(self) -> str:
        """Of its pixels."""

    @property
    def case(self) -> str:
        """Its case, "" for none."""


@dataclass(frozen=True)
class CaseSplit:
    """Where one case stands, by its name in `case_of`. fields: ids.

    decided: it was written, by a run or a person; else it is only proposed. used: a run learns or has learnt from it,
    or a version was judged on it, so it can no longer be changed.
    """

    case: str
    fields: tuple[int, ...]
    held_out: bool
    decided: bool
    used: bool


def case_of(field: OfCase) -> str:
    """What must not be torn apart: the case, or the field alone where no case was given."""
    return _case_of(field.case, field.digest)


def propose(fields: Iterable[OfCase], decided: Mapping[str, bool]) -> dict[str, bool]:
    """case -> whether it is held out, for the cases of these fields in the order they come. Writes nothing.

    What is decided stays. The second of all cases is held out, later ones so that about a quarter of them are. A field
    without a case may be of any case, so it trains, and does not count as one. Cases without a field here count for
    nothing.
    """
    named = {case_of(field): bool(field.case) for field in fields}
    found = {case: decided[case] for case in named if case in decided}
    counted = [held_out for case, held_out in found.items() if named[case]]
    for case, is_case in named.items():
        if case in found:
            continue
        wanted = floor((len(counted) + 1) * HELD_OUT_SHARE + 0.5)
        found[case] = is_case and sum(counted) < wanted
        if is_case:
            counted.append(found[case])
    return {case: found[case] for case in named}


def held_out_by_field(store: Store, fields: Iterable[OfCase]) -> dict[int, bool]:
    """field id -> whether it is held out, as decided or else as proposed. Writes nothing."""
    fields = list(fields)
    with store.reading() as session:
        by_case = propose(fields, _decided(session))
    return {field.id: by_case[case_of(field)] for field in fields}


def case_splits(store: Store, fields: Iterable[OfCase]) -> list[CaseSplit]:
    """The cases of these fields, in the order they come. Writes nothing."""
    fields = list(fields)
    with store.reading() as session:
        decided, used = _decided(session), _used(session)
    members: dict[str, list[int]] = {}
    for field in fields:
        members.setdefault(case_of(field), []).append(field.id)
    return [
        CaseSplit(case, tuple(members[case]), out, case in decided, case in used)
        for case, out in propose(fields, decided).items()
    ]


def decide(store: Store, fields: Iterable[OfCase], *, by: str) -> dict[int, bool]:
    """Write what is proposed for the cases of these fields, for a run that starts; field id -> held out or not."""
    fields = list(fields)
    with store.writing() as session:
        decided = _decided(session)
        by_case = propose(fields, decided)
        now = datetime.now(UTC)
        for case in by_case.keys() - decided.keys():
            session.add(SplitRow(case=case, held_out=by_case[case], by=by, at=now))
    return {field.id: by_case[case_of(field)] for field in fields}


def set_held_out(store: Store, case: str, held_out: bool, *, by: str) -> None:
    """Let a case train, or hold it out. Raises ConcentricError once a run has used it."""
    with store.writing() as session:
        row = session.get(SplitRow, case)
        if row is not None and row.held_out == held_out:
            return
        if case in _used(session):
            raise ConcentricError(f"{case} stays where it is: a run has learnt from it, or a version was judged on it.")
        session.merge(SplitRow(case=case, held_out=held_out, by=by, at=datetime.now(UTC)))


def carry_over(session: Session, old: str, new: str) -> None:
    """Fields were moved from one case to another: a new case takes the split of the old one, so that what was held out
    does not train under another name. A field that had no case brings nothing."""
    if not old or old == new:
        return
    row = session.get(SplitRow, old)
    if row is None:
        return
    if new and session.get(SplitRow, new) is None:
        session.add(SplitRow(case=new, held_out=row.held_out, by=row.by, at=row.at))
    if not session.scalar(select(exists().where(FieldRow.case == old))):
        session.execute(delete(SplitRow).where(SplitRow.case == old))


def check_together(session: Session, old: str, new: str) -> None:
    """Raises ConcentricError when one of two cases that shall be one trains and the other is held out."""
    if _apart(session, old, new):
        used = bool({old, new} & _used(session))
        raise ConcentricError(
            f"One of {old} and {new} trains and the other is held out, so they cannot become one case"
            + (": a run has used them so." if used else ". Please put both on the same side first.")
        )


def check_side(session: Session, field: FieldRow, new: str) -> None:
    """A field that a run has used stays on its side. If it had no case and the new one is not decided yet, that is put
    on its side (`carry_over` does so for a field with one).

    Raises ConcentricError when the case it is moved to is on the other one. A field without a case trains unless it
    was held out by itself.
    """
    old, (before, after) = field.case, (_side(session, case, field.digest) for case in (field.case, new))
    if before is None or before == after or field.id not in _used_fields(session):
        return
    if after is None:
        if not old:
            session.add(SplitRow(case=new, held_out=before, by="", at=datetime.now(UTC)))
        return
    of_new, stays = new or "the fields without a case", f"in {old}" if old else "without a case"
    raise ConcentricError(
        f"A run has used this field, and {of_new} would bring it to the other side of the split: it stays {stays}."
    )


def _side(session: Session, case: str, digest: str) -> bool | None:
    """Whether it is held out; None where that is not decided yet."""
    row = session.get(SplitRow, _case_of(case, digest))
    return row.held_out if row is not None else None if case else False


def _apart(session: Session, *cases: str) -> bool:
    """Whether one of these cases trains and another is held out."""
    rows = [session.get(SplitRow, case) for case in cases if case]
    return len({row.held_out for row in rows if row is not None}) > 1


def _case_of(case: str, digest: str) -> str:
    return case or f"field {digest[:16]}"


def _decided(session: Session) -> dict[str, bool]:
    return {case: out for case, out in session.execute(select(SplitRow.case, SplitRow.held_out))}


def _used_fields(session: Session) -> set[int]:
    """The fields of runs that made a version or may still do so."""
    splits = session.scalars(select(RunRow.split).where(RunRow.state.in_(_USING)))
    return {number for split in splits for side in split.values() for number in side}


def _used(session: Session) -> set[str]:
    """Cases of the fields that runs have used."""
    ids = _used_fields(session)
    rows = session.execute(select(FieldRow.id, FieldRow.case, FieldRow.digest))
    return {_case_of(case, digest) for number, case, digest in rows if number in ids}
