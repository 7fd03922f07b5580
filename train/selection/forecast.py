"""What more corrected fields would bring: a curve through the F1 of versions that learnt from more and more of them.

The curve is F1 = start + gain · log2(1 + n / 10): the first ten fields teach as much as the next twenty, and those as
much as the next forty. Two numbers are all that a handful of versions can tell.

Two things blur it. Other held-out fields would give other F1: these are drawn again with replacement, the same ones for
every version. And the same training done twice gives two versions: how far they scatter about the curve is estimated
from their distances to it, together with a prior of `TRAINING_NOISE`, without which three points that happen to lie on
a line would claim to know the future.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FIELDS_PER_DOUBLING = 10.0  # corrected fields that bring as much as the next twice as many
FIELDS_AHEAD = 10  # fields ahead
MIN_COUNTS = 3  # two points lie on every curve
TRAINING_NOISE = 0.02  # F1, one standard deviation between versions from the same fields
_PRIOR_WEIGHT = 3.0  # versions that this prior is worth
_SAMPLES = 4000


@dataclass(frozen=True)
class Point:
    """One version. fields: corrected fields it learnt from. low, high: 95 % bootstrap interval of its F1."""

    fields: int
    f1: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Forecast:
    """The curve and what it says of FIELDS_AHEAD beyond `fields`, the most that any version learnt from.

    gain, low, high: change of F1 on the curve, middle and 95 % interval. x: Int[N], fields; middle, lower, upper:
    Float[N], F1 of the curve there.
    """

    fields: int
    gain: float
    low: float
    high: float
    x: npt.NDArray[np.int64]
    middle: Floats
    lower: Floats
    upper: Floats


def resampled_f1(counts: npt.ArrayLike, *, samples: int = _SAMPLES, seed: int = 0) -> Floats:
    """F1 of versions on held-out groups drawn again with replacement, the same draw for all: Float[samples, V].

    counts: Int[V, G, 3], true positives, false positives and misses of each version in each group (field or case).
    """
    per_group = np.asarray(counts)
    groups = per_group.shape[1]
    times = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=samples)
    return _f1(np.einsum("sg,vgc->svc", times, per_group))


def version_points(counts: npt.ArrayLike, learnt: npt.ArrayLike, draws: Floats) -> list[Point]:
    """One per version. counts as in `resampled_f1`, which made the draws; learnt: Int[V], corrected fields."""
    f1 = _f1(np.asarray(counts).sum(axis=1))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return [
        Point(int(n), float(at), float(a), float(b))
        for n, at, a, b in zip(np.asarray(learnt), f1, low, high, strict=True)
    ]


def fit_curve(learnt: npt.ArrayLike, f1: npt.ArrayLike) -> Floats:
    """Least squares for one or many sets of F1. learnt: [V], not all the same; f1: [..., V].

    Returns Float[..., 2]: start, and gain per doubling of n + 10.
    """
    return np.asarray(np.asarray(f1, np.float64) @ np.linalg.pinv(_design(learnt)).T)


def forecast(learnt: npt.ArrayLike, draws: Floats, *, seed: int = 1) -> Forecast | None:
    """What FIELDS_AHEAD more would bring; None with fewer than MIN_COUNTS different numbers of fields.

    learnt: Int[V]; draws: Float[samples, V], F1 as `resampled_f1` gives it.
    """
    counts = np.asarray(learnt)
    if len(np.unique(counts)) < MIN_COUNTS:
        return None
    most = int(counts.max())
    x = np.linspace(0, most + FIELDS_AHEAD, 61).round().astype(np.int64)
    lines = _plausible(counts, draws, np.random.default_rng(seed))
    now, then = np.clip(
        lines @ _design([most, most + FIELDS_AHEAD]).T, 0, 1
    ).T  # no F1 is above 1, whatever a line says
    gains = then - now
    low, gain, high = np.quantile(gains, [0.025, 0.5, 0.975])
    lower, middle, upper = np.clip(np.quantile(lines @ _design(x).T, [0.025, 0.5, 0.975], axis=0), 0, 1)
    return Forecast(most, float(gain), float(low), float(high), x, middle, lower, upper)


def _plausible(learnt: npt.NDArray[np.int64], draws: Floats, random: np.random.Generator) -> Floats:
    """Float[samples, 2]: for each draw one curve that its points allow, given how much trainings scatter."""
    design = _design(learnt)
    lines = fit_curve(learnt, draws)
    scatter = ((draws - lines @ design.T) ** 2).sum(axis=1)
    freedom = len(learnt) - 2
    # The posterior of a linear regression with a scaled inverse chi² prior on the variance.
    variance = (_PRIOR_WEIGHT * TRAINING_NOISE**2 + scatter) / random.chisquare(_PRIOR_WEIGHT + freedom, len(draws))
    root = np.linalg.cholesky(np.linalg.inv(design.T @ design))
    return np.asarray(lines + np.sqrt(variance)[:, None] * (random.standard_normal(lines.shape) @ root.T))


def _f1(counts: npt.NDArray[np.int64]) -> Floats:
    """[..., 3] -> [...]."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    return np.asarray(2 * tp / np.maximum(2 * tp + fp + fn, 1))


def _design(learnt: npt.ArrayLike) -> Floats:
    """Float[V, 2]: the two terms of the curve at these numbers of fields."""
    x = np.log2(1 + np.asarray(learnt, np.float64) / FIELDS_PER_DOUBLING)
    return np.stack([np.ones_like(x), x], axis=1)
