"""A run from reviews to a version: what it learns from, and what is left when it is cut at any moment."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from db import runs, versions
from db.engine import Store, open_store
from db.fields import StoredField, add_field, set_case
from db.reviews import apply_ops, parse_op
from mitosis_core.errors import ConcentricError, UnusableData, UnusableModel
from mitosis_core.model import DEFAULT_VERSION, load_model
from mitosis_core.sample_field import SampleField, draw_sample_field
from mitosis_core.types import Detections
from train import job
from train.__main__ import main
from train.retrain_config import RetrainConfig

ROOT = Path(__file__).parents[2]
QUICK = RetrainConfig(steps=4, batch=2, crops_per_field=4, crop_px=64, validate_every=2)
LONG = dataclasses.replace(QUICK, steps=4000, validate_every=2, patience=1000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four drawn fields of two cases, each finished by one reader; the second case is held out."""
    one = open_store(tmp_path / "data")
    for number in range(4):
        sample = draw_sample_field(seed=number, size_px=320, mitoses=3, lookalikes=2)
        stored, _ = add_field(one, sample.field, case=f"case {number % 2}")
        review(one, stored, sample)
    return one


def review(store: Store, stored: StoredField, sample: SampleField) -> None:
    places = [("mitosis", xy) for xy in sample.mitoses_xy_px] + [("lookalike", xy) for xy in sample.lookalikes_xy_px]
    common = {"client": "c", "t": 0, "field": str(stored.id), "base": 0}
    ops = [
        {
            "op_id": uuid.uuid4().hex,
            "seq": n,
            "kind": "add",
            "id": f"m{n}",
            "x": float(x),
            "y": float(y),
            "cls": cls,
            **common,
        }
        for n, (cls, (x, y)) in enumerate(places)
    ]
    ops.append({"op_id": uuid.uuid4().hex, "seq": 99, "kind": "state", "state": "complete", **common})
    apply_ops(store, stored.id, "Anna", [parse_op(op) for op in ops])


