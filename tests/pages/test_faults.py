"""The benchmark of faults: what it calls a fault."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import Fault, break_store, locked, put_back


def nothing(_: Path) -> Any:
    return nullcontext()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "status", "stored", "good"),
    [
        (Fault(locked), 503, False, True),
        (Fault(nothing), 200, True, True),  # as when a change still fits on a full disk
        (Fault(nothing, put_back), 200, False, False),  # acknowledged, and lost with the file
        (Fault(locked, status=401), 503, False, False),
    ],
)
def test_acknowledged_and_lost_is_a_fault_and_acknowledged_and_stored_is_none(
    tmp_path: Path, fault: Fault, status: int, stored: bool, good: bool
) -> None:
    for answer in break_store(tmp_path, {"it": fault}).values():
        assert (answer["answered"], answer["stored"], answer["good"]) == (status, stored, good)
        assert answer["after"] == 200 and answer["events"] == 51
