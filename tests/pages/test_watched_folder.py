"""The watched folder: what comes in, once, and what is only listed; nothing in it is touched."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import Store, open_store
from db.errors import StoreBusy, StoreFull
from db.fields import delete_field, list_fields, list_unscaled
from db.incoming_files import refused_files, watched_files
from db.preferences import change_preferences
from mitosis_core.model import DEFAULT_VERSION
from pages.shared.service import importing, watched_folder
from pages.shared.service.importing import ImportedFile
from pages.shared.service.watched_folder import Seen, case_of_file, take_new, watch
from tests.db.queued import list_detections
from tests.pages.test_case_board import _enqueue
from tests.pages.test_detecting import png
from tests.waiting import until


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(importing, "detect_later", _enqueue)
    monkeypatch.setattr(importing, "list_versions", lambda: [DEFAULT_VERSION])
    one = open_store(tmp_path / "data")
    change_preferences(one, "", um_per_px=0.25)
    yield one
    one.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    one = tmp_path / "scanner"
    one.mkdir()
    return one


def put(folder: Path, name: str, data: bytes, *, age_s: float = 60) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))
    return path


def look(store: Store, folder: Path, times: int = 2) -> None:
    before: dict[str, Seen] = {}
    for _ in range(times):
        before = take_new(store, folder, before)


def cases(store: Store) -> list[tuple[str, str]]:
    return sorted((one.case, one.name) for one in list_fields(store))


def test_new_images_come_in_and_wait_for_detection_and_the_folder_stays_as_it_was(store: Store, folder: Path) -> None:
    put(folder, "A00_01.png", png(1))
    put(folder, "S21-7/field 1.png", png(2))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.png")}
    look(store, folder)
    assert cases(store) == [("A00", "A00_01.png"), ("S21-7", "field 1.png")]
    assert [one.state for one in list_detections(store)] == ["waiting", "waiting"]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.png")} == before


def test_a_file_is_taken_once_also_after_a_restart_and_a_deleted_field_stays_away(store: Store, folder: Path) -> None:
    put(folder, "A_1.png", png(1))
    look(store, folder)
    delete_field(store, list_fields(store)[0].id, by="Ann")
    again = open_store(store.folder)
    look(again, folder, times=3)
    assert list_fields(again) == []
    put(folder, "A_1.png", png(2), age_s=30)
    look(again, folder)
    assert cases(again) == [("A", "A_1.png")]


def test_a_half_written_file_waits_until_it_rests(store: Store, folder: Path) -> None:
    whole = png(1)
    put(folder, "A_1.png", whole[: len(whole) // 2], age_s=0)
    before = take_new(store, folder, {})
    before = take_new(store, folder, before)  # as it was before, but too young
    put(folder, "A_1.png", whole[: len(whole) // 2], age_s=10)
    before = take_new(store, folder, before)  # old, but another file than before
    put(folder, "A_1.png", whole, age_s=9)
    before = take_new(store, folder, before)
    assert list_fields(store) == [] and watched_files(store) == {} and refused_files(store) == []
    take_new(store, folder, before)
    assert cases(store) == [("A", "A_1.png")]


def test_what_cannot_be_taken_is_listed_and_the_others_come_in(store: Store, folder: Path) -> None:
    put(folder, "A/bad.png", b"nonsense")
    put(folder, "A/slide.svs", b"II*")
    put(folder, "A/notes.txt", b"notes")
    put(folder, "A/.hidden.png", png(3))
    put(folder, ".trash/b.png", png(4))
    put(folder, "A/good.png", png(1))
    look(store, folder)
    assert cases(store) == [("A", "good.png")]
    listed = {one.name: one.problem for one in refused_files(store)}
    assert listed.keys() == {"A/bad.png", "A/slide.svs"} and "QuPath" in listed["A/slide.svs"]
    put(folder, "A/bad.png", png(2), age_s=30)
    look(store, folder)
    assert [one.name for one in refused_files(store)] == ["A/slide.svs"] and len(cases(store)) == 2


def test_a_field_without_scale_waits(store: Store, folder: Path) -> None:
    change_preferences(store, "", um_per_px=None)
    put(folder, "A_1.png", png(1))
    look(store, folder)
    assert [one.case for one in list_unscaled(store)] == ["A"] and refused_files(store) == []


def test_while_the_store_cannot_take_a_file_it_is_not_counted_as_dealt_with(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "A_1.png", png(1))

    def full(*given: object) -> None:
        raise StoreFull("The disk is full.")

    def busy(*given: object, **named: object) -> list[ImportedFile]:
        return [ImportedFile("A_1.png", problem="The database is busy.", later=True)]

    for name, stand_in, error in (("check_disk_space", full, StoreFull), ("import_files", busy, StoreBusy)):
        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(watched_folder, name, stand_in)
            look(store, folder)
    assert watched_files(store) == {} and refused_files(store) == []
    look(store, folder)
    assert len(list_fields(store)) == 1


@pytest.mark.parametrize(
    ("name", "case"), [("A00_01.png", "A00"), ("x/y/S21-7/01.tif", "S21-7"), ("case/A00_01.png", "case"), ("1.png", "")]
)
def test_the_case_is_the_folder_or_in_the_name(name: str, case: str) -> None:
    assert case_of_file(name) == case


def test_a_file_that_is_too_large_is_listed_with_what_to_do(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_folder, "MOST_BYTES", 1_000_000)
    put(folder, "A_1.png", bytes(2_000_000))
    take_new(store, folder, take_new(store, folder, {}))
    (one,) = refused_files(store)
    assert one.problem.startswith("A_1.png has 2 MB, and a file may have 1. Please export single high-power fields")


def test_watching_goes_on_after_a_fault_until_it_is_stopped(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_folder, "LOOK_S", 0.01)
    put(folder, "A_1.png", png(1))
    aside, stop = folder.rename(folder.with_name("gone")), threading.Event()
    thread = threading.Thread(target=watch, args=(lambda: store, folder, stop))
    thread.start()
    try:
        aside.rename(folder)
        until(lambda: len(list_fields(store)) == 1)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
