"""An archive of another installation taken into this one: nothing is lost, nothing comes twice, what is here stays."""

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import doctor, runs
from db.__main__ import main
from db.archive import write_archive
from db.assignments import assign, assigned_fields
from db.engine import Store, open_store
from db.errors import BackupDamaged
from db.fields import add_field, delete_field, list_fields, load_field, set_case, set_scale, tombstones
from db.merge import merge_archive
from db.predictions import proposals, save_prediction
from db.reviews import apply_ops, history, reviews_of
from db.splits import case_splits, set_held_out
from db.version_labels import label_version, version_labels
from db.versions import champion, decisions, list_stored, load_version, store_version
from mitosis_core.errors import ConcentricError
from mitosis_core.model import DEFAULT_VERSION, load_model
from mitosis_core.types import Detections, Prediction
from tests.db.conftest import make_field, make_op
from tests.train.finished import ended_run, finished_fields

FOUND = Detections(np.array([[10, 20], [30, 40]], np.float32), np.array([0.9, 0.8]), np.array([20.0, 30.0]))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    one = open_store(tmp_path / "empty")
    yield one
    one.close()


def reviewed(store: Store, seed: int, reader: str = "Ann", found: Detections = FOUND) -> int:
    """A field with a prediction, whose first proposal a reader has confirmed."""
    stored, _ = add_field(store, make_field(seed, f"{seed}.png"), case=f"case {seed}")
    number = save_prediction(store, stored.id, Prediction(found, 0.5, DEFAULT_VERSION, 1.0, 0.01))
    x, y = found.xy_px[0].tolist()
    done = apply_ops(store, stored.id, reader, [make_op(stored.id, id=f"p{number}-0", x=x, y=y)])
    apply_ops(store, stored.id, reader, [make_op(stored.id, "state", seq=2, base=done.rev, state="complete")])
    return stored.id


def contents(store: Store) -> dict[str, Any]:
    """All that a store says, without the ids that it gives."""
    said: dict[str, Any] = {}
    for field in list_fields(store):
        events = [replace(e, id=0, base=0, target=e.target.split("-")[-1]) for e in history(store, field.id)]
        marks = {
            name: [(m.x, m.y, m.verdict, m.version, m.score, m.deleted) for m in review.marks]
            for name, review in reviews_of(store, field.id).items()
        }
        found = proposals(store, field.id, DEFAULT_VERSION)
        said[field.digest] = (
            field._replace(id=0, file_size=0),
            load_field(store, field).digest,
            events,
            marks,
            found and (found.threshold, [(one.x, one.y, one.score, one.area_um2) for one in found.candidates]),
        )
    said["versions"] = {one.name: one.sha256 for one in list_stored(store, deleted=True)}
    said["decisions"] = [replace(one, id=0) for one in decisions(store)]
    said["splits"] = {one.case: one.held_out for one in case_splits(store, list_fields(store)) if one.decided}
    said["gone"] = [(one.digest, one.by, one.at, one.marks, one.events) for one in tombstones(store)]
    said["labels"] = {one.version: (one.name, one.note, one.by, one.at) for one in version_labels(store).values()}
    digest = {field.id: field.digest for field in list_fields(store)}
    said["asked"] = {name: {digest[one] for one in assigned_fields(store, name)} for name in ("Ann", "Bob")}
    said["runs"] = [(one.by, one.base_version, one.version, one.state) for one in runs.list_runs(store)]
    return said


def archive_of(store: Store, place: Path) -> Path:
    write_archive(store, place)
    return place


def is_sound(store: Store) -> bool:
    return doctor.is_sound(doctor.examine(store.folder, url=store.url))


