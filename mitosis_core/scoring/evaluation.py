"""How good detections are over many fields: the contests' numbers, with an interval over slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from mitosis_core.errors import UnusableData
from mitosis_core.scoring.matching import Scores, match
from mitosis_core.types import Detections, Float32

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScoredField:
    """Detections of one field beside the truth: true_xy_px Float32[M, 2]; area_mm2 None where it is not known."""

    image: str
    slide: str
    detections: Detections
    true_xy_px: Float32
    um_per_px: float
    area_mm2: float | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """Pooled counts at every threshold that changes them, strictest first.

    threshold: Float32[T], detections with score >= threshold count. tp, found: Int[T]. true: mitoses in all fields.
    """

    threshold: Float32
    tp: _Ints
    found: _Ints
    true: int

    @property
    def precision(self) -> _Floats:
        """Share of the detections that are right, at each threshold."""
        return self.tp / self.found

    @property
    def recall(self) -> _Floats:
        """Share of the mitoses that were found, at each threshold."""
        return self.tp / self.true if self.true else np.zeros(len(self.tp))

    @property
    def f1(self) -> _Floats:
        """Harmonic mean of the two, at each threshold."""
        return 2 * self.tp / (self.found + self.true)

    @property
    def average_precision(self) -> float | None:
        """Area under precision over recall, precision made monotone (as PASCAL VOC since 2010); None without truth."""
        if not self.true:
            return None
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.sum(np.diff(self.recall, prepend=0.0) * envelope))

    def at(self, threshold: float) -> Scores:
        """The counts at any threshold."""
        n = int(np.count_nonzero(self.threshold >= np.float32(threshold)))
        tp, found = (int(self.tp[n - 1]), int(self.found[n - 1])) if n else (0, 0)
        return Scores(tp, found - tp, self.true - tp)


@dataclass(frozen=True)
class Interval:
    """95 % bootstrap interval; over: what was drawn again with replacement, "slides" or "fields"."""

    low: float
    high: float
    over: str


@dataclass(frozen=True)
class FieldScores:
    """One row of the per-field table."""

    image: str
    slide: str
    scores: Scores


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The numbers of one set of detections. best_threshold: where the pooled F1 is highest on these very fields (so an
    upper bound here, a choice only for other fields). notes: why a number is missing or weak."""

    radius_um: float
    threshold: float
    scores: Scores
    f1_interval: Interval | None
    fp_per_mm2: float | None
    average_precision: float | None
    best_threshold: float | None
    curve: Curve
    fields: tuple[FieldScores, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the curve at 101 thresholds from 0 to 1."""
        best = None if self.best_threshold is None else self.curve.at(self.best_threshold).f1
        return {
            "radius_um": self.radius_um,
            "threshold": self.threshold,
            **_ratios(self.scores),
            "f1_interval_95": None if self.f1_interval is None else asdict(self.f1_interval),
            "fp_per_mm2": self.fp_per_mm2,
            "average_precision": self.average_precision,
            "best_threshold": self.best_threshold,
            "best_f1": best,
            "curve": [{"threshold": t / 100, **_ratios(self.curve.at(t / 100))} for t in range(101)],
            "fields": [{"image": row.image, "slide": row.slide, **_ratios(row.scores)} for row in self.fields],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """A readable report."""
        width = max((len(row.image) for row in self.fields), default=5)
        lines = [f"{'image':<{width}}     tp    fp    fn     P     R    F1"]
        for name, s in [*((row.image, row.scores) for row in self.fields), ("all", self.scores)]:
            counts = f"{s.tp:5d} {s.fp:5d} {s.fn:5d}"
            lines.append(f"{name:<{width}}  {counts} {s.precision:5.2f} {s.recall:5.2f} {s.f1:5.2f}")
        lines += ["", f"A detection counts within {self.radius_um:g} µm, at scores from {self.threshold:g}."]
        if self.f1_interval is not None:
            low, high, over = self.f1_interval.low, self.f1_interval.high, self.f1_interval.over
            lines.append(f"F1 {self.scores.f1:.3f} (95 % interval {low:.3f} to {high:.3f}, bootstrap over {over})")
        if self.fp_per_mm2 is not None:
            lines.append(f"False positives per mm²: {self.fp_per_mm2:.2f}")
        if self.average_precision is not None:
            lines.append(f"Average precision: {self.average_precision:.3f}")
        if self.best_threshold is not None:
            best = self.curve.at(self.best_threshold).f1
            lines.append(f"Best threshold on these fields: {self.best_threshold:.3f} (F1 {best:.3f}, an upper bound)")
        return "\n".join(lines + list(self.notes)) + "\n"


def evaluate(
    fields: Sequence[ScoredField], radius_um: float, *, threshold: float = 0.0, samples: int = 2000, seed: int = 0
) -> Evaluation:
    """Score the detections of many fields, pooled; those below threshold count as not made.

    samples, seed: of the bootstrap. Raises UnusableData without fields, ValueError for a radius that is not positive.
    """
    if not fields:
        raise UnusableData("There is no annotated field to compare the detections with.")
    hits = [_hits(field, radius_um) for field in fields]
    curve = _curve(fields, hits)
    rows = tuple(
        FieldScores(field.image, field.slide, _scores_at(field, hit, threshold))
        for field, hit in zip(fields, hits, strict=True)
    )
    scores = reduce(add, (row.scores for row in rows), Scores())
    notes: list[str] = []
    return Evaluation(
        radius_um=radius_um,
        threshold=threshold,
        scores=scores,
        f1_interval=_interval(rows, samples, seed, notes.append),
        fp_per_mm2=_fp_per_mm2(fields, scores, notes.append),
        average_precision=curve.average_precision,
        best_threshold=_best(curve) if curve.tp.any() else None,
        curve=curve,
        fields=rows,
        notes=tuple(notes),
    )


def threshold_curve(fields: Sequence[ScoredField], radius_um: float) -> Curve:
    """Pooled counts at every threshold, from one matching per field."""
    return _curve(fields, [_hits(field, radius_um) for field in fields])


def best_threshold(fields: Sequence[ScoredField], radius_um: float) -> float:
    """The threshold with the highest pooled F1: the middle of its plateau, the higher plateau where two are as good.

    Choose it on fields the model was not trained on. Raises UnusableData when no detection hits a mitosis.
    """
    curve = threshold_curve(fields, radius_um)
    if not curve.tp.any():
        raise UnusableData("No detection hits a mitosis in these fields, so they cannot tell a good threshold.")
    return _best(curve)


def _best(curve: Curve) -> float:
    # Compared as whole fractions: rounding must not break a tie.
    best = 0
    for i in range(1, len(curve.tp)):
        if curve.tp[i] * (curve.found[best] + curve.true) > curve.tp[best] * (curve.found[i] + curve.true):
            best = i
    high = curve.threshold[best]
    low = curve.threshold[best + 1] if best + 1 < len(curve.threshold) else np.float32(0)
    middle = np.float32((float(low) + float(high)) / 2)
    return float(middle if middle > low else high)


def _hits(field: ScoredField, radius_um: float) -> npt.NDArray[np.bool_]:
    """Bool[N]: which detections, best score first, found a mitosis of their own.

    The best score takes first, so this one matching holds for the detections above any threshold.
    """
    found = field.detections
    hit = np.zeros(len(found), bool)
    hit[match(found.xy_px, field.true_xy_px, radius_um / field.um_per_px, found.score).pairs[:, 0]] = True
    return hit


def _scores_at(field: ScoredField, hit: npt.NDArray[np.bool_], threshold: float) -> Scores:
    found = int(np.count_nonzero(field.detections.score >= np.float32(threshold)))
    tp = int(np.count_nonzero(hit[:found]))
    return Scores(tp, found - tp, len(field.true_xy_px) - tp)


def _curve(fields: Sequence[ScoredField], hits: list[npt.NDArray[np.bool_]]) -> Curve:
    true = sum(len(field.true_xy_px) for field in fields)
    score = np.concatenate([np.zeros(0, np.float32), *(field.detections.score for field in fields)])
    hit = np.concatenate([np.zeros(0, bool), *hits])
    order = np.argsort(-score, kind="stable")
    score, tp = score[order], np.cumsum(hit[order])
    last = np.flatnonzero(np.diff(score, append=-np.inf))  # equal scores come and go together
    return Curve(score[last], tp[last], last + 1, true)


def _interval(rows: tuple[FieldScores, ...], samples: int, seed: int, note: Callable[[str], None]) -> Interval | None:
    slides = sorted({row.slide for row in rows})
    groups = [[row.scores for row in rows if row.slide == slide] for slide in slides]
    over = "slides"
    if len(slides) < 3:
        if len(rows) < 2:
            note("One field alone has no interval.")
            return None
        groups, over = [[row.scores] for row in rows], "fields"
        note("Fewer than three slides: the interval is over fields and too narrow for another slide.")
    totals = np.array([[s.tp, s.fp, s.fn] for s in (reduce(add, group) for group in groups)])
    drawn = np.random.default_rng(seed).integers(len(totals), size=(samples, len(totals)))
    tp, fp, fn = totals[drawn].sum(axis=1).T
    f1 = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    low, high = np.quantile(f1, [0.025, 0.975])
    return Interval(float(low), float(high), over)


def _fp_per_mm2(fields: Sequence[ScoredField], scores: Scores, note: Callable[[str], None]) -> float | None:
    areas = [field.area_mm2 for field in fields if field.area_mm2]
    if len(areas) < len(fields):
        note(f"No false positives per mm²: the area of {len(fields) - len(areas)} field(s) is not known.")
        return None
    return scores.fp / sum(areas)


def _ratios(s: Scores) -> dict[str, float]:
    return {"tp": s.tp, "fp": s.fp, "fn": s.fn, "precision": s.precision, "recall": s.recall, "f1": s.f1}
