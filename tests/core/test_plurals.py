"""One field, two fields."""

from __future__ import annotations

import pytest

from mitosis_core.plurals import count_noun, plural


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (0, "field", "0 fields"),
        (1, "finished field", "1 finished field"),
        (2, "finished field", "2 finished fields"),
        (1, "mitosis", "1 mitosis"),
        (3, "more mitosis", "3 more mitoses"),
    ],
)
def test_a_number_with_its_noun(number: int, noun: str, expected: str) -> None:
    assert count_noun(number, noun) == expected and expected.endswith(plural(number, noun))