def test_an_empty_installation_takes_all_of_it_and_the_second_time_nothing(
    filled: Store, empty: Store, tmp_path: Path
) -> None:
    reviewed(filled, 7)
    set_held_out(filled, "case 7", True, by="Ann")
    label_version(filled, "v1", name="Ours", note="of spring", by="Ann")
    assign(filled, [field.id for field in list_fields(filled)], "Bob", by="Ann")
    file = archive_of(filled, tmp_path / "a.zip")
    merged = merge_archive(empty, file)
    assert contents(empty) == contents(filled) and champion(empty, DEFAULT_VERSION) == "v1" and is_sound(empty)
    assert (merged.fields, merged.versions, merged.deletions, merged.notes) == (3, 1, 1, [])
    assert merge_archive(empty, file).says == "Nothing was added: all of it is here already."
    assert contents(empty) == contents(filled) and not list(empty.folder.glob("merge-*"))


def test_a_trained_version_comes_with_its_run_and_can_be_used(tmp_path: Path, empty: Store) -> None:
    store = finished_fields(tmp_path / "trained")
    run = ended_run(store)
    merge_archive(empty, archive_of(store, tmp_path / "a.zip"))
    (version,) = list_stored(empty)
    assert load_version(empty, version.name).version == run.version == version.name
    (taken,) = runs.list_runs(empty)
    assert version.run_id == taken.id and contents(empty) == contents(store)
    used = {one.case for one in case_splits(empty, list_fields(empty)) if one.used}
    assert used == {"case 1"}
    store.close()


def test_ids_that_are_taken_here_are_given_anew(tmp_path: Path, empty: Store) -> None:
    other = open_store(tmp_path / "other")
    here = [reviewed(empty, seed, "Bob") for seed in (1, 2)]
    there = reviewed(other, 3)
    before = {key: history(empty, key) for key in here}
    merged = merge_archive(empty, archive_of(other, tmp_path / "a.zip"))
    assert (merged.fields, merged.events, merged.predictions) == (1, 2, 1)
    assert {key: history(empty, key) for key in here} == before
    new = list_fields(empty)[-1]
    (mark,) = reviews_of(empty, new.id)["Ann"].standing
    found = proposals(empty, new.id, DEFAULT_VERSION)
    assert found is not None and mark.id == found.candidates[0].id and (mark.x, mark.y) == (10, 20)
    assert history(other, there)[0].target != mark.id and is_sound(empty)
    other.close()


def test_both_reviewed_the_same_field(tmp_path: Path, empty: Store) -> None:
    """What both changed stays as it is here; what one of them did alone is added."""
    reviewed(empty, 1)
    shutil.copytree(empty.folder, tmp_path / "copy")
    other = open_store(tmp_path / "copy")
    for store, verdict in ((empty, "lookalike"), (other, "unsure")):
        (mark,) = reviews_of(store, 1)["Ann"].standing
        rev = reviews_of(store, 1)["Ann"].rev
        again = [
            make_op(1, "state", client=verdict, base=rev, seq=1, state="in_review"),
            make_op(1, "class", client=verdict, base=rev, seq=2, id=mark.id, x=10, y=20, cls=verdict),
            make_op(1, client=verdict, base=rev, seq=3, id=f"own{verdict}", x=50, y=50),
        ]
        apply_ops(store, 1, "Ann", again)
    merged = merge_archive(empty, archive_of(other, tmp_path / "a.zip"))
    assert merged.events == 3 and "this installation's change stands" in merged.notes[0]
    review = reviews_of(empty, 1)["Ann"]
    assert {mark.id: mark.verdict for mark in review.standing if not mark.id.startswith("p")} == {
        "ownlookalike": "mitosis",
        "ownunsure": "mitosis",
    }
    assert review.count("lookalike") == 1 and review.count("unsure") == 0 and is_sound(empty)
    assert merge_archive(empty, tmp_path / "a.zip").events == 0
    other.close()


