"""How far a run is and how long it will take, from what its process said last. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from db.runs import Run
from train.retrain.phases import PHASES, Phase

PHASE_WORDS: dict[Phase, str] = {
    "starting": "Starting",
    "preparing": "Preparing the fields",
    "learning": "Learning",
    "choosing": "Choosing the threshold",
    "comparing": "Comparing with the active version",
}
# Where nothing is known yet: shares of a run from the default version on seven fields, judged on seven, on two cores.
_USUAL_S: dict[Phase, float] = {"starting": 12, "preparing": 60, "learning": 70, "choosing": 3, "comparing": 45}
_TRUST = 0.2  # what was expected counts as much as what was seen of this share of the run


@dataclass(frozen=True)
class PhaseShare:
    """One phase: its part of the whole run by time, and how much of it is done; both 0 to 1."""

    words: str
    share: float
    done: float


@dataclass(frozen=True)
class RunProgress:
    """words: of the phase that is on. share: of the whole, 0 to 1, never 1 before the end. seconds_left: expected."""

    words: str
    share: float
    seconds_left: float
    phases: tuple[PhaseShare, ...]


def run_progress(run: Run, now: datetime | None = None) -> RunProgress:
    """Of a run that is open. Between two reports the phase that is on goes on with time, ever more slowly, so that a
    bar always moves and never claims to have ended."""
    said, now = run.progress, now or datetime.now(UTC)
    expected = _expected(said)
    on: Phase = said.get("phase", "starting")
    silent_s = max(0.0, now.timestamp() - said["at"]) if "at" in said else (now - run.created_at).total_seconds()
    if said.get("done", {}).get(on, 0.0) >= 1.0:  # what comes next has not reported yet
        on = next(iter([*[one for one in PHASES if said["done"].get(one, 0.0) < 1.0 and expected[one] > 0], on]))
    done = {phase: _done(said, phase, on, silent_s, expected[phase]) for phase in PHASES}
    total = sum(expected.values())
    share = sum(expected[phase] * done[phase] for phase in PHASES) / total
    left = sum(expected[phase] * (1 - done[phase]) for phase in PHASES) * _pace(said, expected)
    phases = tuple(
        PhaseShare(PHASE_WORDS[phase], expected[phase] / total, done[phase]) for phase in PHASES if expected[phase] > 0
    )
    return RunProgress(PHASE_WORDS[on], min(share, 0.99), left, phases)


def _expected(said: Mapping[str, Any]) -> dict[Phase, float]:
    known = said.get("expected") or _USUAL_S
    return {phase: float(known.get(phase, 0.0)) for phase in PHASES}


def _done(said: Mapping[str, Any], phase: Phase, on: Phase, silent_s: float, expected_s: float) -> float:
    reported = float(said.get("done", {}).get(phase, 0.0))
    if phase != on or expected_s <= 0:
        return reported
    return reported + (1 - reported) * silent_s / (silent_s + 2 * expected_s)


def _pace(said: Mapping[str, Any], expected: Mapping[Phase, float]) -> float:
    """How many times slower than expected this run is, judged the more by itself the longer it has been running."""
    done: Mapping[Phase, float] = said.get("done", {})
    planned_s = sum(expected[phase] * share for phase, share in done.items() if phase != "starting")
    took_s = sum(seconds for phase, seconds in said.get("seconds", {}).items() if phase != "starting")
    trust_s = _TRUST * sum(expected.values())
    return float((took_s + trust_s) / (planned_s + trust_s))