def start(store: Store, run_id: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "train", "run", "--data", str(store.folder), "--run", str(run_id)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def queue(store: Store, config: RetrainConfig = QUICK) -> int:
    return job.queue(store, by="Anna", base_version=DEFAULT_VERSION, source="", config=config).id


def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("it did not become true")


def test_a_run_makes_a_version_with_its_proof(store: Store) -> None:
    assert main(["run", "--data", str(store.folder), *flags(QUICK)]) == 0
    (run,) = runs.list_runs(store)
    assert run.state == "done" and run.progress["step"] == run.progress["steps"]
    stored = versions.get_version(store, run.version or "")
    assert (stored.parent, stored.run_id) == (DEFAULT_VERSION, run.id)
    assert stored.comparison["fields"] == 2 and stored.comparison["mitoses"] == 6
    assert versions.champion(store, DEFAULT_VERSION) == DEFAULT_VERSION  # nobody has promoted it
    assert versions.load_version(store, stored.name).card.parent == DEFAULT_VERSION
    path = versions.weights_path(store, stored.name)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    load_model.cache_clear()
    with pytest.raises(UnusableModel):  # damaged or swapped weights are never used
        versions.load_version(store, stored.name)


def flags(config: RetrainConfig) -> list[str]:
    return [text for name, value in dataclasses.asdict(config).items()
            for text in (f"--{name.replace('_', '-')}", str(value))]  # fmt: skip


def test_the_training_set_can_be_written_again_whatever_was_changed_since(store: Store, tmp_path: Path) -> None:
    run = runs.get_run(store, queue(store))
    sample = draw_sample_field(seed=9, size_px=320, mitoses=3, lookalikes=2)
    review(store, add_field(store, sample.field, case="case 0")[0], sample)
    assert main(["labels", "--data", str(store.folder), "--run", str(run.id), "--out", str(tmp_path / "l.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "l.csv").open(encoding="utf-8")))
    assert {row["case"] for row in rows} == {"case 0"}
    assert sum(row["label"] == "mitosis" for row in rows) == 6 and sum(row["label"] == "lookalike" for row in rows) == 4


def test_a_case_in_both_parts_is_refused(store: Store) -> None:
    run = runs.get_run(store, queue(store))
    set_case(store, run.split["held_out"][0], "case 0")
    with pytest.raises(UnusableData, match="same case"):
        job.training_set(store, runs.get_run(store, run.id))
    assert job.work(store, run.id) == "failed"
    assert "same case" in runs.get_run(store, run.id).message


def test_too_little_is_refused_with_a_reason(tmp_path: Path) -> None:
    empty = open_store(tmp_path)
    with pytest.raises(UnusableData, match="at least 2 fields"):
        queue(empty)
    assert runs.list_runs(empty) == []


def test_only_what_was_reviewed_and_sure_is_judged(store: Store) -> None:
    learn, _ = job.training_set(store, runs.get_run(store, queue(store)))
    one = dataclasses.replace(learn[0], area_px=(0.0, 0.0, 100.0, 100.0), unsure_xy_px=np.array([[50, 50]], np.float32))
    found = Detections(np.array([[10, 10], [50, 60], [50, 75], [200, 10]]), np.full(4, 0.9), np.full(4, 50))
    assert job.vouched(one, found).xy_px.tolist() == [[10, 10], [50, 75]]  # 5 µm are 20 px here


def test_a_killed_run_is_taken_up_and_the_active_version_is_untouched(store: Store) -> None:
    run_id = queue(store, LONG)
    process = start(store, run_id)
    until(lambda: (runs.get_run(store, run_id).progress or {}).get("step", 0) > 4)
    checkpoint = job.run_folder(store, run_id) / "checkpoint.pt"
    until(checkpoint.exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = runs.get_run(store, run_id).progress["step"]
    until(lambda: runs.get_run(store, run_id).state == "lost")
    assert versions.list_stored(store) == [] and versions.champion(store, DEFAULT_VERSION) == DEFAULT_VERSION
    again = start(store, run_id)
    until(lambda: runs.get_run(store, run_id).state == "running" and runs.get_run(store, run_id).progress["step"] > 0)
    assert runs.get_run(store, run_id).progress["step"] >= reached - LONG.validate_every - 1
    # Cancelling takes a moment only, and leaves nothing behind.
    asked = time.monotonic()
    runs.ask_to_cancel(store, run_id)
    again.wait(timeout=30)
    assert runs.get_run(store, run_id).state == "cancelled" and time.monotonic() - asked < 30
    assert versions.list_stored(store) == []


def test_of_two_runs_one_waits_for_the_other(store: Store) -> None:
    first, second = queue(store, LONG), queue(store, QUICK)
    processes = [start(store, first)]
    until(lambda: runs.get_run(store, first).state == "running")
    processes.append(start(store, second))
    until(lambda: (runs.get_run(store, first).progress or {}).get("step", 0) > 2)
    assert runs.get_run(store, second).state == "queued"
    runs.ask_to_cancel(store, first)
    until(lambda: runs.get_run(store, second).state == "done")
    for process in processes:
        process.wait(timeout=30)


def test_a_disk_that_is_full_ends_the_run_in_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "retrain", full)
    run_id = queue(store)
    assert job.work(store, run_id) == "failed"
    assert "No space left" in runs.get_run(store, run_id).message and versions.list_stored(store) == []


def test_what_the_training_refuses_is_what_the_run_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_number(*_: object, **__: object) -> None:
        raise ConcentricError("The loss stopped being a number at step 3.")

    monkeypatch.setattr(job, "retrain", no_number)
    run_id = queue(store)
    assert job.work(store, run_id) == "failed"
    assert runs.get_run(store, run_id).message == "The loss stopped being a number at step 3."
