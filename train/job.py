"""A run: what the store says of it becomes a training, and the training a version in the store.

The only file here that knows the store. It works in a process of its own, which neither the browser nor the server can
take down, and one run at a time has the device.
"""

from __future__ import annotations

import logging
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from db import runs, splits, versions
from db.disk_space import check_disk_space
from db.engine import Store, data_folder, open_known
from db.errors import as_sentences
from db.fields import list_fields, load_field
from db.heartbeat import keep_beating
from db.label_export import file_names
from db.labels import CONSENSUS, ReviewedField, last_event, reviewed_fields
from db.runs import Run
from db.splits import case_of
from mitosis_core.atomic_write import atomic_write
from mitosis_core.errors import ConcentricError, UnusableData
from mitosis_core.interchange.safe_csv import SafeTable
from mitosis_core.model import DEFAULT_VERSION, Model, ModelCard, list_versions
from mitosis_core.vocabulary import RunState
from train.retrain.challenge import evaluate_challenger
from train.retrain.config import RetrainConfig, way_of
from train.retrain.corrected import CorrectedField
from train.retrain.estimate import kind_of, measured_seconds, seconds_by_work, work_of
from train.retrain.phases import Phase, PhaseClock
from train.retrain.plan import Plan
from train.retrain.retrain import Progress, retrain
from train.retrain.session import Cancelled

log = logging.getLogger("concentric.train")

_BEAT_S = 2.0
_LONGEST_START_S = 120.0  # a run that was asked for earlier has waited for other reasons
_LONGEST_STEM = 60  # of a version's name, so that the run's number fits behind it


def training_set(store: Store, run: Run) -> tuple[list[CorrectedField], list[CorrectedField]]:
    """What a run learns from and what it holds out, exactly as the reviews stood at its last event.

    Raises UnusableData when a case or an image is in both parts.
    """
    parts = _parts(store, run)
    check_leaks(*parts)
    learn, held_out = ([to_corrected_field(store, one) for one in part] for part in parts)
    return learn, held_out


def _parts(store: Store, run: Run) -> tuple[list[ReviewedField], list[ReviewedField]]:
    """The fields of a run that are there still, as they were reviewed at its last event: those that train, and those
    that are held out."""
    known = {one.field.id: one for one in reviewed_fields(store, run.source, run.last_event)}
    train, held_out = ([known[i] for i in run.split[part] if i in known] for part in ("train", "held_out"))
    return train, held_out


def check_leaks(learn: Sequence[ReviewedField], held_out: Sequence[ReviewedField]) -> None:
    """Raises UnusableData when a case or an image is in both parts."""
    for what, key in (("case", lambda one: case_of(one.field)), ("image", lambda one: one.field.digest)):
        both = {key(one) for one in learn} & {key(one) for one in held_out}
        if both:
            raise UnusableData(f"The same {what} is among the fields that train and those held out: {sorted(both)[0]}.")


def to_corrected_field(store: Store, one: ReviewedField) -> CorrectedField:
    """A reviewed field with its pixels, as a training takes it."""
    return CorrectedField(
        load_field(store, one.field),
        case_of(one.field),
        one.mitoses_xy_px,
        one.lookalikes_xy_px,
        unsure_xy_px=one.unsure_xy_px,
        region=one.region,
    )


