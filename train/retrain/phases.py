"""The phases of a run, and how far and how long each is: what bars move by and later estimates follow from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

Phase = Literal["starting", "preparing", "learning", "choosing", "comparing"]
PHASES: tuple[Phase, ...] = get_args(Phase)
PhaseReport = Callable[[Phase, float], None]  # the phase, and how much of it is done, 0 to 1


def report_nothing(phase: Phase, done: float) -> None:
    """Nobody wants to know."""


class PhaseClock:
    """The share done and the seconds taken of each phase. Phases may alternate: each network is prepared, then taught.

    started: `to_dict` of an earlier part of the same run. clock: seconds, for tests.
    """

    def __init__(self, started: Mapping[str, Any] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        known = started or {}
        self.phase: Phase = known.get("phase", "starting")
        self.done: dict[Phase, float] = dict(known.get("done", {}))
        self.seconds: dict[Phase, float] = dict(known.get("seconds", {}))
        self._clock, self._last = clock, clock()

    def report(self, phase: Phase, done: float) -> None:
        """The time since the last report was spent on this phase."""
        now = self._clock()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self.done[phase] = max(self.done.get(phase, 0.0), min(1.0, done))
        self.phase, self._last = phase, now

    def to_dict(self) -> dict[str, Any]:
        """As the store keeps it: JSON-able."""
        return {"phase": self.phase, "done": dict(self.done), "seconds": dict(self.seconds)}
