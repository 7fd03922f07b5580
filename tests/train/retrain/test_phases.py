"""Phases and their times, and estimates that follow from them."""

from __future__ import annotations

import pytest

from mitosis_core.model import load_model
from train.retrain.config import RetrainConfig
from train.retrain.estimate import seconds_by_work, work_of
from train.retrain.phases import PHASES, PhaseClock


def test_time_goes_to_the_phase_that_reports_and_phases_may_alternate() -> None:
    now = iter([0.0, 3.0, 5.0, 9.0, 10.0])
    clock = PhaseClock(clock=lambda: next(now))
    for phase, done in (("preparing", 0.5), ("learning", 0.5), ("preparing", 1.0), ("learning", 0.4)):
        clock.report(phase, done)  # type: ignore[arg-type]
    assert clock.seconds == {"preparing": 7.0, "learning": 3.0}
    assert clock.done == {"preparing": 1.0, "learning": 0.5}  # never back


def test_a_run_that_goes_on_keeps_the_times_of_its_first_part() -> None:
    now = iter([0.0, 2.0, 100.0, 105.0])
    first = PhaseClock(clock=lambda: next(now))
    first.report("preparing", 0.5)
    second = PhaseClock(first.to_dict(), clock=lambda: next(now))
    second.report("preparing", 0.7)
    assert second.seconds == {"preparing": 7.0} and second.done == {"preparing": 0.7}


def test_twice_the_work_is_expected_to_take_twice_the_time() -> None:
    work = {"starting": 1.0, "preparing": 40.0, "learning": 10.0}
    earlier, took = (
        {"starting": 1.0, "preparing": 20.0, "learning": 0.0},
        {"starting": 8.0, "preparing": 30.0, "learning": 1.0},
    )
    assert seconds_by_work(work, earlier, took) == {"starting": 8.0, "preparing": 60.0, "learning": 0.0}  # type: ignore[arg-type]


def test_work_grows_with_fields_steps_and_judges() -> None:
    card, config = load_model().card, RetrainConfig()
    one, more = work_of(card, 4, 2, config), work_of(card, 8, 10, RetrainConfig(steps=200))
    assert tuple(one) == PHASES and one["starting"] == more["starting"] == 1
    assert all(more[phase] > one[phase] for phase in PHASES[1:])
    assert more["learning"] == pytest.approx(2 * one["learning"])
