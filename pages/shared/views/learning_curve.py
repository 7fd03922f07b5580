"""What the corrected fields have brought, and what more of them would bring: the curve and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from db.engine import Store
from pages.shared import cache
from pages.shared.service import detecting, learning_curve, reviewing
from pages.shared.service.learning_curve import LearningCurve
from pages.shared.shell import plain
from pages.shared.views import charts


def show_learning_curve(store: Store, source: str, held_out: Sequence[int]) -> None:
    """The whole section; nothing while no field is held out."""
    if not held_out:
        return
    st.divider()
    st.subheader("What more fields would bring", anchor=False)
    found = learning_curve.learning_curve(store, source, held_out)
    left, right = st.columns([3, 2], gap="large")
    with right:
        _say(store, found)
    if found.points:
        left.plotly_chart(charts.learning_curve(found.points, found.forecast), key="learning")
    else:
        left.info("The curve is drawn as soon as the versions have looked at the held-out fields.")


def _say(store: Store, found: LearningCurve) -> None:
    if found.waiting:
        _offer_to_look(store, found)
    else:
        st.markdown(learning_curve.forecast_sentence(found))
    where = f"{found.fields} {'field' if found.fields == 1 else 'fields'} held out now"
    st.caption(
        f"Every version counts from its own threshold, on the {where} with {_mitoses(found.mitoses)}. The bars hold "
        f"95 % when these {found.over} are drawn again; the band also allows each training to miss the curve by 0.02 "
        "or so. The curve is assumed to rise as much with the first ten fields as with the next twenty. None of this "
        "speaks of other laboratories or tumours."
    )
    for sentence in found.left_out:
        st.caption(plain(sentence))


def _mitoses(number: int) -> str:
    return f"{number} {'mitosis' if number == 1 else 'mitoses'}"


def _offer_to_look(store: Store, found: LearningCurve) -> None:
    names = dict.fromkeys(name for _, name in found.waiting)
    st.markdown(
        f"{', '.join(plain(name) for name in names)} {'has' if len(names) == 1 else 'have'} not looked at all "
        f"held-out fields yet ({len(found.waiting)} to go, some seconds each)."
    )
    if st.button("Score every version on the held-out fields", icon=":material/manage_search:", key="score-all",
                 help="Every field is stored as it is done: you may leave and go on later."):  # fmt: skip
        slot = st.empty()
        problems = reviewing.analyse_fields(store, found.waiting, detecting.load_model, cache.predictions(),
                                     lambda share, name: _progress(slot, share, name))  # fmt: skip
        for problem in problems:
            st.warning(plain(problem))
        if not problems:
            st.rerun()


def _progress(slot: st.delta_generator.DeltaGenerator, share: float, name: str) -> None:
    slot.progress(share, f"Looking at {plain(name)}")
