"""What a run would learn from: counted and refused before anything starts. Knows numbers and labels, not the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mitosis_core.types import Float32

FEWEST_FIELDS, FEWEST_MITOSES = 2, 5  # below that a training learns the single cells by heart
FEW_FIELDS, FEW_MITOSES = 5, 20  # held out; with fewer, chance decides which of two versions seems better


class Labelled(Protocol):
    """A reviewed field, as far as counting goes."""

    @property
    def mitoses_xy_px(self) -> Float32:
        """Float32[N, 2], centroids of mitoses."""

    @property
    def lookalikes_xy_px(self) -> Float32:
        """Float32[N, 2], centroids of look-alikes."""


@dataclass(frozen=True)
class Part:
    """Counts of one part of the data."""

    fields: int
    mitoses: int
    lookalikes: int
    empty: int  # fields without any mitosis

    @classmethod
    def of(cls, fields: Sequence[Labelled]) -> Part:
        """Count what these fields hold."""
        mitoses = [len(one.mitoses_xy_px) for one in fields]
        return cls(len(fields), sum(mitoses), sum(len(one.lookalikes_xy_px) for one in fields), mitoses.count(0))


@dataclass(frozen=True)
class Plan:
    """The fields of a run by part ("train", "held_out"), and what they hold."""

    split: Mapping[str, list[int]]
    train: Part
    held_out: Part

    @property
    def objection(self) -> str:
        """Why this is too little, in a sentence; empty when a run may start."""
        if self.train.fields < FEWEST_FIELDS:
            return (
                f"Only {_count(self.train.fields, 'finished field')} would train; please finish at least "
                f"{FEWEST_FIELDS} fields that are not held out."
            )
        if self.train.mitoses < FEWEST_MITOSES:
            return (
                f"The finished fields that train hold only {_count(self.train.mitoses, 'mitosis', 'mitoses')}; "
                f"at least {FEWEST_MITOSES} are needed."
            )
        if not self.held_out.fields:
            return (
                "No finished field is held out, so a better version could not be told from a worse one. "
                "Fields are held out by case, and a field without a case may be of any: please say of which case the "
                "fields are, and finish fields of two cases."
            )
        if not self.held_out.mitoses:
            return "The finished fields held out hold no mitosis, so nothing could be compared on them."
        return ""

    @property
    def caution(self) -> str:
        """Why the comparison with the active version will say little, in a sentence; empty when it will not."""
        if self.objection or (self.held_out.fields >= FEW_FIELDS and self.held_out.mitoses >= FEW_MITOSES):
            return ""
        held_out = f"{_count(self.held_out.fields, 'field')} with {_count(self.held_out.mitoses, 'mitosis', 'mitoses')}"
        return f"Only {held_out} will judge the new version: whether it is better will mostly be chance."


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
