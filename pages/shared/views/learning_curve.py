"""What the corrected fields have brought, and what more of them would bring: the curve and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from db.engine import Store
from pages.shared.service import learning_curve
from pages.shared.service.learning_curve import LearningCurve
from pages.shared.shell import plain
from pages.shared.views import charts
from pages.shared.views.analysis import analyse_button


def show_learning_curve(store: Store, source: str, held_out: Sequence[int]) -> None:
    """The whole section; nothing while no field is held out."""
    if not held_out:
        return
    found = learning_curve.learning_curve(store, source, held_out)
    left, right = st.columns([3, 2], gap="large")
    with right:
        _say(store, found)
    if found.points:
        charts.show(left, charts.learning_curve(found.points, found.forecast), key="learning")
    else:
        left.info("The curve is drawn as soon as the versions have analysed the held-out fields.")


def _say(store: Store, found: LearningCurve) -> None:
    if found.waiting:
        _offer_analysis(store, found)
    else:
        st.markdown(learning_curve.forecast_sentence(found))
    where = f"{found.fields} {'field' if found.fields == 1 else 'fields'} held out now"
    st.caption(
        f"Each version at its own threshold, on the {where} with {_mitoses(found.mitoses)}. Bars: "
        f"95 % intervals by resampling these {found.over}; the band also allows for training noise of about 0.02. "
        "The curve is assumed to rise as much over the first ten fields as over the next twenty. It is no evidence for "
        "other laboratories or tumours."
    )
    for sentence in found.left_out:
        st.caption(plain(sentence))


def _mitoses(number: int) -> str:
    return f"{number} {'mitosis' if number == 1 else 'mitoses'}"


def _offer_analysis(store: Store, found: LearningCurve) -> None:
    names = dict.fromkeys(name for _, name in found.waiting)
    st.markdown(
        f"{', '.join(plain(name) for name in names)} {'has' if len(names) == 1 else 'have'} not analysed all "
        f"held-out fields yet ({len(found.waiting)} left, some seconds each)."
    )
    analyse_button(store, found.waiting, "Analyse the held-out fields with every version", key="score-all")
