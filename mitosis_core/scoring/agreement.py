"""Where readers of a field agree: which marks mean the same cell, Cohen's kappa, F1, and what the majority says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mitosis_core.scoring.matching import Scores
from mitosis_core.types import Float32
from mitosis_core.vocabulary import LOOKALIKE, MITOSIS, UNSURE, VERDICTS, Verdict

_Mark = tuple[
    float, float, Verdict, str, bool
]  # y, x, verdict, reader, whether it settles: sorts from top to bottom, whoever made it


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One reader's marks on one field.

    xy_px: Float32[N, 2]; verdict: N of "mitosis", "lookalike", "unsure". settles: N of whether the verdict was given in
    sight of those of all readers and stands for all of them; () for none.
    Raises ValueError when the lengths differ, a verdict is another word or a point is not finite.
    """

    xy_px: Float32
    verdict: tuple[Verdict, ...]
    settles: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        xy = np.asarray(self.xy_px, np.float32).reshape(-1, 2)
        if len(xy) != len(self.verdict):
            raise ValueError(f"lengths differ: {len(xy)} points, {len(self.verdict)} verdicts")
        if self.settles and len(self.settles) != len(self.verdict):
            raise ValueError(
                f"lengths differ: {len(self.verdict)} verdicts, {len(self.settles)} of whether they settle"
            )
        if unknown := set(self.verdict) - set(VERDICTS):
            raise ValueError(f"a verdict is one of {VERDICTS}, not {sorted(unknown)}")
        if not np.isfinite(xy).all():
            raise ValueError("a point is not finite")
        object.__setattr__(self, "xy_px", xy)
        object.__setattr__(self, "verdict", tuple(self.verdict))
        object.__setattr__(self, "settles", tuple(self.settles) or (False,) * len(self.verdict))


@dataclass(frozen=True, eq=False)
class CandidateObject:
    """A cell that at least one reader marked. xy_px: Float32[2], mean of its marks; verdicts: reader -> verdict.

    settled: the one verdict that settles it, None where there is none or two differ.
    """

    xy_px: Float32
    verdicts: Mapping[str, Verdict]
    settled: Verdict | None = None


def group_marks(by_reader: Mapping[str, Verdicts], radius_px: float) -> list[CandidateObject]:
    """The cells behind the marks of several readers, from top to bottom by the topmost mark of each.

    Greedy on distance: the closest two marks of different readers become one object first. An object holds at most one
    mark of each reader, any two of its marks lie within radius_px (the border counts), and two objects are left apart
    only where joining them would break one of these. The order of the readers and of their marks plays no part, and
    verdicts only between equal distances. `matching.match` would not do: it lets one side choose, so swapping two
    readers could change their pairs.
    Raises ValueError for a radius that is not positive.
    """
    if not radius_px > 0:
        raise ValueError(f"radius_px must be positive, not {radius_px}")
    marks: list[_Mark] = sorted(
        (y, x, verdict, reader, settles)
        for reader, one in by_reader.items()
        for (x, y), verdict, settles in zip(one.xy_px.tolist(), one.verdict, one.settles, strict=True)
    )
    return [_mean_mark([marks[i] for i in group]) for group in _groups(marks, _near(marks, radius_px))]


def _near(marks: list[_Mark], radius_px: float) -> dict[tuple[int, int], float]:
    """Squared distance of every two marks (i < j) of different readers within the radius."""
    yx = np.asarray([mark[:2] for mark in marks], np.float64).reshape(-1, 2)
    near: dict[tuple[int, int], float] = {}
    for i, mark in enumerate(marks):
        squared = ((yx[i + 1 :] - yx[i]) ** 2).sum(axis=1)
        for step in np.flatnonzero(squared <= radius_px**2).tolist():
            j = i + 1 + step
            if marks[j][3] != mark[3]:
                near[i, j] = float(squared[step])
    return near


def _groups(marks: list[_Mark], near: Mapping[tuple[int, int], float]) -> list[list[int]]:
    group = [[i] for i in range(len(marks))]
    for i, j in sorted(near, key=lambda pair: (near[pair], pair)):
        # Two marks of one reader, and a mark and itself, are never near: this also keeps each reader single.
        if all((min(p, q), max(p, q)) in near for p in group[i] for q in group[j]):
            joined = sorted(group[i] + group[j])
            for k in joined:
                group[k] = joined
    return [members for i, members in enumerate(group) if members[0] == i]


