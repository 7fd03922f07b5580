"""Versions as people choose between them: what each is, how good on what, how fast, from what. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from db import predictions, runs, versions
from db.engine import Store
from db.version_labels import VersionLabel, version_labels
from db.versions import StoredVersion
from mitosis_core.errors import ConcentricError
from mitosis_core.model import DEFAULT_VERSION, ModelCard, list_versions
from mitosis_core.plurals import count_noun
from pages.shared.service import training

Role = Literal["active", "challenger", "shipped", "imported", "trained here"]
_NUMBERS = {1: "one network", 2: "two networks", 3: "three networks", 4: "four networks", 5: "five networks"}


@dataclass(frozen=True)
class Proof:
    """How good a version is. recall: share of the mitoses it finds; precision: share of its marks that are right.

    says: on what this was measured.
    """

    recall: float
    precision: float
    f1: float
    says: str


@dataclass(frozen=True)
class VersionCard:
    """One version. title: what people call it. what, taught: sentences. speed: of a field on this machine, or "".

    kept: it was active once, so it cannot be deleted. challenger: nobody has decided on it yet.
    """

    name: str
    title: str
    note: str
    role: Role
    active: bool
    challenger: bool
    stored: bool
    kept: bool
    damage: str
    what: str
    taught: str
    proof: Proof | None
    speed: str
    parent: str | None


def version_cards(store: Store) -> list[VersionCard]:
    """All that are there: the active one, then challengers, then the newest first."""
    labels, times = version_labels(store), predictions.seconds_per_field(store)
    stored = {one.name: one for one in versions.list_stored(store)}
    said = versions.decisions(store)
    decided = {one.version for one in said if one.kind in ("promote", "reject", "roll_back")}
    active, kept = training.active(store), set(versions.active_history(said, DEFAULT_VERSION))
    cards = [
        _card(store, name, stored.get(name), labels.get(name), times.get(name), active, kept, decided)
        for name in [*stored, *list_versions()]
    ]
    return sorted(cards, key=lambda one: (not one.active, not one.challenger))


def _card(
    store: Store,
    name: str,
    stored: StoredVersion | None,
    label: VersionLabel | None,
    times: list[float] | None,
    active: str,
    kept: set[str],
    decided: set[str],
) -> VersionCard:
    damage, card = "", None
    try:
        card = training.card_of(store, name)
    except ConcentricError as error:
        damage = str(error)
    challenger = stored is not None and stored.comparison is not None and name not in {active, *decided}
    role: Role = "shipped" if stored is None else "imported" if stored.run_id is None else "trained here"
    return VersionCard(
        name=name,
        title=label.name if label and label.name else name,
        note=label.note if label else "",
        role="active" if name == active else "challenger" if challenger else role,
        active=name == active,
        challenger=challenger,
        stored=stored is not None,
        kept=name in kept,
        damage=damage,
        what=_what(card) if card else "",
        taught=_taught(store, card, stored) if card else "",
        proof=_proof(card, stored) if card else None,
        speed=_speed(times),
        parent=stored.parent if stored else None,
    )


def _what(card: ModelCard) -> str:
    from mitosis_core.methods import METHODS

    method = METHODS[card.method].title if card.method in METHODS else card.method
    second = " and a second look at every detection" if card.verifier else ""
    networks = _NUMBERS.get(card.members, f"{card.members} networks")
    return f"{method}, {networks} on {card.encoder}{second}. {card.purpose}".strip()


def _taught(store: Store, card: ModelCard, stored: StoredVersion | None) -> str:
    fields, mitoses = card.data.get("fields"), card.data.get("mitoses")
    counts = (
        f" on {count_noun(fields, 'field')} with {count_noun(mitoses, 'mitosis')}"
        if isinstance(fields, int) and isinstance(mitoses, int)
        else ""
    )
    if stored is None:
        return f"Comes with the program; trained{counts}."
    if stored.run_id is None:
        return f"Imported by {stored.by} on {stored.created_at:%d %b %Y}; trained{counts}."
    run = runs.get_run(store, stored.run_id)
    return f"Trained from {stored.parent}{counts}, run {run.id} by {run.by} on {stored.created_at:%d %b %Y}."


def _proof(card: ModelCard, stored: StoredVersion | None) -> Proof | None:
    if stored and stored.comparison:
        one, judged = stored.comparison.challenger, stored.comparison
        where = f"{count_noun(judged.fields, 'field')} of {count_noun(judged.cases, 'case')}"
        return Proof(
            one.recall,
            one.precision,
            one.f1,
            f"Finds {one.tp} of {count_noun(judged.mitoses, 'mitosis')} with {one.fp} false, on {where} held out here; "
            f"there {judged.against or stored.parent or 'the version before'} finds {judged.champion.tp} with "
            f"{judged.champion.fp} false.",
        )
    known = card.scores.get("validation")
    if stored or not isinstance(known, dict) or not {"recall", "precision", "f1"} <= known.keys():
        return None
    slides = card.data.get("slides")
    where = f"{count_noun(len(slides), 'slide')} held out in turn" if isinstance(slides, list) else "held-out slides"
    return Proof(known["recall"], known["precision"], known["f1"], f"By its card, on {where}, elsewhere.")


def _speed(times: list[float] | None) -> str:
    if not times:
        return ""
    middle = sorted(times)[len(times) // 2]
    return f"{middle:.1f} s a field here (middle of {len(times)})"


def lineage_rows(cards: list[VersionCard]) -> list[tuple[int, VersionCard]]:
    """How deep each version stands below the one it was trained from, parents before children."""
    known = {one.name for one in cards}
    below: dict[str | None, list[VersionCard]] = {}
    for one in cards:
        below.setdefault(one.parent if one.parent in known else None, []).append(one)
    rows: list[tuple[int, VersionCard]] = []

    def add(parent: str | None, depth: int) -> None:
        for one in sorted(below.get(parent, []), key=lambda card: card.name):
            rows.append((depth, one))
            add(one.name, depth + 1)

    add(None, 0)
    return rows
