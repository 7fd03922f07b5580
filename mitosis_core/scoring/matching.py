"""Which detections are right: one-to-one matching within a radius, as the mitosis contests score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mitosis_core.types import Float32

_Ints = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Scores:
    """Counts of right, wrong and missed detections; add them to pool fields. A ratio without a denominator is 0."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def precision(self) -> float:
        """Share of the detections that are right."""
        return self.tp / (self.tp + self.fp) if self.tp else 0.0

    @property
    def recall(self) -> float:
        """Share of the mitoses that were found."""
        return self.tp / (self.tp + self.fn) if self.tp else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp else 0.0

    def __add__(self, other: Scores) -> Scores:
        return Scores(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


@dataclass(frozen=True, eq=False)
class Match:
    """pairs: Int[K, 2] rows of (found, true) that belong together, best score first.

    missed: indices of the true points nobody found; extra: indices of the detections that found none. Both ascend.
    """

    pairs: _Ints
    missed: _Ints
    extra: _Ints

    @property
    def scores(self) -> Scores:
        """The counts that follow from the pairs."""
        return Scores(len(self.pairs), len(self.extra), len(self.missed))


def match(found_xy_px: Float32, true_xy_px: Float32, radius_px: float, score: npt.ArrayLike | None = None) -> Match:
    """Match detections to true centroids.

    found_xy_px: [N, 2]; true_xy_px: [M, 2]; score: [N], or None when the detections come best first. In the order of
    the score each detection takes the nearest true centroid within radius_px (the border counts) that no better one
    has taken. So the matching of the detections above a threshold is the beginning of the matching of all of them.
    Raises ValueError for a radius that is not positive or scores that do not fit the points.
    """
    found = np.asarray(found_xy_px, np.float64).reshape(-1, 2)
    true = np.asarray(true_xy_px, np.float64).reshape(-1, 2)
    if not radius_px > 0:
        raise ValueError(f"radius_px must be positive, not {radius_px}")
    order = np.arange(len(found)) if score is None else np.argsort(-np.asarray(score, np.float64), kind="stable")
    if order.shape != (len(found),):
        raise ValueError(f"{len(found)} points but {order.size} scores")
    pairs = _pair_up(found, true, radius_px, order)
    missed = np.setdiff1d(np.arange(len(true)), pairs[:, 1])
    extra = np.setdiff1d(np.arange(len(found)), pairs[:, 0])
    return Match(pairs, missed, extra)


def _pair_up(found: npt.NDArray[np.float64], true: npt.NDArray[np.float64], radius_px: float, order: _Ints) -> _Ints:
    if not len(found) or not len(true):
        return np.zeros((0, 2), np.intp)
    from scipy.spatial import cKDTree

    near = cKDTree(true).query_ball_point(found[order], radius_px, return_sorted=True)
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for one, reachable in zip(order.tolist(), near, strict=True):
        free = [int(j) for j in reachable if j not in taken]
        if free:
            nearest = free[int(np.argmin(((true[free] - found[one]) ** 2).sum(axis=1)))]
            taken.add(nearest)
            pairs.append((one, nearest))
    return np.asarray(pairs, np.intp).reshape(-1, 2)
