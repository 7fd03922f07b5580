"""The Data page: labels leave as a file and come back for another reader, after a preview."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from db.archive import write_archive
from db.engine import Store
from db.fields import list_fields
from db.label_export import Labels
from db.reviews import apply_ops, reviews_of
from mitosis_core.interchange import FORMATS
from pages.shared import session
from pages.shared.person import Person, Role
from pages.shared.service import label_files
from tests.db.conftest import again_with_area
from tests.pages.data_page import open_page, press, said
from tests.train.finished import finished_fields


def exported(kept: Store, name: str) -> label_files.ExportedFile:
    return label_files.export_file(kept, Labels("reader", "Anna"), list_fields(kept), name, "labels")


def test_what_is_chosen_is_written_and_what_the_format_cannot_hold_is_said(kept: Store) -> None:
    page = open_page()
    page.selectbox(session.EXPORTED_LABELS).set_value("Reader Anna")
    page.selectbox(session.EXPORTED_FORMAT).set_value("midog").run()
    page = press(page, "Export")
    assert next(one.proto.label for one in page.get("download_button")) == "Download labels.json"
    assert "2 images, 10 marks (6 mitosis, 4 lookalike)." in said(page)
    assert "Left out, as MIDOG JSON cannot hold it" in said(page)
    page.selectbox(session.EXPORTED_FORMAT).set_value("csv").run()
    assert not any("Download labels" in one.proto.label for one in page.get("download_button"))


def test_a_field_that_was_reviewed_in_part_is_said(kept: Store) -> None:
    assert "Reviewed in part" not in exported(kept, "csv").says
    apply_ops(kept, list_fields(kept)[0].id, "Anna", again_with_area(list_fields(kept)[0].id, [0, 0, 50, 50]))
    assert "Reviewed in part, which Plain CSV cannot hold: 1 image." in exported(kept, "csv").says
    assert "Reviewed in part" not in exported(kept, "json").says


def test_the_fields_of_one_case_can_be_chosen(kept: Store) -> None:
    page = open_page()
    page.selectbox(session.EXPORTED_LABELS).set_value("Reader Anna")
    page.multiselect(session.EXPORTED_CASES).set_value(["case 1"]).run()
    assert "1 image, 5 marks" in said(press(page, "Export"))


def test_every_format_has_its_sentence() -> None:
    assert all(label_files.says(one).endswith(".") for one in FORMATS.values())
    assert label_files.says(FORMATS["mitos14"]) == (
        "Mitoses and look-alikes, places to 0.5 px, score, one file an image, in a zip."
    )


def test_only_an_admin_is_offered_the_labels_of_others(kept: Store) -> None:
    fields = list_fields(kept)
    assert list(label_files.choices(kept, fields, Person("Eva", Role.REVIEWER))) == []
    assert list(label_files.choices(kept, fields, Person("Anna", Role.REVIEWER))) == ["Reader Anna"]
    assert "Consensus of the readers" in label_files.choices(kept, fields, Person("Eva", Role.ADMIN))


def test_a_file_is_previewed_and_imported_once(kept: Store) -> None:
    file = exported(kept, "coco")
    page = open_page()
    page.file_uploader(session.IMPORTED_FILE).set_value((file.name, file.content, file.mime)).run()
    page.text_input(session.IMPORTED_READER).set_value("Bob").run()
    page.checkbox(session.IMPORT_FINISHES).set_value(True).run()
    assert [row["new"] for row in page.dataframe[0].value.to_dict("records")] == [5, 5]
    page = press(page, "Import 10 marks and finish 2 fields")
    assert "10 marks imported for Bob, 2 fields finished." in said(page)
    assert "Nothing to import" not in said(page)
    assert [row["already there"] for row in page.dataframe[0].value.to_dict("records")] == [5, 5]
    for field in list_fields(kept):
        bob, anna = (reviews_of(kept, field.id)[name] for name in ("Bob", "Anna"))
        assert bob.state == "complete" and bob.count("mitosis") == anna.count("mitosis") == 3
    page = open_page()
    page.file_uploader(session.IMPORTED_FILE).set_value((file.name, file.content, file.mime)).run()
    page.text_input(session.IMPORTED_READER).set_value("Bob").run()
    assert "Nothing to import: 10 marks of Bob are there already." in said(page)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_offered_the_formats_that_find_marks_in_it(kept: Store, name: str, tmp_path: Path) -> None:
    file = exported(kept, name)
    (tmp_path / file.name).write_bytes(file.content)
    assert name in label_files.possible_formats(tmp_path / file.name)


def test_what_the_first_row_does_not_tell_the_others_do(tmp_path: Path) -> None:
    """One or two pixels of a mitosis look like a place, with a score or without."""
    path = tmp_path / "case.zip"
    with ZipFile(path, "w") as file:
        file.writestr("A03_02.csv", "10,20\n30,40,31,40\n")
        file.writestr("A03_03.csv", "50,60,51,60\n")
    assert label_files.possible_formats(path) == ["mitos12"]


def test_an_unknown_class_is_asked_for(kept: Store) -> None:
    name = list_fields(kept)[0].name
    content = f"image,x_px,y_px,label\n{name},5,5,tumour\n".encode()
    page = open_page()
    page.file_uploader(session.IMPORTED_FILE).set_value(("t.csv", content, "text/csv")).run()
    page.text_input(session.IMPORTED_READER).set_value("Bob").run()
    assert not any(one.label.startswith("Import ") for one in page.button)
    page.selectbox(f"{session.IMPORTED_CLASS}tumour").set_value("lookalike").run()
    press(page, "Import 1 mark")
    assert "Bob" in {reader for field in list_fields(kept) for reader in reviews_of(kept, field.id)}


def test_a_file_of_another_kind_is_a_sentence(kept: Store) -> None:
    page = open_page()
    page.file_uploader(session.IMPORTED_FILE).set_value(("t.json", b'{"a": 1}', "application/json")).run()
    page.text_input(session.IMPORTED_READER).set_value("Bob").run()
    assert page.error and "Traceback" not in said(page)


def test_an_archive_of_another_installation_is_added(kept: Store, tmp_path: Path) -> None:
    other = finished_fields(tmp_path / "other", fields=4)
    write_archive(other, tmp_path / "a.zip")
    page = open_page()
    content = (tmp_path / "a.zip").read_bytes()
    page.file_uploader(session.MERGED_FILE).set_value(("a.zip", content, "application/zip")).run()
    press(page, "Add")
    assert "2 fields, " in said(page) and len(list_fields(kept)) == 4
    page.file_uploader(session.MERGED_FILE).set_value(("b.zip", b"no zip", "application/zip")).run()
    press(page, "Add")
    sentence = said(page).replace("\\", "")
    assert "b.zip is no backup of Concentric, or it is damaged" in sentence and "/b.zip" not in sentence
    other.close()
