"""A backup holds one whole moment of the store, is read back before older ones go, and comes back as it was."""

import json
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db import backup
from db.archive import MANIFEST, restore, verify, write_archive
from db.backup import copies, copy_if_due, keep_copies, last_copy, make_copy
from db.engine import Store, open_store
from db.errors import BackupDamaged, StoreBusy, StoreFailed
from db.fields import add_field, delete_field, image_path, list_fields, load_field
from db.reviews import apply_ops, history
from db.versions import decisions, list_stored, weights_path
from tests.db.conftest import make_field, make_op, reopen


@pytest.fixture(autouse=True)
def _a_week(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_BACKUP_DAYS", "7")


def contents(store: Store) -> dict[str, Any]:
    fields = list_fields(store)
    return {
        "fields": fields,
        "events": [history(store, one.id) for one in fields],
        "decisions": decisions(store),
        "pixels": [load_field(store, one).digest for one in fields],
        "versions": list_stored(store),
        "weights": [weights_path(store, one.name).read_bytes() for one in list_stored(store)],
    }


def test_what_is_restored_is_what_was_there(filled: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    manifest = write_archive(filled, tmp_path / "b.zip", lambda *share: seen.append(share))
    assert (manifest.fields, manifest.events, manifest.missing, len(manifest.files)) == (2, 4, (), 5)
    assert seen[-1] == (manifest.bytes, manifest.bytes) and verify(tmp_path / "b.zip") == (manifest, [])
    restore(tmp_path / "b.zip", tmp_path / "back")
    back = open_store(tmp_path / "back")
    assert contents(back) == contents(filled)
    files = [path for path in (tmp_path / "back").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in [*files, tmp_path / "b.zip"]} == {0o600}
    assert not (tmp_path / "back" / "set-aside").exists()


def test_no_file_is_written_over_and_no_folder_with_anything_in_it(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(b"precious")
    with pytest.raises(StoreFailed, match="already"):
        write_archive(filled, tmp_path / "b.zip")
    with pytest.raises(StoreFailed, match="no folder"):
        write_archive(filled, tmp_path / "nowhere" / "b.zip")
    write_archive(filled, tmp_path / "c.zip")
    with pytest.raises(StoreFailed, match="not empty"):
        restore(tmp_path / "c.zip", tmp_path)
    assert (tmp_path / "b.zip").read_bytes() == b"precious" and not (tmp_path / "images").exists()


def test_writers_go_on_while_a_backup_is_made_and_it_holds_one_moment(filled: Store, tmp_path: Path) -> None:
    field, stop, written = list_fields(filled)[0], threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            written[0] += 1
            apply_ops(filled, field.id, "Cid", [make_op(field.id, seq=written[0], id=f"c{written[0]}")])

    writer = threading.Thread(target=write)
    writer.start()
    before = written[0]
    manifest = write_archive(filled, tmp_path / "b.zip", lambda *_: stop.wait(0.01))
    stop.set()
    writer.join()
    assert written[0] > before + 1 and verify(tmp_path / "b.zip")[1] == []
    restore(tmp_path / "b.zip", tmp_path / "back")
    back = open_store(tmp_path / "back")
    kept = [event.op_id for event in history(back, field.id)]
    assert kept == [event.op_id for event in history(filled, field.id)][: len(kept)]
    assert sum(len(history(back, one.id)) for one in list_fields(back)) == manifest.events


def test_a_field_that_is_deleted_meanwhile_is_in_no_backup(filled: Store, tmp_path: Path) -> None:
    gone = list_fields(filled)[1]

    def delete_once(*_: int) -> None:
        if gone in list_fields(filled):
            delete_field(filled, gone.id, by="Ann")

    manifest = write_archive(filled, tmp_path / "b.zip", delete_once)
    assert manifest.fields == 1 and manifest.missing == () and verify(tmp_path / "b.zip")[1] == []


def test_a_field_deleted_right_after_the_database_was_copied_is_in_no_backup(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, times = filled.database.copy_to, []

    def copy_then_delete(place: Path) -> str:
        times.append(copy(place))
        if len(times) == 1:
            delete_field(filled, list_fields(filled)[1].id, by="Ann")
        return times[-1]

    monkeypatch.setattr(filled.database, "copy_to", copy_then_delete)
    manifest = write_archive(filled, tmp_path / "b.zip")
    assert (manifest.fields, manifest.missing, len(times)) == (1, (), 2)


def test_a_missing_image_is_named_and_the_rest_is_kept(filled: Store, tmp_path: Path) -> None:
    image_path(filled, list_fields(filled)[0].digest).unlink()
    manifest = write_archive(filled, tmp_path / "b.zip")
    assert manifest.missing == (f"images/{list_fields(filled)[0].digest}.png",) and len(manifest.files) == 4
    restore(tmp_path / "b.zip", tmp_path / "back")


def again(place: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> None:
    """Write the archive anew with other contents, the manifest as changed."""
    with zipfile.ZipFile(place) as old:
        files = {name: old.read(name) for name in old.namelist()}
    manifest = json.loads(files.pop(MANIFEST))
    change(files, manifest)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in files.items():
            new.writestr(name, data)
        new.writestr(MANIFEST, json.dumps(manifest))


def _escape(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    files["../escaped.png"] = b"x"
    manifest["files"]["../escaped.png"] = {"sha256": "0" * 64, "bytes": 1}


def _grow(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    name = next(name for name in files if name.startswith("images/"))
    files[name] = bytes(50_000_000)  # far more than the manifest says


def _take_image(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
    name = next(name for name in files if name.startswith("images/"))
    del files[name], manifest["files"][name]


def _other_format(_: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["format"] = "concentric backup 99"


def _extra(files: dict[str, bytes], _: dict[str, Any]) -> None:
    files["images/more.png"] = b"x"


@pytest.mark.parametrize("change", [_escape, _grow, _take_image, _other_format, _extra])
def test_an_archive_that_was_tampered_with_is_refused_and_leaves_nothing(
    filled: Store, tmp_path: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]
) -> None:
    write_archive(filled, tmp_path / "b.zip")
    again(tmp_path / "b.zip", change)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BackupDamaged):
        restore(tmp_path / "b.zip", tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_any_changed_byte_of_the_content_is_found(filled: Store, tmp_path: Path) -> None:
    place = tmp_path / "b.zip"
    write_archive(filled, place)
    whole = place.read_bytes()
    with zipfile.ZipFile(place) as opened:
        starts = {info.filename: info.header_offset + 300 for info in opened.infolist() if info.file_size > 500}
    for name, at in starts.items():
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert name == MANIFEST or verify(place)[1] == [f"{name} is damaged."]
    for half in (b"", b"PK", whole[: len(whole) // 2]):
        place.write_bytes(half)
        with pytest.raises(BackupDamaged, match="no backup"):
            verify(place)


# ---- the copies that the store makes itself


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return moment

    monkeypatch.setattr(backup, "datetime", Clock)


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_one_copy_a_day_and_so_many_are_kept(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_BACKUP_DAYS", "3")
    assert last_copy(filled) is None
    for hours in range(0, 24 * 5, 6):
        at(monkeypatch, NOON + timedelta(hours=hours))
        made = copy_if_due(filled)
        assert (made is not None) == (hours % 24 == 0)
    assert [one.at for one in copies(filled)] == [NOON + timedelta(days=day) for day in (2, 3, 4)]
    assert last_copy(filled) == NOON + timedelta(days=4) and all(one.whole for one in copies(filled))
    at(monkeypatch, NOON - timedelta(days=400))  # a clock that was moved back does not stop the copies
    assert copy_if_due(filled) is not None


def test_copies_asked_for_on_one_day_remove_none_of_the_days_before(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_BACKUP_DAYS", "3")
    moments = [NOON, NOON + timedelta(hours=3), NOON + timedelta(days=1)]
    moments += [NOON + timedelta(days=2, minutes=minute) for minute in range(5)]
    for moment in moments:
        at(monkeypatch, moment)
        make_copy(filled)
    # of each day before its last one, of today the last three
    assert [one.at for one in copies(filled)] == [moments[1], moments[2], *moments[-3:]]


def test_the_last_good_copy_stays_whatever_comes_after(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_BACKUP_DAYS", "2")
    good, place = make_copy(filled), image_path(filled, list_fields(filled)[0].digest)
    place.write_bytes(place.read_bytes()[:-100] + bytes(100))
    bad = [make_copy(filled) for _ in range(3)]
    assert [one.whole for one in copies(filled)] == [True, False, False] and copies(filled)[0] == good
    assert bad[-1].path.name.endswith("-not-whole.zip") and copies(filled)[-1] == bad[-1]


def test_a_copy_that_cannot_be_read_back_removes_nothing(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_BACKUP_DAYS", "1")
    good = make_copy(filled)
    monkeypatch.setattr(backup, "verify", lambda place: (None, ["a file is damaged."]))
    with pytest.raises(BackupDamaged, match="older copies were kept"):
        make_copy(filled)
    assert copies(filled) == [good]


def test_two_servers_make_one_copy(filled: Store) -> None:
    other = reopen(filled)
    tried: list[object] = []

    def meanwhile(*_: int) -> None:
        if not tried:
            with pytest.raises(StoreBusy, match="being made"):
                make_copy(other)
            tried.append(copy_if_due(other))

    make_copy(filled, meanwhile)
    assert tried == [None] and len(copies(filled)) == 1


def test_copies_may_lie_elsewhere_and_belong_to_their_store(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_BACKUPS", str(tmp_path / "elsewhere"))
    other = open_store(tmp_path / "other")
    add_field(other, make_field(5))
    made = make_copy(filled)
    assert made.path.parent == tmp_path / "elsewhere" and copies(other) == []
    stale = made.path.with_suffix(".zip.00.part")
    stale.write_bytes(b"what a kill left")
    make_copy(other)
    assert stale.exists() and len(copies(filled)) == len(copies(other)) == 1
    make_copy(filled)
    assert not stale.exists()


def test_the_thread_makes_the_copy_and_outlives_a_failure(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, done = [], threading.Event()

    def due(store: Store) -> None:
        tries.append(store)
        if len(tries) == 1:
            raise OSError("the disk of the copies is not there")
        done.set()

    monkeypatch.setattr(backup, "copy_if_due", due)
    stop = keep_copies(filled, look_every_s=0.01)
    assert done.wait(10)
    stop.set()


def test_with_no_days_a_copy_is_made_only_when_asked_for(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_BACKUP_DAYS", "0")
    assert copy_if_due(filled) is None
    made = [make_copy(filled) for _ in range(2)]
    assert copies(filled) == made


def test_an_empty_store_is_not_copied(store: Store) -> None:
    assert copy_if_due(store) is None and copies(store) == []