def test_another_prediction_under_the_same_name_moves_no_mark(tmp_path: Path, empty: Store) -> None:
    other = open_store(tmp_path / "other")
    reviewed(empty, 1, "Bob", Detections(FOUND.xy_px + 7, FOUND.score, FOUND.area_um2))
    reviewed(other, 1)
    merge_archive(empty, archive_of(other, tmp_path / "a.zip"))
    (mark,) = reviews_of(empty, 1)["Ann"].standing
    assert (mark.x, mark.y, mark.version) == (10, 20, DEFAULT_VERSION) and not mark.id.startswith("p")
    assert is_sound(empty)
    other.close()


def test_another_version_of_the_same_name_is_renamed_everywhere(tmp_path: Path, empty: Store) -> None:
    shipped, other = load_model(), open_store(tmp_path / "other")
    card = replace(shipped.card, version="own")
    store_version(empty, "own", b"weights", "{}", by="Bob")
    store_version(other, "own", shipped.weights.read_bytes(), card.to_json(), by="Ann")
    stored, _ = add_field(other, make_field(1))
    save_prediction(other, stored.id, Prediction(FOUND, 0.5, "own", 1.0, 0.01))
    merged = merge_archive(empty, archive_of(other, tmp_path / "a.zip"))
    renamed = f"own-{list_stored(other)[0].sha256[:6]}"
    assert {one.name for one in list_stored(empty)} == {"own", renamed} and renamed in merged.notes[0]
    assert load_version(empty, renamed).version == renamed
    assert proposals(empty, 1, renamed) is not None and proposals(empty, 1, "own") is None
    assert merge_archive(empty, tmp_path / "a.zip").versions == 0 and is_sound(empty)
    other.close()


def test_what_was_decided_here_stays(tmp_path: Path, filled: Store, empty: Store) -> None:
    add_field(empty, make_field(0), case="mine")
    set_scale(empty, 1, 0.5)
    set_held_out(empty, "mine", True, by="Bob")
    set_case(filled, 1, "theirs")
    set_case(filled, 2, "mine")
    set_held_out(filled, "mine", False, by="Ann")
    merged = merge_archive(empty, archive_of(filled, tmp_path / "a.zip"))
    assert champion(empty, DEFAULT_VERSION) == DEFAULT_VERSION and any(
        "active version stays" in n for n in merged.notes
    )
    assert (list_fields(empty)[0].um_per_px, list_fields(empty)[0].case) == (0.5, "mine")
    assert any("keeps 0.5 µm/px; the archive has 0.25" in note for note in merged.notes)
    assert any("The case mine stays held out" in note for note in merged.notes)
    assert {one.version for one in decisions(empty)} == {"v1", DEFAULT_VERSION}


def test_a_version_keeps_its_name_and_no_two_have_one(tmp_path: Path, filled: Store, empty: Store) -> None:
    for store, name, note in ((filled, "Ours", "of spring"), (empty, "Ours", "another")):
        label_version(store, "v1" if store is filled else DEFAULT_VERSION, name=name, note=note, by="Ann")
    label_version(filled, DEFAULT_VERSION, name="Theirs", note="", by="Ann")
    merged = merge_archive(empty, archive_of(filled, tmp_path / "a.zip"))
    said = {one.version: (one.name, one.note) for one in version_labels(empty).values()}
    assert said == {DEFAULT_VERSION: ("Ours", "another"), "v1": ("", "of spring")} and merged.labels == 1
    assert "v1 is called Ours in the archive; another version is, here." in merged.notes


def test_a_field_that_was_deleted_here_comes_back_and_that_is_said(tmp_path: Path, filled: Store) -> None:
    file, gone = archive_of(filled, tmp_path / "a.zip"), list_fields(filled)[0]
    delete_field(filled, gone.id, by="Ann")
    merged = merge_archive(filled, file)
    assert (merged.fields, merged.events) == (1, 2) and "was deleted here, and is back" in merged.notes[0]
    assert gone.digest in {one.digest for one in list_fields(filled)} and is_sound(filled)


