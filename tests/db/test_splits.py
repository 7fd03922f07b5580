"""What is held out: looking decides nothing, a person or a run does, and what a version was judged on stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from sqlalchemy import func, select

from db import runs
from db.engine import Store
from db.fields import StoredField, add_field, list_cases, list_fields, rename_case, set_case
from db.schema import SplitRow
from db.splits import case_splits, decide, held_out_by_field, propose, set_held_out
from mitosis_core.errors import ConcentricError
from mitosis_core.types import Field


@dataclass(frozen=True)
class Member:
    id: int
    case: str
    digest: str = "0" * 64


def cases(*names: str) -> list[Member]:
    return [Member(number, name, f"{number:02d}" * 32) for number, name in enumerate(names)]


def field(store: Store, number: int, case: str = "") -> StoredField:
    return add_field(store, Field(np.full((60, 60, 3), number, np.uint8), 0.25, f"{number}.png"), case=case)[0]


def rows(store: Store) -> int:
    with store.reading() as session:
        return session.scalar(select(func.count()).select_from(SplitRow)) or 0


def run(store: Store, state: str, *, train: list[int], held: list[int]) -> None:
    one = runs.queue_run(
        store,
        by="Ann",
        base_version="v",
        source="",
        last_event=1,
        settings={},
        split={"train": train, "held_out": held},
        code="c",
    )
    if state != "queued":
        runs.end(store, one.id, state)


# ---- the proposal, a pure function


def test_the_second_case_is_held_out_and_about_a_quarter_of_many() -> None:
    names = [f"c{number}" for number in range(20)]
    proposed = propose(cases(*names), {})
    assert [proposed[name] for name in names[:2]] == [False, True] and sum(proposed.values()) == 5
    assert propose(cases("a", "a", "b", "a"), {}) == {"a": False, "b": True}


def test_fields_without_a_case_train_and_fill_no_quota() -> None:
    proposed = propose(cases(*[""] * 14, "A00", "A02"), {})
    assert (proposed["A00"], proposed["A02"]) == (False, True)
    assert sum(proposed.values()) == 1 and len(proposed) == 16


def test_cases_that_have_no_field_here_count_for_nothing() -> None:
    ghosts = {f"gone {number}": number % 2 == 1 for number in range(14)}
    assert propose(cases("A00", "A02"), ghosts) == {"A00": False, "A02": True}


def test_what_is_decided_stays_and_the_rest_goes_by_it() -> None:
    assert propose(cases("a", "b", "c"), {"a": True}) == {"a": True, "b": False, "c": False}
    assert propose(cases("a", "b", "c"), {"a": False, "b": False}) == {"a": False, "b": False, "c": True}


# ---- in the store


def test_looking_writes_nothing(store: Store) -> None:
    fields = [field(store, n, f"case {n % 2}") for n in range(4)]
    assert held_out_by_field(store, fields) == {1: False, 2: True, 3: False, 4: True}
    assert [(one.case, one.fields, one.decided, one.used) for one in case_splits(store, fields)] == [
        ("case 0", (1, 3), False, False),
        ("case 1", (2, 4), False, False),
    ]
    assert rows(store) == 0


def test_a_decided_case_stays_where_it_is_whatever_comes(store: Store) -> None:
    first = [field(store, n, f"case {n}") for n in range(3)]
    before = decide(store, first, by="Ann")
    later = [field(store, n, f"case {n % 3}") for n in range(10, 16)]
    after = held_out_by_field(store, [*later, *reversed(first)])
    assert all(after[one.id] == before[one.id] for one in first) and rows(store) == 3
    assert all(after[one.id] == before[first[number % 3].id] for number, one in enumerate(later, 10))


def test_a_person_may_change_it_until_a_run_has_used_it(store: Store) -> None:
    fields = [field(store, n, f"case {n}") for n in range(2)]
    set_held_out(store, "case 0", True, by="Ann")
    set_held_out(store, "case 1", False, by="Ann")
    assert held_out_by_field(store, fields) == {1: True, 2: False}
    run(store, "failed", train=[2], held=[1])  # made nothing
    set_held_out(store, "case 0", False, by="Ann")
    set_held_out(store, "case 0", True, by="Ann")
    run(store, "done", train=[2], held=[1])
    for case, out in (("case 0", False), ("case 1", True)):
        with pytest.raises(ConcentricError, match="stays where it is"):
            set_held_out(store, case, out, by="Ann")
        set_held_out(store, case, not out, by="Ann")  # as it is
    assert held_out_by_field(store, fields) == {1: True, 2: False} and all(
        one.used for one in case_splits(store, fields)
    )
    set_held_out(store, "case 2", True, by="Ann")


def test_a_run_on_its_way_holds_its_cases(store: Store) -> None:
    field(store, 0, "a")
    run(store, "queued", train=[1], held=[])
    with pytest.raises(ConcentricError, match="stays where it is"):
        set_held_out(store, "a", True, by="Ann")


def test_a_field_that_a_run_has_used_keeps_its_side_also_without_a_case(store: Store) -> None:
    field(store, 0, "held")
    field(store, 1)
    field(store, 2)
    set_held_out(store, "held", True, by="Ann")
    run(store, "done", train=[2], held=[1])
    with pytest.raises(ConcentricError, match="stays in held"):  # without a case it would train
        set_case(store, 1, "")
    with pytest.raises(ConcentricError, match="stays without a case"):
        set_case(store, 2, "held")
    set_case(store, 3, "held")  # no run knows it
    set_case(store, 2, "new")
    assert held_out_by_field(store, list_fields(store)) == {1: True, 2: False, 3: True}


# ---- names


def test_renaming_a_case_carries_its_split_over(store: Store) -> None:
    for number in range(4):
        field(store, number, f"case {number % 2}")
    decide(store, list_fields(store), by="Ann")
    rename_case(store, "case 1", "  S21-77 ")
    assert list_cases(store) == ["S21-77", "case 0"]
    assert held_out_by_field(store, list_fields(store)) == {1: False, 2: True, 3: False, 4: True} and rows(store) == 2
    with pytest.raises(ConcentricError, match="no case case 1"):
        rename_case(store, "case 1", "x")
    with pytest.raises(ConcentricError, match="needs a name"):
        rename_case(store, "case 0", " ")


def test_renaming_field_by_field_carries_it_over_too(store: Store) -> None:
    for number in range(4):
        field(store, number, f"case {number % 2}")
    decide(store, list_fields(store), by="Ann")
    set_case(store, 2, "new")
    assert held_out_by_field(store, list_fields(store))[2] and rows(store) == 3  # no field of it trains on the way
    set_case(store, 4, "new")
    assert held_out_by_field(store, list_fields(store)) == {1: False, 2: True, 3: False, 4: True}
    assert rows(store) == 2  # and the old name is free again


def test_two_sides_do_not_become_one_case(store: Store) -> None:
    for number in range(2):
        field(store, number, f"case {number}")
    decide(store, list_fields(store), by="Ann")
    with pytest.raises(ConcentricError, match="cannot become one case"):
        rename_case(store, "case 0", "case 1")
    assert list_cases(store) == ["case 0", "case 1"]
    set_held_out(store, "case 1", False, by="Ann")
    rename_case(store, "case 0", "case 1")
    assert list_cases(store) == ["case 1"] and rows(store) == 1


def test_naming_the_cases_afterwards_gives_cases_to_train_and_to_judge_on(store: Store) -> None:
    for number in range(14):
        field(store, number)
    decide(store, list_fields(store), by="Ann")
    for number in range(1, 15):
        set_case(store, number, "A00" if number <= 7 else "A02")
    assert [(one.case, one.held_out) for one in case_splits(store, list_fields(store))] == [
        ("A00", False),
        ("A02", True),
    ]
