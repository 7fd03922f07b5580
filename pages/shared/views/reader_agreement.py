"""Agreement of the readers over a case, and the places where they disagree as a list to work through."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from db.engine import Store
from db.fields import StoredField
from db.reader_agreement import Compared, compare, over_all
from mitosis_core.scoring.agreement import Agreement
from mitosis_core.vocabulary import SAME_CELL_UM
from pages.shared import session
from pages.shared.shell import show_table

_NUMBER = {name: st.column_config.NumberColumn(name, format="%.2f") for name in ("F1", "kappa")}


def show_agreement(store: Store, fields: Sequence[StoredField]) -> None:
    """The whole page below the row of choices."""
    compared = compare(store, fields)
    if not compared:
        st.info("Agreement is shown as soon as two readers have reviewed the same field.")
        return
    pairs = over_all(compared)
    if pairs:
        st.markdown("**Agreement of readers** over the fields that both have completed")
        show_table([_row(pair, counted) for pair, counted in pairs.items()], column_config=_NUMBER)
        st.caption(
            f"F1: mitoses that both marked, within {SAME_CELL_UM:g} µm. Kappa (Cohen): over the cells that at least "
            "one of the two marked. Cells that neither marked are not counted, so kappa is low by construction; read "
            "it beside F1."
        )
    _show_consensus(compared)


def _show_consensus(compared: Sequence[Compared]) -> None:
    cells = [one for field in compared for one in field.consensus]
    disputes = [(field, one) for field in compared for one in field.disputes]
    agreed = sum(one.verdict == "mitosis" for one in cells)
    where = f"{len(compared)} {'field' if len(compared) == 1 else 'fields'}"
    st.markdown(f"**Consensus: {agreed} mitoses** by majority in {where}, {len(disputes)} disputed cells")
    if not disputes:
        return
    names = sorted({name for field in compared for name in field.reviews})
    rows = [
        {"field": field.field.name, "consensus": one.verdict}
        | {name: one.verdicts.get(name, "–") for name in names}
        | {"x (px)": round(float(one.xy_px[0])), "y (px)": round(float(one.xy_px[1]))}
        for field, one in disputes
    ]
    st.caption("Choose a row to open its field with the marks of all readers.")
    chosen = show_table(rows, on_select="rerun", selection_mode="single-row", key="disputes")
    if chosen["selection"]["rows"]:
        st.session_state[session.NEXT_FIELD] = disputes[chosen["selection"]["rows"][0]][0].field.id
        st.rerun()


def _row(pair: tuple[str, str], counted: Agreement) -> dict[str, object]:
    return {
        "reader A": pair[0],
        "reader B": pair[1],
        "F1": counted.f1,
        "kappa": counted.kappa,
        "both": counted.both,
        "only A": counted.only_a,
        "only B": counted.only_b,
    }