def write_labels(data: Path | None, run_id: int, out: Path) -> int:
    """The labels a run learnt from, built again from the events up to its last: a CSV of annotations with the case.

    data: as for `do_run_here`. Images have the names that every export gives them, so two cases may each have a 01.png.
    Returns how many of its fields were deleted since, with their labels. Raises StoreFailed without a store,
    ConcentricError without the run.
    """
    store = open_known(data or data_folder())
    run = runs.get_run(store, run_id)
    names = file_names(list_fields(store))
    learned, _ = _parts(store, run)
    with atomic_write(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = SafeTable(file)
        table.write_row(["image", "x_px", "y_px", "label", "um_per_px", "case"])
        for one in learned:
            places = (("mitosis", one.mitoses_xy_px), ("lookalike", one.lookalikes_xy_px), ("unsure", one.unsure_xy_px))
            rows = [(x, y, label) for label, xy in places for x, y in xy.tolist()]
            for x, y, label in rows or [("", "", "")]:
                table.write_row([names[one.field.id], x, y, label, one.field.um_per_px, case_of(one.field)])
    return len(run.split["train"]) - len(learned)


def do_run_here(
    data: Path | None, run_id: int | None, *, by: str, source: str, base: str, settings: Mapping[str, Any]
) -> Run:
    """Do a run in this process, a new one or one that waits or was interrupted; returns how it ended.

    data: the data folder; None: CONCENTRIC_DATA, or data/ beside app.py.
    settings: options of RetrainConfig, where a new run shall not have the default. Raises ValueError for one that does
    nothing for the version, or any for a run that has its settings already; ConcentricError for a run that is done;
    StoreFailed without a store.
    """
    store = open_known(data or data_folder())
    if run_id is None:
        base_version = base or versions.champion(store, DEFAULT_VERSION)
        config = RetrainConfig(**settings)
        _check_acting(store, base_version, config, settings)
        run_id = queue(store, by=by, base_version=base_version, source=source, config=config).id
    elif settings:
        raise ValueError(f"Run {run_id} has its settings already; please leave out {_named(settings)}.")
    else:
        run = runs.get_run(store, run_id)
        if run.state == "done":
            raise ConcentricError(f"Run {run_id} is done: it made {run.version}. Without --run a new one begins.")
        if not run.is_open:
            runs.requeue(store, run_id)
    do_run(store, run_id)
    return runs.get_run(store, run_id)


def _check_acting(store: Store, base_version: str, config: RetrainConfig, given: Iterable[str]) -> None:
    card = versions.load_version(store, base_version).card
    idle = set(given) - config.acting(way_of(card)).keys()
    if idle:
        raise ValueError(
            f"{base_version} is fine-tuned, for which {_named(idle)} would do nothing; please leave it out."
        )


def _named(options: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(options))


def do_run(store: Store, run_id: int) -> RunState:
    """Do a run from its turn to its end; returns the state it ended in. Whatever goes wrong is written into the run."""
    waited_s = _since_asked(runs.get_run(store, run_id))
    with _heartbeat(store, run_id) as heartbeat, _device_lock(store, heartbeat):
        run = runs.get_run(store, run_id)
        if not run.is_open and run.state != "lost":  # another process did it while this one waited
            return run.state
        if heartbeat.cancelled or run.cancel_asked:
            runs.end(store, run_id, "cancelled")
            return "cancelled"
        runs.start(store, run_id)
        try:
            with as_sentences():
                name = _train(store, run, heartbeat, waited_s)
        except Cancelled:
            runs.end(store, run_id, "cancelled")
        except (ConcentricError, ValueError) as error:
            runs.end(store, run_id, "failed", message=str(error))
        except Exception as error:
            log.exception("run %d failed", run_id)
            said = f"Something unexpected happened ({type(error).__name__}: {error})."
            runs.end(store, run_id, "failed", message=said)
        else:
            runs.end(store, run_id, "done", version=name)
    return runs.get_run(store, run_id).state


def _since_asked(run: Run) -> float:
    """Seconds since the run was queued, or queued again: its process has been starting."""
    asked = run.heartbeat or run.created_at
    return min(_LONGEST_START_S, max(0.0, (datetime.now(UTC) - asked).total_seconds()))


def _train(store: Store, run: Run, heartbeat: _Heartbeat, waited_s: float) -> str:
    """The name of the version that the run made. Files lie in the run's folder until the version enters the store."""
    taken = versions.list_stored(store, deleted=True)
    made = [one.name for one in taken if one.run_id == run.id]
    if made:  # the run was cut after its version had entered the store
        return made[0]
    base = versions.load_version(store, run.base_version)
    told = _ProgressReport(run, heartbeat, _prospects(store, run, base), waited_s)
    learn, held_out = training_set(store, run)
    check_split(store, run)
    folder = runs.run_folder(store, run.id)
    name = _free_name(base.version, run.id, [*(one.name for one in taken), *list_versions()])
    out = folder / f"{name}.safetensors"
    try:
        model = retrain(
            base,
            learn,
            RetrainConfig(**run.settings),
            out,
            progress=told.step,
            phase=told.phase,
            checkpoint=folder / "checkpoint.pt",
            cancelled=lambda: heartbeat.cancelled,
        )
        told.phase("comparing", 0.0)
        active, comparison = _active_version(store, base), None
        if held_out:
            comparison = evaluate_challenger(active, model, held_out, lambda: heartbeat.cancelled, told.phase)
        versions.store_version(
            store,
            name,
            out.read_bytes(),
            model.card.to_json(),
            by=run.by,
            parent=base.version,
            run_id=run.id,
            comparison=comparison,
        )
    finally:
        _remove(folder, f"{name}.*")
    _remove(folder, "checkpoint.pt*")
    return name


def _remove(folder: Path, pattern: str) -> None:
    """Files, and what processes that were killed left half written of them."""
    for file in folder.glob(pattern):
        file.unlink(missing_ok=True)


def _active_version(store: Store, base: Model) -> Model:
    """What the new version has to be better than; its base, where the active version cannot be used."""
    try:
        return versions.load_version(store, versions.champion(store, DEFAULT_VERSION))
    except ConcentricError:
        log.warning("the active version cannot be used; the new one is compared with its base", exc_info=True)
        return base


def _free_name(base: str, run_id: int, taken: Sequence[str]) -> str:
    """Of the version of a run; one that was taken in from elsewhere may have its name already."""
    stem = re.sub(r"-r\d+(-\d+)?$", "", base)[:_LONGEST_STEM] + f"-r{run_id}"
    return next(name for name in chain([stem], (f"{stem}-{n}" for n in count(2))) if name not in taken)


def expected_seconds(
    store: Store, card: ModelCard, fields: int, held_out: int, config: RetrainConfig
) -> dict[Phase, float]:
    """Seconds of each phase of a run, by the last finished run from a version of this kind, a quarter as long at least
    and four times at most (a short one takes longer a step); empty without one.

    fields: that train. held_out: that judge.
    """
    work = work_of(card, fields, held_out, config)
    for run in runs.list_runs(store):
        known = run.progress
        if run.state != "done" or known.get("kind") != kind_of(card) or not known.get("seconds"):
            continue
        if work["learning"] / 4 <= known["work"]["learning"] <= 4 * work["learning"]:
            return seconds_by_work(work, known["work"], known["seconds"])
    return {}


def _prospects(store: Store, run: Run, base: Model) -> dict[str, Any]:
    """What a run says from its beginning: its kind, its work, and how long each phase is expected to take."""
    fields, held_out, config = len(run.split["train"]), len(run.split["held_out"]), RetrainConfig(**run.settings)
    expected = expected_seconds(store, base.card, fields, held_out, config)
    expected = expected or run.progress.get("expected") or measured_seconds(base, fields, held_out, config)
    return {"kind": kind_of(base.card), "work": work_of(base.card, fields, held_out, config), "expected": expected}


class _ProgressReport:
    """Passes on how far a run is: the steps with their curve since the beginning, and the phases with their times."""

    def __init__(self, run: Run, heartbeat: _Heartbeat, prospects: Mapping[str, Any], waited_s: float) -> None:
        self._heartbeat, self._clock = heartbeat, PhaseClock(run.progress)
        self._clock.seconds["starting"] = self._clock.seconds.get("starting", 0.0) + waited_s
        self._curve: list[dict[str, Any]] = list(run.progress.get("curve", []))
        self._known = {key: run.progress[key] for key in ("step", "steps", "loss") if key in run.progress}
        self._known |= prospects
        self.phase("starting", 1.0)

    def phase(self, phase: Phase, done: float) -> None:
        """Part of a phase is done, 0 to 1."""
        self._clock.report(phase, done)
        self._send()

    def step(self, state: Progress) -> None:
        """A step of the training is done."""
        if state.f1 is not None or state.step % 10 == 0:
            self._curve.append({"step": state.step, "loss": state.loss, "f1": state.f1})
        self._known |= asdict(state)
        self._send()

    def _send(self) -> None:
        self._heartbeat.progress = {
            **self._known,
            **self._clock.to_dict(),
            "curve": self._curve[-2000:],
            "at": time.time(),
        }


class _Heartbeat:
    """What goes with each beat: progress out, a wish to cancel in."""

    def __init__(self) -> None:
        self.progress: dict[str, Any] | None = None
        self.cancelled = False


@contextmanager
def _heartbeat(store: Store, run_id: int) -> Iterator[_Heartbeat]:
    """A heartbeat every two seconds, whatever the run is busy with."""
    state = _Heartbeat()

    def beat() -> None:
        try:
            state.cancelled = runs.beat(store, run_id, state.progress)
        except Exception:  # a store that is locked, or a disk that is full, may do better in two seconds
            log.warning("the heartbeat of run %d could not be stored", run_id, exc_info=True)

    try:
        with keep_beating(beat, _BEAT_S, first_s=0):
            yield state
    finally:
        beat()  # the last progress


@contextmanager
def _device_lock(store: Store, heartbeat: _Heartbeat) -> Iterator[None]:
    """Wait until no other run has the device, or this one is cancelled."""
    with store.lock("device") as take:
        while not heartbeat.cancelled and not take():
            time.sleep(0.5)
        yield


def plan_run(store: Store, source: str = CONSENSUS) -> Plan:
    """What a run by these labels would learn from and be compared on now. Writes nothing; the split is a proposal."""
    known = reviewed_fields(store, source)
    return _planned(known, splits.held_out_by_field(store, [one.field for one in known]))


def _planned(known: Sequence[ReviewedField], held_out: Mapping[int, bool]) -> Plan:
    return Plan.of({one.field.id: one for one in known}, held_out)


def queue(store: Store, *, by: str, base_version: str, source: str, config: RetrainConfig) -> Run:
    """A new run over everything reviewed so far; the split of its cases is decided with it.

    Raises UnusableData when that is too little, UnusableModel when the version is damaged, StoreFull when there is too
    little room for what a run writes.
    """
    check_disk_space(store.folder)
    known = reviewed_fields(store, source)
    fields = [one.field for one in known]
    if objection := _planned(known, splits.held_out_by_field(store, fields)).objection:
        raise UnusableData(objection)
    base = versions.load_version(store, base_version)
    base.check()
    planned = _planned(known, splits.decide(store, fields, by=by))
    return runs.queue_run(
        store,
        by=by,
        base_version=base_version,
        source=source,
        last_event=last_event(store),
        settings=config.acting(way_of(base.card)),
        split=planned.split,
        code=code_version(),
    )


def check_split(store: Store, run: Run) -> None:
    """Raises UnusableData when a field of this run was moved to the other side since it was queued."""
    fields = [one for one in list_fields(store) if one.id in {*run.split["train"], *run.split["held_out"]}]
    now = splits.held_out_by_field(store, fields)
    if moved := [one for one in fields if now[one.id] != (one.id in run.split["held_out"])]:
        raise UnusableData(
            f"{moved[0].case or moved[0].name} was moved between the fields that train and those held out since this "
            "run was started; please start a new one."
        )


def code_version() -> str:
    """The commit of this program, or "unknown" outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            text=True,
            capture_output=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
