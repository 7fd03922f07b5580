"""What a run would learn from: counted and refused before anything starts. Knows numbers and labels, not the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mitosis_core.plurals import count_noun
from mitosis_core.types import Float32
from mitosis_core.vocabulary import Part

MIN_FIELDS, MIN_MITOSES = 2, 5  # below that a training learns the single cells by heart
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
class PartCounts:
    """Counts of one part of the data."""

    fields: int
    mitoses: int
    lookalikes: int
    empty: int  # fields without any mitosis

    @classmethod
    def of(cls, fields: Sequence[Labelled]) -> PartCounts:
        """Count what these fields hold."""
        mitoses = [len(one.mitoses_xy_px) for one in fields]
        return cls(len(fields), sum(mitoses), sum(len(one.lookalikes_xy_px) for one in fields), mitoses.count(0))


@dataclass(frozen=True)
class Plan:
    """The fields of a run by part ("train", "held_out"), and what they hold."""

    split: Mapping[Part, list[int]]
    train: PartCounts
    held_out: PartCounts

    @classmethod
    def of(cls, labels: Mapping[int, Labelled], held_out: Mapping[int, bool]) -> Plan:
        """The plan over these fields, by id, as they are held out or not."""
        split: dict[Part, list[int]] = {
            "train": [number for number in labels if not held_out[number]],
            "held_out": [number for number in labels if held_out[number]],
        }
        counts = {part: PartCounts.of([labels[number] for number in ids]) for part, ids in split.items()}
        return cls(split, counts["train"], counts["held_out"])

    @property
    def objection(self) -> str:
        """Why this is too little, in a sentence; empty when a run may start."""
        if self.train.fields < MIN_FIELDS:
            number = self.train.fields
            few = f"Only {count_noun(number, 'finished field')}" if number else "No finished field"
            swap = "press “Learn from it” beside a case that is judged on, or " if self.held_out.fields else ""
            return (
                f"{few} would train, and at least {MIN_FIELDS} fields are needed: please {swap}finish more fields that "
                "are not held out."
            )
        if self.train.mitoses < MIN_MITOSES:
            return (
                f"The finished fields that train hold only {count_noun(self.train.mitoses, 'mitosis')}; "
                f"at least {MIN_MITOSES} are needed."
            )
        if not self.held_out.fields:
            return (
                "No finished field is held out, so a better version could not be told from a worse one. "
                "Fields are held out by case: please press “Judge on it” beside one of several cases. Where there is "
                "only one, finish fields of a second one; for fields without a case, say of which case they are."
            )
        if not self.held_out.mitoses:
            return "The finished fields held out hold no mitosis, so nothing could be compared on them."
        return ""

    @property
    def caution(self) -> str:
        """Why the comparison with the active version will say little, in a sentence; empty when it will not."""
        if self.objection:
            return ""
        return caution(self.held_out, "will judge the new version: whether it is better will mostly be chance")


def caution(judges: PartCounts, says: str) -> str:
    """A sentence about fields that are too few to judge versions on: "Only ... " and what follows from it; else ""."""
    if judges.fields >= FEW_FIELDS and judges.mitoses >= FEW_MITOSES:
        return ""
    return f"Only {count_noun(judges.fields, 'field')} with {count_noun(judges.mitoses, 'mitosis')} {says}."
