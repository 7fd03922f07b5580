"""What the Retrain and Models pages do, without Streamlit: start runs, decide on versions, take versions in and out."""

from __future__ import annotations

import io
import logging
import tempfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from db import runs, splits, versions
from db.disk_space import check_disk_space
from db.engine import Store
from db.labels import ReviewedField, reviewed_fields
from db.runs import Run
from db.splits import CaseSplit
from mitosis_core.errors import ConcentricError, UnusableData, UnusableModel
from mitosis_core.interchange.files import copy_counted
from mitosis_core.model import DEFAULT_VERSION, ModelCard, list_versions, load_model
from mitosis_core.weights import is_sha256
from pages.shared.operation.settings import training_resource
from pages.shared.service import background, cluster_runs
from train.retrain.plan import Plan

log = logging.getLogger("concentric")

_MOST_BYTES, _MOST_CARD_BYTES = 200_000_000, 5_000_000  # of an imported version
_MOST_ENTRIES = 100
_NOT_OURS = "A version is a zip with one .safetensors file and its .json card, nothing else."
_importing = Lock()  # two uploads of one name: the second is refused


def active(store: Store) -> str:
    """The champion."""
    return versions.champion(store, DEFAULT_VERSION)


@dataclass(frozen=True, eq=False)
class Material:
    """The finished fields by id, the cases with them in the order they came, and what a run would make of them."""

    fields: Mapping[int, ReviewedField]
    cases: Sequence[CaseSplit]
    plan: Plan


def material(store: Store, source: str) -> Material:
    """What a run would learn from now, and what would judge it. Writes nothing."""
    known = {one.field.id: one for one in reviewed_fields(store, source)}
    cases = splits.case_splits(store, [one.field for one in known.values()])
    held_out = {number: case.held_out for case in cases for number in case.fields}
    return Material(known, cases, Plan.of(known, held_out))


def hold_out(store: Store, known: Sequence[CaseSplit], chosen: Collection[str], *, by: str) -> None:
    """Hold out these cases and let the others train, as shown; those that a run has used are left as they are."""
    for one in known:
        if not one.used:
            splits.set_held_out(store, one.case, one.case in chosen, by=by)


def bases(store: Store) -> dict[str, str]:
    """Versions that a run may start from, the active one first: name -> what it is."""
    names = [active(store), *(one.name for one in versions.list_stored(store)), *list_versions()]
    return {name: _kind(store, name) for name in dict.fromkeys(names)}


def _kind(store: Store, name: str) -> str:
    from mitosis_core.methods import METHODS

    try:
        card = card_of(store, name)
    except ConcentricError:
        return "damaged"
    return METHODS[card.method].title if card.method in METHODS else card.method


def options(store: Store, base: str) -> list[Field[Any]]:
    """The options that act when this version learns; none where it is damaged."""
    from train.retrain.config import options_of, way_of

    try:
        return options_of(way_of(card_of(store, base)))
    except ConcentricError:
        return []


def wrong_setting(settings: dict[str, Any]) -> str:
    """A sentence about a setting that a run cannot have; "" where there is none."""
    from train.retrain.config import RetrainConfig

    try:
        RetrainConfig(**settings)
    except ValueError as error:
        return f"Please change a setting: {str(error).replace('_', ' ')}."
    return ""


def expected_s(store: Store, planned: Plan, base: str, settings: dict[str, Any]) -> float | None:
    """Seconds that a run would take, by an earlier one on this machine; None where there was none of this kind."""
    from train.job import expected_seconds  # brings torch along
    from train.retrain.config import RetrainConfig

    sizes = planned.train.fields, planned.held_out.fields
    return sum(expected_seconds(store, card_of(store, base), *sizes, RetrainConfig(**settings)).values()) or None


def measured_s(store: Store, planned: Plan, base: str, settings: dict[str, Any]) -> float:
    """Seconds that a run would take on this machine; a moment is measured."""
    from train.retrain.config import RetrainConfig
    from train.retrain.estimate import measured_seconds

    sizes = planned.train.fields, planned.held_out.fields
    return sum(measured_seconds(versions.load_version(store, base), *sizes, RetrainConfig(**settings)).values())


def is_cluster_used() -> bool:
    """Whether runs go to a worker of a Dask cluster, unless it is said that they stay here."""
    return training_resource() is not None


def start(store: Store, *, by: str, source: str, settings: dict[str, Any], base: str = "", here: bool = False) -> Run:
    """Queue a run and start its process. base: the version it starts from, the active one when it is empty.

    here: on this computer, also where a cluster is used. Raises ConcentricError when there is too little to learn from,
    ClusterUnusable when no worker of the cluster would train.
    """
    from train.job import queue
    from train.retrain.config import RetrainConfig

    by = versions.named(by)
    if is_cluster_used() and not here:
        cluster_runs.check_cluster()
    run = queue(store, by=by, base_version=base or active(store), source=source, config=RetrainConfig(**settings))
    _launch(store, run.id, here)
    return run


