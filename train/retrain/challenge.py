"""The evaluation of a new version: it and the active one on fields held out, only where they were reviewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from mitosis_core.model import Model
from mitosis_core.prediction import predict
from mitosis_core.scoring.comparison import Comparison, assessable, compare
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Prediction
from train.retrain.corrected import CorrectedField
from train.retrain.phases import PhaseReport, report_nothing
from train.retrain.session import Cancelled

_ASK_S = 0.2


def evaluate_challenger(
    champion: Model,
    challenger: Model,
    held_out: Sequence[CorrectedField],
    cancelled: Callable[[], bool],
    phase: PhaseReport = report_nothing,
) -> Comparison:
    """`mitosis_core.scoring.comparison.compare` of both on fields held out of this training. Raises Cancelled."""
    sides: list[list[ScoredField]] = []
    for model in (champion, challenger):
        sides.append([])
        for field in held_out:
            sides[-1].append(_scored(field, model, cancelled))
            phase("comparing", sum(map(len, sides)) / (2 * len(held_out)))
    return compare(sides[0], sides[1], (champion.threshold, challenger.threshold), against=champion.version)


def _scored(example: CorrectedField, model: Model, cancelled: Callable[[], bool]) -> ScoredField:
    found = assessable(example, _unless_cancelled(lambda: predict(example.field, model), cancelled).candidates)
    return ScoredField(
        example.field.digest, example.slide, found, example.mitoses_xy_px, example.um_per_px, example.counted_mm2
    )


def _unless_cancelled(work: Callable[[], Prediction], cancelled: Callable[[], bool]) -> Prediction:
    """What `work` returns. Its first call makes the engine of a version, for many seconds in which nothing else could
    ask; so it works beside, and whoever cancels does not wait for it. Raises Cancelled."""
    pool = ThreadPoolExecutor(1)
    doing = pool.submit(work)
    try:
        while not doing.done():
            if cancelled():
                raise Cancelled("The run was cancelled; the active version is as it was.")
            wait([doing], timeout=_ASK_S)
        return doing.result()
    finally:
        pool.shutdown(wait=False)
