"""What a user chose is there again, and only what can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from db.engine import Store
from db.preferences import Preferences, change_preferences, read_preferences
from db.schema import PreferencesRow
from mitosis_core.errors import ConcentricError, MissingScale
from mitosis_core.scoring.counting import FIELD_DIAMETER_MM
from tests.db.conftest import reopen

CHOSEN: dict[str, Any] = {
    "reader": "Dr. Jörg Ärzt",
    "um_per_px": 0.2456,
    "field_diameter_mm": 0.5,
    "version": "v1",
    "key_layout": "left hand",
    "advance": False,
}


def test_the_defaults_hold_until_something_is_chosen(store: Store) -> None:
    assert read_preferences(store, "ann") == Preferences() == Preferences("", None, FIELD_DIAMETER_MM, None)


@pytest.mark.parametrize("name", CHOSEN)
def test_each_choice_is_kept_alone(store: Store, name: str) -> None:
    changed = change_preferences(store, "ann", **{name: CHOSEN[name]})
    again = reopen(store)
    assert read_preferences(again, "ann") == changed == replace(Preferences(), **{name: CHOSEN[name]})
    assert read_preferences(again, "bob") == Preferences()


def test_one_row_a_user_and_nothing_else_is_touched(store: Store) -> None:
    change_preferences(store, "ann", **CHOSEN)
    change_preferences(store, "", reader=" Bob ")
    change_preferences(store, "ann", version=None, um_per_px=None)
    assert read_preferences(store, "ann") == Preferences(**(CHOSEN | {"version": None, "um_per_px": None}))
    assert read_preferences(store, "").reader == "Bob"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"key_layout": ""}, ConcentricError),
        ({"um_per_px": 25.0}, MissingScale),
        ({"um_per_px": float("nan")}, MissingScale),
        ({"field_diameter_mm": 0.0}, ConcentricError),
        ({"field_diameter_mm": float("nan")}, ConcentricError),
        ({"reader": "a\nb"}, ConcentricError),
        ({"colour": "plum"}, TypeError),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    store: Store, wrong: dict[str, Any], error: type[Exception]
) -> None:
    change_preferences(store, "ann", **CHOSEN)
    with pytest.raises(error):
        change_preferences(store, "ann", advance=True, **wrong)
    assert read_preferences(store, "ann") == Preferences(**CHOSEN)


def test_what_another_program_wrote_counts_as_not_chosen(store: Store) -> None:
    change_preferences(store, "ann", **CHOSEN)
    with store.writing() as session:
        session.execute(update(PreferencesRow).values(key_layout="dvorak"))
    assert read_preferences(store, "ann") == Preferences(**(CHOSEN | {"key_layout": "standard"}))
