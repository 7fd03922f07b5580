"""A run from reviews to a version: what it learns from, and what is left when it is cut at any moment."""

from __future__ import annotations

import csv
import dataclasses
import errno
import fcntl
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from db import runs, versions
from db.engine import Store, open_store
from db.errors import BUSY, StoreBusy
from db.fields import add_field, delete_field, list_fields, rename, set_case
from db.runs import Run
from db.schema import FieldRow, RunRow
from db.splits import case_splits, set_held_out
from mitosis_core.errors import ConcentricError, UnusableData, UnusableModel
from mitosis_core.interchange.annotation_csv import read_annotations
from mitosis_core.model import DEFAULT_VERSION, load_model
from pages.shared.service import training
from tests.train.finished import drawn, finished_fields, review
from tests.waiting import until
from train import job
from train.__main__ import main
from train.retrain.config import RetrainConfig
from train.retrain.phases import PHASES
from train.retrain.plan import PartCounts, Plan

ROOT = Path(__file__).parents[2]
QUICK = RetrainConfig(steps=4, batch=2, crops_per_field=4, crop_px=64, validate_every=2)
LONG = dataclasses.replace(QUICK, steps=4000, validate_every=2, patience=1000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return finished_fields(tmp_path / "data")


def command(store: Store, run_id: int) -> list[str]:
    return ["-m", "train", "run", "--data", str(store.folder), "--run", str(run_id)]


def spawn(*arguments: str, **own: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, **own)


def silence(store: Store, run_id: int) -> None:
    """As if the process had been dead for long enough to be noticed."""
    with store.writing() as session:
        long_ago = datetime.now(UTC) - runs.LOST_AFTER - timedelta(seconds=1)
        session.execute(update(RunRow).where(RunRow.id == run_id).values(heartbeat=long_ago))
    assert runs.get_run(store, run_id).state == "lost"


def take_up(store: Store, run_id: int) -> Run:
    return job.do_run_here(store.folder, run_id, by="", source="", base="", settings={})


def assert_one_version(store: Store, run: Run) -> None:
    """Done, one version with whole files, and nothing else in the folder of versions."""
    assert run.state == "done", run.message
    (stored,) = versions.list_stored(store, deleted=True)
    assert (stored.name, stored.run_id) == (run.version, run.id)
    assert versions.load_version(store, stored.name).version == stored.name
    names = {file.name for file in (store.folder / "versions").iterdir()}
    assert names == {f"{stored.name}.safetensors", f"{stored.name}.json"}
    assert not list(runs.run_folder(store, run.id).glob("*.safetensors*"))


def queue(store: Store, config: RetrainConfig = QUICK) -> int:
    return job.queue(store, by="Anna", base_version=DEFAULT_VERSION, source="", config=config).id


@pytest.mark.slow
def test_a_run_makes_a_version_with_its_proof(store: Store) -> None:
    assert main(["run", "--data", str(store.folder), *flags(QUICK)]) == 0
    (run,) = runs.list_runs(store)
    assert run.state == "done" and run.progress["step"] == run.progress["steps"]
    assert set(run.progress["seconds"]) == set(PHASES) and set(run.progress["done"].values()) == {1.0}
    took_s = sum(run.progress["seconds"].values())
    again = job.expected_seconds(store, load_model().card, 2, 2, QUICK)  # the same work takes as long
    assert sum(again.values()) == pytest.approx(took_s)
    assert job.expected_seconds(store, load_model().card, 2, 2, LONG) == {}  # one so short says nothing of it
    stored = versions.get_version(store, run.version or "")
    assert (stored.parent, stored.run_id) == (DEFAULT_VERSION, run.id)
    assert stored.comparison is not None
    assert (stored.comparison.fields, stored.comparison.mitoses) == (2, 6)
    assert versions.champion(store, DEFAULT_VERSION) == DEFAULT_VERSION  # nobody has promoted it
    assert versions.load_version(store, stored.name).card.parent == DEFAULT_VERSION
    path = versions.weights_path(store, stored.name)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UnusableModel):  # damaged or swapped weights are never used, though they were loaded before
        versions.load_version(store, stored.name)


def flags(config: RetrainConfig) -> list[str]:
    return [
        text
        for name, value in dataclasses.asdict(config).items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]


