"""How far a run is, by what its process said: shares by expected times, a bar that moves and never ends too early."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.runs import Run
from pages.shared.service.run_progress import run_progress

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
EXPECTED = {"starting": 10.0, "preparing": 30.0, "learning": 50.0, "choosing": 0.0, "comparing": 10.0}


def run(progress: dict[str, Any], created_s_ago: float = 60) -> Run:
    created = NOW - timedelta(seconds=created_s_ago)
    return Run(
        1,
        "running",
        "Ann",
        "v",
        "",
        0,
        {},
        {"train": [], "held_out": []},
        "",
        progress,
        "",
        None,
        False,
        created,
        created,
        NOW,
        None,
    )


def said(phase: str, done: dict[str, float], seconds: dict[str, float], silent_s: float = 0) -> Run:
    at = NOW.timestamp() - silent_s
    return run({"phase": phase, "done": done, "seconds": seconds, "expected": EXPECTED, "at": at})


def test_a_share_is_that_of_the_expected_time() -> None:
    found = run_progress(said("preparing", {"starting": 1, "preparing": 0.5}, {"starting": 9, "preparing": 15}), NOW)
    assert found.words == "Preparing the fields" and found.share == pytest.approx(0.25)
    assert found.seconds_left == pytest.approx(75)
    assert [one.share for one in found.phases] == pytest.approx([0.1, 0.3, 0.5, 0.1])  # choosing takes no time here


def test_a_slow_machine_takes_longer_than_expected_and_says_so() -> None:
    found = run_progress(said("preparing", {"starting": 1, "preparing": 0.5}, {"starting": 9, "preparing": 30}), NOW)
    assert found.seconds_left == pytest.approx(75 * (30 + 20) / (15 + 20))  # of 100 s expected, 20 s are trusted


def test_it_moves_while_nothing_is_reported_and_is_never_full() -> None:
    shares = [
        run_progress(said("comparing", {"starting": 1, "preparing": 1, "learning": 1}, {}, silent), NOW).share
        for silent in (0, 1, 10, 60, 3600)
    ]
    assert shares == sorted(shares) and len(set(shares)) == len(shares)
    assert shares[0] == pytest.approx(0.9) and shares[-1] <= 0.99
    assert shares[3] < 0.98  # a minute over what ten seconds were expected for


def test_it_is_not_empty_while_the_process_starts() -> None:
    before, after = (run_progress(run({}, created_s_ago=s), NOW).share for s in (1, 20))
    assert 0 < before < after


def test_the_phase_that_comes_next_is_named_before_it_reports() -> None:
    assert run_progress(said("starting", {"starting": 1}, {}, 3), NOW).words == "Preparing the fields"
