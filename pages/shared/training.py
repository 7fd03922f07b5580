"""What the Retrain and Models pages do, without Streamlit: start runs, decide on versions, take versions in and out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from db import runs, versions
from db.engine import Store
from db.labels import reviewed_fields
from db.runs import Run
from db.versions import StoredVersion
from mitosis_core.errors import UnusableModel
from mitosis_core.model import DEFAULT_VERSION, ModelCard, list_versions, load_model
from train.plan import Plan

_ROOT = Path(__file__).parents[2]
_MOST_BYTES = 200_000_000


def active(store: Store) -> str:
    """The champion."""
    return versions.champion(store, DEFAULT_VERSION)


def plan(store: Store, source: str) -> Plan:
    from train.job import plan as make  # brings torch along

    return make(store, source)


def estimate_s(store: Store, planned: Plan, settings: dict[str, Any]) -> float:
    """Seconds that a run would take on this machine; a moment is measured."""
    from train.retrain import estimate_seconds
    from train.retrain_config import RetrainConfig

    model = versions.load_version(store, active(store))
    return float(estimate_seconds(model, planned.train.fields, RetrainConfig(**settings)))


def start(store: Store, *, by: str, source: str, settings: dict[str, Any]) -> Run:
    """Queue a run and start its process. Raises ConcentricError when there is too little to learn from."""
    from train.job import queue
    from train.retrain_config import RetrainConfig

    run = queue(store, by=by, base_version=active(store), source=source, config=RetrainConfig(**settings))
    launch(store, run.id)
    return run


def go_on(store: Store, run_id: int) -> None:
    """Let a run that was lost or failed go on from its last checkpoint."""
    runs.requeue(store, run_id)
    launch(store, run_id)


def launch(store: Store, run_id: int) -> None:
    """A process of its own: closing the browser or stopping the server does not touch it."""
    folder = store.folder / "runs" / str(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "train", "run", "--data", str(store.folder.resolve()), "--run", str(run_id)]
    with (folder / "log.txt").open("a") as log:
        subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                         env={**os.environ, "PYTHONPATH": str(_ROOT)})  # fmt: skip


def log_of(store: Store, run_id: int) -> str:
    """The last lines that a run's process wrote."""
    path = store.folder / "runs" / str(run_id) / "log.txt"
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]) if path.exists() else ""


def sources(store: Store) -> list[str]:
    """The readers who have finished a field."""
    from db.reviews import readers

    return [name for name in readers(store) if reviewed_fields(store, name)]


def card_of(store: Store, name: str) -> ModelCard:
    return versions.load_version(store, name).card


def overview(store: Store) -> list[dict[str, Any]]:
    """One row per version, the champion first: where it comes from, what it learnt, how it scored."""
    champion = active(store)
    stored = {one.name: one for one in versions.list_stored(store, deleted=True)}
    rows = [_row(store, name, stored.get(name)) for name in [*stored, *list_versions()]]
    for row in rows:
        row["active"] = "★" if row["version"] == champion else ""
    return sorted(rows, key=lambda row: row["version"] != champion)


def _row(store: Store, name: str, stored: StoredVersion | None) -> dict[str, Any]:
    gone = stored is not None and stored.deleted_at is not None
    card = None if gone else card_of(store, name)
    scores = (stored.comparison if stored else {}).get("challenger", {})
    return {
        "active": "",
        "version": name,
        "parent": stored.parent if stored else None,
        "run": stored.run_id if stored else None,
        "F1 on held-out fields": scores.get("f1"),
        "fields": card.data.get("fields") if card else None,
        "mitoses": card.data.get("mitoses") if card else None,
        "labels sha256": str(card.data.get("sha256", ""))[:12] if card else "",
        "made": (
            f"{stored.created_at:%Y-%m-%d %H:%M}" if stored else card.created_at[:16].replace("T", " ") if card else ""
        ),
        "by": stored.by if stored else "shipped",
        "state": "deleted" if gone else "",
    }


def pack(store: Store, name: str) -> bytes:
    """A version as one file: the weights (safetensors) and the card, zipped."""
    model = versions.load_version(store, name)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(model.weights, f"{name}.safetensors")
        archive.writestr(f"{name}.json", model.card.to_json())
    return packed.getvalue()


def unpack(store: Store, data: bytes, *, by: str) -> str:
    """Take in a version that `pack` made; returns its name. Raises UnusableModel for anything else, pickles too."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(archive.namelist())
            if [Path(name).suffix for name in names] != [".json", ".safetensors"] or Path(names[0]).stem != Path(
                names[1]
            ).stem:
                raise UnusableModel("A version is a zip with one .safetensors file and its .json card, nothing else.")
            if sum(archive.getinfo(name).file_size for name in names) > _MOST_BYTES:
                raise UnusableModel("This version is larger than 200 MB, which none of ours is.")
            card_text, weights = archive.read(names[0]).decode("utf-8"), archive.read(names[1])
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UnusableModel("A version is a zip with one .safetensors file and its .json card.") from error
    return _enter(store, Path(names[1]).stem, weights, card_text, by)


def _enter(store: Store, name: str, weights: bytes, card_text: str, by: str) -> str:
    known = {*list_versions(), *(one.name for one in versions.list_stored(store, deleted=True))}
    if name in known:
        raise UnusableModel(f"There is a version {name} already.")
    card = replace(ModelCard.from_json(card_text), version=name)
    path = versions.put_files(store, name, weights, card.to_json())
    try:
        load_model.cache_clear()
        model = load_model(path)  # the sha256 of the card
        model.net()  # the weights fit the method
        versions.add_version(store, name, model.card.weights_sha256, by=by, parent=card.parent)
    except Exception:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        raise
    versions.decide(store, "upload", name, by=by)
    return name