def resume(store: Store, run_id: int, *, here: bool = False) -> None:
    """Let a run that was lost, failed or cancelled go on: from its last checkpoint, or anew where there is none.

    here: as for `start`. Raises StoreFull and ClusterUnusable.
    """
    check_disk_space(store.folder)
    if is_cluster_used() and not here:
        cluster_runs.check_cluster()
    runs.requeue(store, run_id)
    _launch(store, run_id, here)


def has_checkpoint(store: Store, run_id: int) -> bool:
    """Whether a run has left something to go on from."""
    return (runs.run_folder(store, run_id) / "checkpoint.pt").is_file()


def _launch(store: Store, run_id: int, here: bool) -> None:
    if is_cluster_used() and not here:
        cluster_runs.start(store, run_id)
    else:
        launch(store, run_id)


def launch(store: Store, run_id: int) -> None:
    """A process of its own: closing the browser or stopping the server does not touch it."""
    log.info("run %d is started", run_id)
    arguments = ["train", "run", "--data", str(store.folder.resolve()), "--run", str(run_id)]
    background.start(arguments, runs.run_folder(store, run_id) / "log.txt")


def log_of(store: Store, run_id: int) -> str:
    """The last lines that a run's process wrote."""
    path = runs.run_folder(store, run_id) / "log.txt"
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]) if path.exists() else ""


def card_of(store: Store, name: str) -> ModelCard:
    """The card of a version of the store or a shipped one."""
    return versions.load_version(store, name).card


def damage(store: Store, name: str) -> str:
    """Why a version cannot be used, in a sentence; empty when it can."""
    try:
        versions.load_version(store, name)
    except ConcentricError as error:
        return str(error)
    return ""


def export_version(store: Store, name: str) -> bytes:
    """A version as one file: the weights (safetensors) and the card, zipped."""
    model = versions.load_version(store, name)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        # ZipInfo: without the hour, so that the same version is always the same file
        archive.writestr(zipfile.ZipInfo(f"{name}.safetensors"), model.weights.read_bytes())
        archive.writestr(zipfile.ZipInfo(f"{name}.json"), model.card.to_json())
    return packed.getvalue()


def import_version(store: Store, data: bytes, *, by: str) -> str:
    """Import a version that `export_version` made; returns its name. Raises UnusableModel for anything else."""
    by = versions.named(by)
    check_disk_space(store.folder, len(data))
    name, weights, card_text = _contents(data)
    with _importing:
        if name in list_versions():
            raise UnusableModel(f"There is a version {name} already.")
        card = _checked(name, weights, card_text)
        versions.store_version(store, name, weights, card.to_json(), by=by, parent=card.parent)
    versions.record_decision(store, "upload", name, by=by)
    return name


def _contents(data: bytes) -> tuple[str, bytes, str]:
    """Name, weights and card in a zip. Nothing is written, and nothing larger than it may be is unpacked."""
    if data.count(b"PK\x01\x02") > _MOST_ENTRIES:  # each entry of the directory begins so; weights seldom hold it
        raise UnusableModel(_NOT_OURS)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = sorted(archive.infolist(), key=lambda file: file.filename)
            name = Path(files[-1].filename).stem if files else ""
            if [file.filename for file in files] != [f"{name}.json", f"{name}.safetensors"]:
                raise UnusableModel(_NOT_OURS)
            card = _counted(archive, files[0], _MOST_CARD_BYTES)
            return name, _counted(archive, files[1], _MOST_BYTES), card.decode("utf-8")
    except UnusableModel:
        raise
    except UnusableData as error:
        raise UnusableModel(str(error)) from error
    except Exception as error:  # a damaged zip fails in many ways, none of them ours
        raise UnusableModel("A version is a zip with one .safetensors file and its .json card.") from error


def _counted(archive: zipfile.ZipFile, file: zipfile.ZipInfo, most: int) -> bytes:
    """A file of a zip, counted while it is unpacked."""
    unpacked = io.BytesIO()
    copy_counted(archive, file.filename, unpacked, most, "This version")
    return unpacked.getvalue()


def _checked(name: str, weights: bytes, card_text: str) -> ModelCard:
    """The card, when the weights are those it names and fit what it says. Raises UnusableModel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        try:
            card = replace(ModelCard.from_json(card_text), version=name)
            if is_sha256(card.weights_sha256) and sha256(weights).hexdigest() != card.weights_sha256:
                raise UnusableModel(
                    f"The weights of {name} are damaged, or not those of its card, so nothing was imported; please "
                    "download the version again where it comes from."
                )
            path.write_bytes(weights)
            path.with_suffix(".json").write_text(card.to_json(), encoding="utf-8")
            load_model(path).check()  # the sha256 too
        except ConcentricError as error:
            raise UnusableModel(str(error)) from error
        except Exception as error:  # a card may hold anything in any place
            raise UnusableModel("The model card is not valid, or does not match the weights.") from error
    return card
