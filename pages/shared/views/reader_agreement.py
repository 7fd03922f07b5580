"""Agreement of the readers over a case, and the cells on which they disagree to be settled."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from db.engine import Store
from db.fields import StoredField
from db.reader_agreement import Compared, compare, over_all
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.agreement import Agreement
from mitosis_core.vocabulary import SAME_CELL_UM
from pages.shared.person import Person
from pages.shared.shell import show_table
from pages.shared.views.disputes import show_disputes

_NUMBER = {name: st.column_config.NumberColumn(name, format="%.2f") for name in ("F1", "kappa")}


def show_agreement(store: Store, fields: Sequence[StoredField], reader: str, who: Person) -> None:
    """The whole page below the row of choices: the disputes first, then the numbers."""
    compared = compare(store, fields)
    if not compared:
        st.info("Agreement is shown as soon as two readers have finished the same field.")
        return
    _show_consensus(store, compared, reader, who)
    pairs = over_all(compared)
    if pairs:
        st.markdown("**Agreement of readers** over the fields that both have completed")
        show_table([_row(pair, counted) for pair, counted in pairs.items()], column_config=_NUMBER)
        st.caption(
            "By what each said before disputes were settled. "
            f"F1: mitoses that both marked, within {SAME_CELL_UM:g} µm. Kappa (Cohen): over the cells that at least "
            "one of the two marked. Cells that neither marked are not counted, so kappa is low by construction; read "
            "it beside F1."
        )


def _show_consensus(store: Store, compared: Sequence[Compared], reader: str, who: Person) -> None:
    cells = [one for field in compared for one in field.vote.cells]
    disputes = sum(one.disputed for one in cells)
    agreed = sum(one.verdict == "mitosis" for one in cells)
    said = f"**Consensus: {count_noun(agreed, 'mitosis')}** by majority in {count_noun(len(compared), 'field')}"
    st.markdown(f"{said}, {count_noun(disputes, 'disputed cell')}")
    show_disputes(store, compared, reader, who)


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