def _repacked(file: Path, place: Path, change: Any) -> Path:
    """The archive with another database, and a manifest that fits it."""
    database = place.with_suffix(".sqlite")
    with zipfile.ZipFile(file) as archive:
        database.write_bytes(archive.read("concentric.sqlite"))
        with closing(sqlite3.connect(database)) as connection:
            change(connection)
            connection.commit()
        manifest = json.loads(archive.read("manifest.json"))
        data = database.read_bytes()
        manifest["files"]["concentric.sqlite"] = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
        with zipfile.ZipFile(place, "w") as new:
            for name in archive.namelist():
                if name not in ("manifest.json", "concentric.sqlite"):
                    new.writestr(name, archive.read(name))
            new.writestr("concentric.sqlite", data)
            new.writestr("manifest.json", json.dumps(manifest))
    return place


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET target = '<script>' WHERE id = 1",
        "UPDATE event SET x = 5000 WHERE id = 1",
        "UPDATE event SET reader = '' WHERE id = 1",
        "UPDATE event SET op_id = 'x' WHERE id = 1",
        "UPDATE event SET at = 'yesterday' WHERE id = 1",
        "UPDATE event SET field_id = 99 WHERE id = 1",
        "UPDATE version SET name = '../../v1'",
    ],
)
def test_a_database_that_nobody_could_have_written_is_refused(
    statement: str, filled: Store, empty: Store, tmp_path: Path
) -> None:
    def change(connection: sqlite3.Connection) -> None:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)

    file = _repacked(archive_of(filled, tmp_path / "a.zip"), tmp_path / "b.zip", change)
    with pytest.raises(ConcentricError):
        merge_archive(empty, file)
    assert list_fields(empty) == [] and not any(empty.images.iterdir())


def test_a_failure_in_the_middle_leaves_nothing(
    filled: Store, empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise ConcentricError("stop")

    before = contents(empty)
    monkeypatch.setattr("db.merge._Merge.take_tombstones", failing)
    with pytest.raises(ConcentricError, match="stop"):
        merge_archive(empty, archive_of(filled, tmp_path / "a.zip"))
    assert contents(empty) == before and not any(empty.images.iterdir())
    assert not list((empty.folder / "versions").glob("*")) and not list(empty.folder.glob("merge-*"))


def test_an_archive_that_is_cut_short_climbs_out_or_is_of_something_else(
    filled: Store, empty: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = archive_of(filled, tmp_path / "a.zip")
    cut, climbing, other = (tmp_path / f"{name}.zip" for name in ("cut", "climbing", "other"))
    cut.write_bytes(file.read_bytes()[:-100])
    other.write_bytes(b"PK no zip")
    shutil.copy(file, climbing)
    with zipfile.ZipFile(climbing, "a") as archive:
        archive.writestr("../../escaped.png", b"x")
    for one in (cut, climbing, other, tmp_path / "none.zip"):
        assert main(["merge", str(one), "--data", str(empty.folder)]) == 2
        said = capsys.readouterr().err
        assert said and "Traceback" not in said
    assert list_fields(empty) == [] and not (tmp_path / "escaped.png").exists()
    assert main(["merge", str(file), "--data", str(empty.folder)]) == 0
    assert "2 fields, 4 changes to reviews, 1 version, 1 decision, 1 deletion added." in capsys.readouterr().out


def test_a_bomb_is_not_unpacked(filled: Store, empty: Store, tmp_path: Path) -> None:
    """A file that unpacks to more than the manifest says is cut there."""
    file = archive_of(filled, tmp_path / "a.zip")
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as new:
        for name in archive.namelist():
            new.writestr(name, b"\0" * 50_000_000 if name.endswith(".png") else archive.read(name))
    with pytest.raises(BackupDamaged, match="is damaged"):
        merge_archive(empty, tmp_path / "bomb.zip")
    assert list_fields(empty) == [] and asdict(merge_archive(empty, file))["fields"] == 2
