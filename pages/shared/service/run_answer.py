"""What a run has to say: whether the challenger is better, in a sentence, and what changed. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

from db.engine import Store
from db.fields import StoredField, find_field
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.comparison import CHANGE_KINDS, ChangeKind, Comparison
from train.retrain.plan import FEW_FIELDS, FEW_MITOSES


@dataclass(frozen=True)
class RunAnswer:
    """says: what changed, in one sentence. advice: what to do, in another. promote: whether that is to promote."""

    says: str
    advice: str
    promote: bool


@dataclass(frozen=True)
class ChangedCell:
    """A cell that champion and challenger call differently, at x, y in pixels of its field.

    mitosis: by the readers; else a false detection. before, after: whether champion and challenger mark it.
    """

    field: StoredField
    x_px: float
    y_px: float
    mitosis: bool
    before: bool
    after: bool


def run_answer(comparison: Comparison, challenger: str) -> RunAnswer:
    """Promote only where the whole interval of the difference in F1 lies above zero, on enough fields and mitoses.

    challenger: its name.
    """
    few = comparison.fields < FEW_FIELDS or comparison.mitoses < FEW_MITOSES
    difference = comparison.difference
    if difference.low > 0 and not few:
        return RunAnswer(_says(comparison, challenger), "Promote it.", True)
    if difference.f1 <= 0:
        return RunAnswer(_says(comparison, challenger), "Reject it and keep the active version.", False)
    judged = f"{count_noun(comparison.fields, 'field')} with {count_noun(comparison.mitoses, 'mitosis')}"
    advice = f"On {judged} this may be chance: reject it, keep the active version and judge on more fields."
    return RunAnswer(_says(comparison, challenger), advice, False)


def _says(comparison: Comparison, challenger: str) -> str:
    old, new, of = comparison.champion, comparison.challenger, comparison.mitoses
    found = (
        f"finds the same number of mitoses, {new.tp} of {of},"
        if new.tp == old.tp
        else f"finds {new.tp} instead of {old.tp} of {count_noun(of, 'mitosis')}"
    )
    more = new.fp - old.fp
    false = (
        f"makes as many false detections ({new.fp})"
        if not more
        else f"makes {abs(more)} {'more' if more > 0 else 'fewer'} false {_detections(abs(more))} ({new.fp})"
    )
    return f"The challenger {challenger} {found} and {false}."


def _detections(number: int) -> str:
    return "detection" if number == 1 else "detections"


def changed_cells(store: Store, comparison: Comparison) -> dict[ChangeKind, list[ChangedCell]]:
    """The changes whose fields are still in the store, by kind, all kinds in their order. The comparison counts those
    of fields that were deleted since too."""
    fields = {digest: find_field(store, digest) for digest in dict.fromkeys(one.image for one in comparison.changes)}
    cells: dict[ChangeKind, list[ChangedCell]] = {kind: [] for kind in CHANGE_KINDS}
    for one in comparison.changes:
        field = fields[one.image]
        if field is not None:
            after = one.kind in ("newly found", "newly false")
            mitosis = one.kind in ("newly found", "newly lost")
            cells[one.kind].append(ChangedCell(field, one.x, one.y, mitosis, not after, after))
    return cells