def test_an_option_that_does_nothing_for_the_version_is_refused_and_no_run_is_left(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--data", str(store.folder), "--base", "rdlm-lite-1", "--steps", "2"]
    assert main([*command, "--batch", "4", "--crop-px", "64"]) == 2
    assert "--batch, --crop-px would do nothing" in capsys.readouterr().err and runs.list_runs(store) == []
    run = job.queue(store, by="Anna", base_version="rdlm-lite-1", source="", config=QUICK)
    assert run.settings == QUICK.acting("finetune") and "batch" not in run.settings
    assert main(["run", "--data", str(store.folder), "--run", str(run.id), "--steps", "3"]) == 2
    assert "--steps" in capsys.readouterr().err and runs.get_run(store, run.id).state == "queued"


def test_the_training_set_can_be_written_again_whatever_was_changed_since(store: Store, tmp_path: Path) -> None:
    run = runs.get_run(store, queue(store))
    sample = drawn(9)
    review(store, add_field(store, sample.field, case="case 0")[0], sample)
    assert main(["labels", "--data", str(store.folder), "--run", str(run.id), "--out", str(tmp_path / "l.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "l.csv").open(encoding="utf-8")))
    assert {row["case"] for row in rows} == {"case 0"}
    assert sum(row["label"] == "mitosis" for row in rows) == 6 and sum(row["label"] == "lookalike" for row in rows) == 4


def test_two_images_of_one_name_leave_under_two(store: Store, tmp_path: Path) -> None:
    run = runs.get_run(store, queue(store))
    for number in run.split["train"]:
        rename(store, number, "01.png")
    job.write_labels(tmp_path / "data", run.id, tmp_path / "l.csv")
    assert len(read_annotations(tmp_path / "l.csv")) == len(run.split["train"]) == 2


def test_names_leave_with_the_labels_as_text_and_come_back(store: Store, tmp_path: Path) -> None:
    run = runs.get_run(store, queue(store))
    for place, number in enumerate(run.split["train"]):
        rename(store, number, f"=1+{place}.png")
    job.write_labels(tmp_path / "data", run.id, tmp_path / "l.csv")
    assert "\n'=1+0.png," in (tmp_path / "l.csv").read_text().replace("\r", "")
    assert sorted(read_annotations(tmp_path / "l.csv")) == ["=1+0.png", "=1+1.png"]


def test_fields_that_were_deleted_since_are_counted(store: Store, tmp_path: Path) -> None:
    run = runs.get_run(store, queue(store))
    delete_field(store, run.split["train"][0], by="Ann")
    assert job.write_labels(tmp_path / "data", run.id, tmp_path / "l.csv") == 1
    assert len(read_annotations(tmp_path / "l.csv")) == 1


def test_a_run_that_is_done_is_not_done_again(store: Store) -> None:
    number = queue(store)
    runs.end(store, number, "done", version="v-r1")
    before = runs.get_run(store, number)
    with pytest.raises(ConcentricError, match="Run 1 is done: it made v-r1"):
        take_up(store, number)
    assert runs.get_run(store, number) == before


def test_a_folder_without_a_store_is_a_sentence_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "mine"))
    for given, named in (["--data", str(tmp_path / "nosuch")], "nosuch"), ([], "mine"):
        assert main(["run", *given]) == 2
        assert f"There is no database in {tmp_path / named}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_case_in_both_parts_is_refused(store: Store) -> None:
    run = runs.get_run(store, queue(store))
    with pytest.raises(ConcentricError, match="stays in case 1"):
        set_case(store, run.split["held_out"][0], "case 0")
    with store.writing() as session:  # as an earlier program let it be moved
        session.execute(update(FieldRow).where(FieldRow.id == run.split["held_out"][0]).values(case="case 0"))
    with pytest.raises(UnusableData, match="same case"):
        job.training_set(store, runs.get_run(store, run.id))
    assert job.do_run(store, run.id) == "failed"
    assert "same case" in runs.get_run(store, run.id).message


def test_planning_writes_no_split_and_queueing_does(store: Store) -> None:
    fields = list_fields(store)
    assert job.plan_run(store).split == {"train": [1, 3], "held_out": [2, 4]}
    assert not any(one.decided for one in case_splits(store, fields))
    set_held_out(store, "case 0", True, by="Anna")
    set_held_out(store, "case 1", False, by="Anna")
    assert runs.get_run(store, queue(store)).split == {"train": [2, 4], "held_out": [1, 3]}
    assert all(one.decided and one.used for one in case_splits(store, fields))


def test_fields_without_a_case_do_not_judge_and_do_not_keep_named_cases_from_it(tmp_path: Path) -> None:
    store = finished_fields(tmp_path / "data", fields=14)
    for number in range(1, 15):
        set_case(store, number, "")
    planned = job.plan_run(store)
    assert planned.held_out.fields == 0 and "of which case" in planned.objection
    for number in range(1, 15):
        set_case(store, number, "A00" if number <= 7 else "A02")
    planned = job.plan_run(store)
    assert (planned.train.fields, planned.held_out.fields, planned.objection) == (7, 7, "")


def test_a_run_that_goes_on_after_its_split_was_changed_is_refused(store: Store) -> None:
    run_id = queue(store)
    runs.end(store, run_id, "failed", message="cut")
    set_held_out(store, "case 0", True, by="Anna")  # nothing was judged yet, so it may be changed
    run = take_up(store, run_id)
    assert run.state == "failed" and "case 0 was moved" in run.message and versions.list_stored(store) == []


def test_few_judges_are_a_caution_and_enough_are_none() -> None:
    def caution(fields: int, mitoses: int) -> str:
        return Plan({}, PartCounts(9, 50, 5, 0), PartCounts(fields, mitoses, 0, 0)).caution

    assert caution(1, 1).startswith("Only 1 field with 1 mitosis will judge") and "chance" in caution(1, 1)
    assert caution(5, 19) and caution(4, 20) and not caution(5, 20)
    assert not Plan({}, PartCounts(0, 0, 0, 0), PartCounts(1, 1, 0, 0)).caution  # then the objection is said


def test_too_little_is_refused_with_a_reason(tmp_path: Path) -> None:
    empty = open_store(tmp_path)
    with pytest.raises(UnusableData, match="at least 2 fields"):
        queue(empty)
    assert runs.list_runs(empty) == []


@pytest.mark.slow
def test_a_killed_run_is_taken_up_and_the_active_version_is_untouched(store: Store) -> None:
    run_id = queue(store, LONG)
    process = spawn(*command(store, run_id))
    until(lambda: (runs.get_run(store, run_id).progress or {}).get("step", 0) > 4)
    checkpoint = runs.run_folder(store, run_id) / "checkpoint.pt"
    until(checkpoint.exists)
    process.kill()
    process.wait()
    reached = runs.get_run(store, run_id).progress["step"]
    silence(store, run_id)
    assert versions.list_stored(store) == [] and versions.champion(store, DEFAULT_VERSION) == DEFAULT_VERSION
    again = spawn(*command(store, run_id))
    until(lambda: runs.get_run(store, run_id).state == "running" and runs.get_run(store, run_id).progress["step"] > 0)
    assert runs.get_run(store, run_id).progress["step"] >= reached - LONG.validate_every - 1
    # Cancelling leaves nothing behind.
    runs.ask_to_cancel(store, run_id)
    again.wait(timeout=30)
    assert runs.get_run(store, run_id).state == "cancelled"
    assert versions.list_stored(store) == []


@pytest.mark.slow
def test_a_run_killed_while_it_waits_for_its_turn_is_taken_up(store: Store) -> None:
    run_id = queue(store)
    with device_taken(store):
        waiting = spawn(*command(store, run_id))
        began = runs.get_run(store, run_id).heartbeat
        until(lambda: runs.get_run(store, run_id).heartbeat != began)
        waiting.kill()
        waiting.wait()
        assert runs.get_run(store, run_id).state == "queued"
    silence(store, run_id)
    assert_one_version(store, take_up(store, run_id))


@contextmanager
def device_taken(store: Store) -> Iterator[None]:
    path = store.folder / "runs" / "device.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


KILLED = """
import os
from db import runs, versions
from train import job, __main__
{moment} = lambda *given, **named: os.kill(os.getpid(), 9)
__main__.main({arguments})
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["job.evaluate_challenger", "versions._enter", "runs.end"])
def test_a_run_killed_after_its_weights_were_written_ends_with_one_version(store: Store, moment: str) -> None:
    """While it compares; with the files in place and no row; with the row there and the run still open."""
    run_id = queue(store)
    process = spawn("-c", KILLED.format(moment=moment, arguments=command(store, run_id)[2:]))
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(versions.list_stored(store)) == (moment == "runs.end")
    silence(store, run_id)
    assert_one_version(store, take_up(store, run_id))


SERVER = """
import time
from pathlib import Path
from db.engine import open_store
from pages.shared.service import training
training.start(open_store(Path({folder!r})), by="Anna", source="", settings={settings})
time.sleep(600)
"""


@pytest.mark.slow
def test_a_run_started_from_a_page_outlives_the_server(store: Store) -> None:
    code = SERVER.format(folder=str(store.folder), settings=dataclasses.asdict(QUICK))
    server = spawn("-c", code, start_new_session=True)
    until(lambda: bool(runs.list_runs(store)) and (store.folder / "runs" / "1" / "log.txt").exists())
    time.sleep(0.5)  # the process of the run exists, and has only begun to import
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    until(lambda: not runs.get_run(store, 1).is_open)
    assert_one_version(store, runs.get_run(store, 1))


@pytest.mark.slow
def test_two_people_who_press_retrain_at_once_get_a_run_each_one_after_the_other(store: Store) -> None:
    settings = dataclasses.asdict(QUICK)
    with ThreadPoolExecutor(2) as people:
        pressed = [people.submit(training.start, store, by=by, source="", settings=settings) for by in ("Anna", "Bert")]
    both = sorted((one.result() for one in pressed), key=lambda run: run.id)
    assert {run.by for run in both} == {"Anna", "Bert"} and {run.state for run in both} == {"queued"}
    until(lambda: all(runs.get_run(store, run.id).state == "done" for run in both))
    first, second = sorted((runs.get_run(store, run.id) for run in both), key=lambda run: str(run.started_at))
    assert first.finished_at and second.started_at and first.finished_at <= second.started_at
    assert len({one.name for one in versions.list_stored(store)}) == 2


@pytest.mark.slow
def test_the_second_process_of_a_run_finds_it_done(store: Store) -> None:
    """Two people press "Go on" for the same run: the one that waited must not do it again."""
    run_id = queue(store)
    assert job.do_run(store, run_id) == "done"
    before = runs.get_run(store, run_id)
    assert job.do_run(store, run_id) == "done" and runs.get_run(store, run_id).finished_at == before.finished_at
    assert_one_version(store, runs.get_run(store, run_id))


@pytest.mark.slow
def test_a_version_taken_in_from_elsewhere_keeps_its_name_and_its_weights(store: Store) -> None:
    run_id = queue(store)
    name = f"{DEFAULT_VERSION}-r{run_id}"
    shipped = load_model()
    theirs = versions.store_version(
        store, name, shipped.weights.read_bytes(), shipped.card.to_json(), by="another laboratory"
    )
    assert job.do_run(store, run_id) == "done"
    assert runs.get_run(store, run_id).version == f"{name}-2"
    assert versions.load_version(store, name).card.weights_sha256 == theirs.sha256


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["queue", "training", "comparing"])
def test_a_run_can_be_cancelled_at_every_stage_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    run_id = queue(store)

    def cancel(*_: object, **__: object) -> None:
        runs.ask_to_cancel(store, run_id)
        until(lambda: life[0].cancelled)

    life: list[Any] = []
    turn = job._device_lock
    monkeypatch.setattr(job, "_BEAT_S", 0.05)
    monkeypatch.setattr(job, "_device_lock", lambda store, one: (life.append(one), turn(store, one))[1])
    if stage == "queue":
        runs.ask_to_cancel(store, run_id)
    else:
        part, name = {"training": ("head_training", "cache_features"), "comparing": ("challenge", "predict")}[stage]
        part = f"train.retrain.{part}"
        real = getattr(importlib.import_module(part), name)
        monkeypatch.setattr(f"{part}.{name}", lambda *given: (cancel(), real(*given))[1])
    assert job.do_run(store, run_id) == "cancelled"
    assert versions.list_stored(store) == [] and not list(store.folder.glob("**/*.safetensors*"))
    assert not list((store.folder / "versions").glob("*"))


@pytest.mark.slow
def test_a_disk_that_is_full_ends_the_run_in_a_sentence_and_it_can_go_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run_id = queue(store)
    with monkeypatch.context() as patch:
        patch.setattr("db.versions.write_durably", full)
        assert job.do_run(store, run_id) == "failed"
    assert "disk is full" in runs.get_run(store, run_id).message and versions.list_stored(store) == []
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        assert take_up(store, run_id).message == "The new version could not be written; perhaps the disk is full."
    assert_one_version(store, take_up(store, run_id))


@pytest.mark.slow
def test_a_store_that_is_locked_at_the_end_does_not_hide_how_it_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = queue(store)

    def locked(*_: object) -> bool:
        raise StoreBusy(BUSY)

    monkeypatch.setattr(runs, "beat", locked)
    assert job.do_run(store, run_id) == "done"


def test_what_the_training_refuses_is_what_the_run_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_number(*_: object, **__: object) -> None:
        raise ConcentricError("The loss stopped being a number at step 3.")

    monkeypatch.setattr(job, "retrain", no_number)
    run_id = queue(store)
    assert job.do_run(store, run_id) == "failed"
    assert runs.get_run(store, run_id).message == "The loss stopped being a number at step 3."
