"""Several readers of the same fields: how far they agree, and what most of them say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from db.engine import Store
from db.fields import StoredField
from db.labels import reviewed_region, verdicts_of, voters
from db.reviews import Review, reviews_of
from mitosis_core.scoring.agreement import Agreement, ConsensusObject, consensus, pooled, reader_agreement
from mitosis_core.vocabulary import SAME_CELL_UM


@dataclass(frozen=True)
class Compared:
    """One field as all its readers see it. by_pair: only readers who have completed the whole field are compared."""

    field: StoredField
    reviews: Mapping[str, Review]
    by_pair: Mapping[tuple[str, str], Agreement]
    consensus: Sequence[ConsensusObject]

    @property
    def voters(self) -> frozenset[str]:
        """The readers whose marks the labels count (`db.labels.voters`), so whose settling stands."""
        finished = {name: one for name, one in self.reviews.items() if one.state == "complete"}
        return frozenset(voters(self.field, finished)[1]) if finished else frozenset()

    @property
    def disputes(self) -> list[ConsensusObject]:
        """Objects on which the readers disagree."""
        return [one for one in self.consensus if one.disputed]


def compare(store: Store, fields: Iterable[StoredField]) -> list[Compared]:
    """Every field of these that at least two readers have seen."""
    read = [(field, reviews_of(store, field.id)) for field in fields]
    return [compare_field(field, reviews) for field, reviews in read if len(reviews) > 1]


def compare_field(field: StoredField, reviews: Mapping[str, Review]) -> Compared:
    """How far the readers of one field agree, and what most of them say."""
    radius_px = SAME_CELL_UM / field.um_per_px
    said = {name: verdicts_of(review) for name, review in reviews.items() if review.state != "excluded"}
    complete = [name for name in sorted(said) if _whole(field, reviews[name])]
    by_pair = {(a, b): reader_agreement(said[a], said[b], radius_px) for a, b in combinations(complete, 2)}
    return Compared(field, reviews, by_pair, consensus(said, radius_px, complete))


def _whole(field: StoredField, review: Review) -> bool:
    return review.state == "complete" and reviewed_region(field, review) is None


def over_all(compared: Iterable[Compared]) -> dict[tuple[str, str], Agreement]:
    """Each pair of readers over all fields that both have completed."""
    by_pair: dict[tuple[str, str], list[Agreement]] = {}
    for one in compared:
        for pair, counted in one.by_pair.items():
            by_pair.setdefault(pair, []).append(counted)
    return {pair: pooled(counted) for pair, counted in by_pair.items()}
