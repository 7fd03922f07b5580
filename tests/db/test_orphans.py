"""A start deletes nothing: files without a row are set aside, a lost database is not made anew."""

import os
import shutil
import sqlite3
import time

import pytest

from db.engine import Store
from db.errors import StoreFailed
from db.fields import StoredField, add_field, image_path, list_fields, load_field
from tests.db.conftest import make_field, reopen


def names(store: Store) -> set[str]:
    return {file.name for file in store.images.iterdir()}


def test_a_start_sets_aside_what_no_row_names_and_deletes_nothing(store: Store, field: StoredField) -> None:
    digest = "a" * 64
    for content in (b"one", b"two"):
        (store.images / f"{digest}.png").write_bytes(content)
        (store.images / "notes of the lab.txt").write_bytes(content)
        reopen(store)
    assert names(store) == {f"{field.digest}.png"}
    kept = {file.name: file.read_bytes() for file in store.aside.iterdir()}
    assert kept == {
        f"{digest}.png": b"one",
        f"{digest}.1.png": b"two",
        "notes of the lab.txt": b"one",
        "notes of the lab.1.txt": b"two",
    }


def test_only_unfinished_files_of_ours_that_are_stale_are_removed(store: Store) -> None:
    ours = f"{'a' * 64}.png.{'0' * 16}.part"
    fresh, theirs = ours.replace("0", "1"), "scan.part"
    for name in (ours, fresh, theirs):
        (store.images / name).write_bytes(b"x")
    for name in (ours, theirs):
        os.utime(store.images / name, (0, time.time() - 7200))
    reopen(store)
    assert names(store) == {fresh} and store.image_files.names_aside() == [theirs]


@pytest.mark.sqlite
def test_an_older_database_put_back_loses_no_image(store: Store, field: StoredField) -> None:
    older = store.backup()
    added = [add_field(store, make_field(seed))[0] for seed in (1, 2)]
    newer = store.backup()
    store.close()
    shutil.copy(older, store.file)
    back = reopen(store)
    assert list_fields(back) == [field] and names(back) == {f"{field.digest}.png"}
    assert set(back.image_files.names_aside()) == {f"{one.digest}.png" for one in added}
    back.close()
    shutil.copy(newer, store.file)  # and forward again
    again = reopen(store)
    assert [load_field(again, one).digest for one in list_fields(again)] == [field.digest, *(a.digest for a in added)]
    assert again.image_files.names_aside() == []


@pytest.mark.sqlite
@pytest.mark.parametrize("how", ["empty", "missing", "without tables"])
def test_a_lost_database_beside_images_is_refused_and_all_left_as_it_is(
    store: Store, field: StoredField, how: str
) -> None:
    store.close()
    store.file.unlink()
    log = store.folder / "concentric.sqlite-wal"
    log.write_bytes(b"what was not yet in the database")
    if how == "empty":
        store.file.touch()
    elif how == "without tables":
        log.unlink()
        made = sqlite3.connect(store.file)
        made.executescript("CREATE TABLE a (b); DROP TABLE a; VACUUM;")
        made.close()
    before = sorted((path.name, path.stat().st_size) for path in store.folder.iterdir())
    for _ in range(2):
        with pytest.raises(StoreFailed, match=r"missing or empty.*backup.*doctor.*move the images away"):
            reopen(store)
    assert sorted((path.name, path.stat().st_size) for path in store.folder.iterdir()) == before
    assert image_path(store, field.digest).exists()
