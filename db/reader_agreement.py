"""Several readers of the same fields: how far they agree, and what most of them say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from db.engine import Store
from db.fields import StoredField
from db.labels import Vote, only_finished, reviewed_region, verdicts_of, vote
from db.replay import Review, replay_by_reader
from db.reviews import history, reviews_of
from mitosis_core.scoring.agreement import Agreement, ConsensusObject, pooled, reader_agreement
from mitosis_core.vocabulary import SAME_CELL_UM


@dataclass(frozen=True)
class Compared:
    """One field as those see it who finished it. by_pair: only readers of the whole field are compared, by what each
    said before disputes were settled.

    vote: what the labels and the counts go by, so whose settling stands.
    """

    field: StoredField
    by_pair: Mapping[tuple[str, str], Agreement]
    vote: Vote

    @property
    def disputes(self) -> list[ConsensusObject]:
        """Objects on which the readers disagree."""
        return [one for one in self.vote.cells if one.disputed]


def compare(store: Store, fields: Iterable[StoredField]) -> list[Compared]:
    """Every field of these that at least two readers have finished."""
    read = [(field, only_finished(reviews_of(store, field.id))) for field in fields]
    return [
        compare_field(field, reviews, _unsettled(store, field, reviews)) for field, reviews in read if len(reviews) > 1
    ]


def _unsettled(store: Store, field: StoredField, reviews: Mapping[str, Review]) -> dict[str, Review]:
    """These reviews without the verdicts that were given in sight of all others to settle a dispute."""
    if not any(mark.settles for one in reviews.values() for mark in one.standing):
        return dict(reviews)
    return replay_by_reader(event for event in history(store, field.id) if not event.settles)


def compare_field(field: StoredField, reviews: Mapping[str, Review], unsettled: Mapping[str, Review]) -> Compared:
    """How far those who finished a field agree, and what most of them say. reviews: at least one, complete; unsettled:
    the same before disputes were settled."""
    radius_px = SAME_CELL_UM / field.um_per_px
    whole = [name for name, one in sorted(reviews.items()) if reviewed_region(field, one) is None]
    said = {name: verdicts_of(unsettled[name]) for name in whole}
    by_pair = {(a, b): reader_agreement(said[a], said[b], radius_px) for a, b in combinations(said, 2)}
    return Compared(field, by_pair, vote(field, reviews))


def over_all(compared: Iterable[Compared]) -> dict[tuple[str, str], Agreement]:
    """Each pair of readers over all fields that both have completed."""
    by_pair: dict[tuple[str, str], list[Agreement]] = {}
    for one in compared:
        for pair, counted in one.by_pair.items():
            by_pair.setdefault(pair, []).append(counted)
    return {pair: pooled(counted) for pair, counted in by_pair.items()}
