"""What a report holds, whatever it is written as: words, tables and pictures, without a place on paper.

The same inputs give the same report, byte for byte, but for `made_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mitosis_core.reporting.figures import Figure


@dataclass(frozen=True)
class Table:
    """Rows of texts. widths: shares of the page's width, one a column. note: a sentence below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A JPEG and what stands below it. height_share: its height over its width."""

    jpeg: bytes
    height_share: float
    label: str


@dataclass(frozen=True)
class PictureGroup:
    """Pictures beside each other. side_mm: the width of each on paper. note: a sentence below them."""

    title: str
    pictures: tuple[Picture, ...]
    side_mm: float
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A case as it is filed. made_at: UTC. warnings: what has to be read before the figures."""

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    figures: tuple[Figure, ...]
    sections: tuple[Table | PictureGroup, ...]
    foot: str
    made_at: datetime

    @property
    def made(self) -> str:
        """When it was made, in words."""
        return f"{self.made_at:%Y-%m-%d %H:%M} UTC"
