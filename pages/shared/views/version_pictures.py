"""Versions compared in pictures: how many mitoses each finds, and crops of what they call differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol

import streamlit as st

from db.fields import StoredField
from mitosis_core.plurals import count_noun
from pages.shared.service import version_comparison
from pages.shared.service.version_comparison import READERS, Cell, EvaluatedVersion, VersionComparison
from pages.shared.shell import plain
from pages.shared.views.picture_grid import CROP_PX, GridPicture, Sign, cell_shot, show_pictures

_MOST = 24  # crops of one kind; the others are counted


class Style(Protocol):
    """How a version is drawn."""

    @property
    def colour(self) -> str:
        """As CSS has it."""

    @property
    def glyph(self) -> str:
        """One character."""


def show_counts(found: VersionComparison, looks: Mapping[str, Style]) -> None:
    """One block a version: what it finds of the mitoses, how many of its marks are wrong, F1 with its interval."""
    mitoses = sum(len(one.mitoses_xy_px) for one in found.fields)
    for place, (name, side) in zip(st.columns(len(found.sides)), found.sides.items(), strict=True):
        with place.container(border=True):
            st.html(
                f'<div class="roles"><b><span style="all:unset;color:{looks[name].colour}">{looks[name].glyph}'
                f"</span> {escape(name)}</b></div>"
            )
            scores = side.evaluation.scores
            st.markdown(f"Finds **{scores.tp}** of {count_noun(mitoses, 'mitosis')}, **{scores.fp}** marks are wrong")
            st.html(_interval(side))
            st.caption(f"{side.seconds:.1f} s a field")


def _interval(side: EvaluatedVersion) -> str:
    f1, interval = side.evaluation.scores.f1, side.evaluation.f1_interval
    between = (
        f'<span class="from" title="95 % interval {interval.low:.2f} to {interval.high:.2f}" '
        f'style="left:{interval.low:.1%};width:{max(0.0, interval.high - interval.low):.1%}"></span>'
        if interval
        else ""
    )
    return (
        f'<div class="bars"><span>F1</span><span class="track"><span class="fill" style="width:{f1:.1%}"></span>'
        f"{between}</span><b>{f1:.2f}</b></div>"
    )


def show_cells(found: VersionComparison, looks: Mapping[str, Style]) -> None:
    """Crops of what the versions call differently; folded, of what all call alike."""
    every = [(one.reviewed.field, cell) for one in version_comparison.disputes(found) for cell in one.cells]
    for noun, true, open_title, closed_title in (
        ("mitosis", True, "missed by at least one version", "found by every version"),
        ("place", False, "marked in error by some versions", "marked in error by every version"),
    ):
        cells = [(field, cell) for field, cell in every if (READERS in cell.marks) == true]
        alike = [(field, cell) for field, cell in cells if all(name in cell.marks for name in found.sides)]
        apart = [one for one in cells if one not in alike]
        if apart:
            st.markdown(f"**{count_noun(len(apart), noun)} {open_title}**")
            _show_gallery(apart, looks, f"apart-{noun}")
        if alike:
            with st.expander(f"{count_noun(len(alike), noun)} {closed_title}"):
                _show_gallery(alike, looks, f"alike-{noun}")


def _show_gallery(cells: Sequence[tuple[StoredField, Cell]], looks: Mapping[str, Style], key: str) -> None:
    show_pictures([_picture(field, cell, looks) for field, cell in cells], side_px=CROP_PX, key=key, most=_MOST)


def _picture(field: StoredField, cell: Cell, looks: Mapping[str, Style]) -> GridPicture:
    place = cell.marks.get(READERS) or next(iter(cell.marks.values()))
    signs = tuple(Sign(look.glyph, look.colour, name in cell.marks) for name, look in looks.items())
    who = ", ".join(name for name in looks if name in cell.marks) or "no version"
    shot = cell_shot(field, place.x, place.y)
    title = f"Marked by {who}; opens in Review"
    return GridPicture((shot,), field.id, title, field.name, (place.x, place.y), signs=signs)


def show_legend(looks: Mapping[str, Style]) -> None:
    """What the signs under a crop mean."""
    st.caption(
        "Under a crop a coloured sign is a version that marks the cell, a grey one a version that does not: "
        + ", ".join(f"{look.glyph} {plain(name)}" for name, look in looks.items())
        + "."
    )
