"""Versions as cards, their lineage, and what can be done with each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import streamlit as st

from db import versions
from db.engine import Store
from db.version_labels import LONGEST_NAME, LONGEST_NOTE, label_version
from mitosis_core.model import DEFAULT_VERSION
from pages.shared.person import Person
from pages.shared.service import training
from pages.shared.service.version_cards import VersionCard, lineage_rows
from pages.shared.shell import plain
from pages.shared.views import pictures
from pages.shared.views.ask_once import ask_once, do
from pages.shared.views.run_answer import offer_promotion, show_details


def show_cards(store: Store, cards: Sequence[VersionCard], who: Person, by: str) -> list[str]:
    """All of them; returns the names of those that were chosen to be compared."""
    chosen = []
    with st.container(key="version-cards"):  # a grid, by pictures.css
        for one in cards:
            with st.container(border=True, key=f"card-{one.name}".replace(".", "-")):
                if _show_card(store, one, who, by):
                    chosen.append(one.name)
    return chosen


def _show_card(store: Store, one: VersionCard, who: Person, by: str) -> bool:
    st.html(_head(one))
    if one.damage:
        st.error(plain(one.damage))
    else:
        st.markdown(plain(one.what))
        if one.note:
            st.markdown(f"*{plain(one.note)}*")
        if one.proof:
            st.html(pictures.bars([("Mitoses found", one.proof.recall), ("Marks that are right", one.proof.precision)]))
            st.caption(plain(one.proof.says))
        else:
            st.caption("Not measured on held-out fields.")
        st.caption(plain(" · ".join(filter(None, [one.taught.rstrip("."), one.speed]))))
    if who.may("admin"):
        _show_actions(store, one, by)
    chosen = not one.damage and st.checkbox("Compare", key=f"compare-{one.name}")
    _show_details(store, one, who, by)
    return bool(chosen)


def _head(one: VersionCard) -> str:
    name = f"<span>{escape(one.name)}</span>" if one.title != one.name else ""
    return (
        f'<div class="roles"><b>{escape(one.title)}</b>'
        f'<span class="{"on" if one.active else ""}">{escape(one.role)}</span>{name}</div>'
    )


def _show_actions(store: Store, one: VersionCard, by: str) -> None:
    """Only what makes sense: the active version is rolled back, one that was never active can be deleted."""
    active, before = training.active(store), versions.previous_champion(store, DEFAULT_VERSION)
    with st.container(horizontal=True):
        if one.active and before:
            sentence = f"**{plain(before)}** becomes the active version again, in the place of {plain(active)}."
            ask_once(
                "roll-back",
                "Roll back",
                sentence,
                lambda _: versions.roll_back(store, DEFAULT_VERSION, by=by, shown=active),
                icon=":material/undo:",
            )
        if not one.active and not one.damage:
            offer_promotion(store, one.name, active, by)
        if one.challenger and st.button("Reject", key=f"reject-{one.name}", icon=":material/block:"):
            do(lambda: versions.record_decision(store, "reject", one.name, by=by))
        if one.stored and not one.kept:
            sentence = (
                f"The weights of **{plain(one.name)}** are deleted. This cannot be undone; that there was such a "
                "version stays known."
            )
            ask_once(
                f"delete-{one.name}",
                "Delete",
                sentence,
                lambda _: versions.delete_version(store, one.name, by=by),
                icon=":material/delete:",
            )


def _show_details(store: Store, one: VersionCard, who: Person, by: str) -> None:
    if one.damage:
        return
    with st.expander("Details"):
        if who.may("admin"):
            _show_label(store, one, by)
            st.download_button(
                "Download",
                lambda: training.export_version(store, one.name),
                f"{one.name}.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
                key=f"download-{one.name}",
            )
        comparison = versions.get_version(store, one.name).comparison if one.stored else None
        if comparison:
            show_details(versions.get_version(store, one.name), comparison)
        st.json(json.loads(training.card_of(store, one.name).to_json()), expanded=1)


def _show_label(store: Store, one: VersionCard, by: str) -> None:
    with st.form(f"label-{one.name}"):
        name = st.text_input(
            "Name", one.title if one.title != one.name else "", max_chars=LONGEST_NAME, placeholder=one.name
        )
        note = st.text_input("Note", one.note, max_chars=LONGEST_NOTE)
        if st.form_submit_button("Save name and note"):
            do(lambda: label_version(store, one.name, name=name, note=note, by=by))


def show_lineage(cards: Sequence[VersionCard]) -> None:
    """Which version was trained from which, as a tree."""
    rows = "".join(
        f'<li style="padding-left:{24 * max(0, depth - 1)}px">{"<span class=elbow></span>" if depth else ""}'
        f'<span class="dot{" on" if one.active else ""}"></span><span>{escape(one.title)}</span>'
        f"{'<b>active</b>' if one.active else ''}</li>"
        for depth, one in lineage_rows(list(cards))
    )
    st.html(f'<ul class="lineage">{rows}</ul>')