def _mean_mark(marks: list[_Mark]) -> CandidateObject:
    xy = np.asarray([(x, y) for y, x, *_ in marks], np.float64).mean(axis=0)
    settling = {verdict for _, _, verdict, _, settles in marks if settles}
    settled = settling.pop() if len(settling) == 1 else None
    return CandidateObject(xy.astype(np.float32), {reader: verdict for _, _, verdict, reader, _ in marks}, settled)


@dataclass(frozen=True)
class Agreement:
    """How two readers called the cells that at least one of them marked; add them to pool the fields of a case.

    both: both said mitosis; only_a, only_b: only this one did; neither: marked, but not as mitosis. A cell that a
    reader left unmarked, called a look-alike or was unsure of is not a mitosis for that reader.
    """

    both: int = 0
    only_a: int = 0
    only_b: int = 0
    neither: int = 0

    @property
    def objects(self) -> int:
        """How many cells at least one of the two marked."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def kappa(self) -> float | None:
        """Agreement beyond chance on mitosis or not, at most 1; None where chance alone would agree on everything.

        Cohen J. A coefficient of agreement for nominal scales. Educ Psychol Meas 1960;20:37-46: (po - pe) / (1 - pe),
        here in whole counts. It is None without objects, and where both readers used one and the same category.
        The thousands of cells nobody marked are no objects, so the only true negatives are marked look-alikes: readers
        who mark nothing but mitoses have a kappa of 0 or less as soon as they differ. Read it beside F1.
        """
        a, b = self.both + self.only_a, self.both + self.only_b
        beyond_chance = a * (self.objects - b) + b * (self.objects - a)
        if not beyond_chance:
            return None
        return 2 * (self.both * self.neither - self.only_a * self.only_b) / beyond_chance

    @property
    def f1(self) -> float | None:
        """2 both / (2 both + only_a + only_b): the F1 of either reader against the other. None without a mitosis."""
        if not self.both + self.only_a + self.only_b:
            return None
        return Scores(self.both, self.only_a, self.only_b).f1

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.both + other.both,
            self.only_a + other.only_a,
            self.only_b + other.only_b,
            self.neither + other.neither,
        )


def reader_agreement(a: Verdicts, b: Verdicts, radius_px: float) -> Agreement:
    """Compare two readers of one field both have completed. Swapping them swaps only_a and only_b, nothing else."""
    calls = [
        (one.verdicts.get("a") == MITOSIS, one.verdicts.get("b") == MITOSIS)
        for one in group_marks({"a": a, "b": b}, radius_px)
    ]
    return Agreement(*(calls.count(call) for call in ((True, True), (True, False), (False, True), (False, False))))


def pooled(fields: Iterable[Agreement]) -> Agreement:
    """The agreement over a case: its cells counted together, so a field weighs as much as it has cells."""
    return sum(fields, Agreement())


@dataclass(frozen=True, eq=False)
class ConsensusObject:
    """A cell and what its readers made of it.

    xy_px: Float32[2], mean of the marks; verdict: the majority's; votes_for: readers who said mitosis; votes_against:
    who said look-alike, or completed the field without a mark here; unsure readers are in neither. disputed: the
    votes differ, and nobody has settled it. verdicts: reader -> verdict of those who marked it. settled: a reader has.
    """

    xy_px: Float32
    verdict: Verdict
    votes_for: int
    votes_against: int
    disputed: bool
    verdicts: Mapping[str, Verdict]
    settled: bool = False


def consensus(
    by_reader: Mapping[str, Verdicts], radius_px: float, readers_complete: Collection[str]
) -> list[ConsensusObject]:
    """What most readers say of every cell of one field that any of them marked, from top to bottom.

    readers_complete: who looked at the whole field, also those without any mark. A cell was looked at by them and by
    whoever marked it. More than half of these decide: mitosis, or look-alike; otherwise it is unsure. A cell that one
    reader called a look-alike and another left unmarked is not disputed: both say it is no mitosis. A verdict that
    settles the cell is that of all.
    """
    return [_decide(one, set(readers_complete)) for one in group_marks(by_reader, radius_px)]


def _decide(one: CandidateObject, complete: set[str]) -> ConsensusObject:
    said = list(one.verdicts.values())
    votes_for = said.count(MITOSIS)
    votes_against = said.count(LOOKALIKE) + len(complete - set(one.verdicts))
    looked = votes_for + votes_against + said.count(UNSURE)
    verdict = MITOSIS if 2 * votes_for > looked else LOOKALIKE if 2 * votes_against > looked else UNSURE
    disputed = looked not in (votes_for, votes_against, said.count(UNSURE)) and one.settled is None
    settled = one.settled is not None
    return ConsensusObject(one.xy_px, one.settled or verdict, votes_for, votes_against, disputed, one.verdicts, settled)
