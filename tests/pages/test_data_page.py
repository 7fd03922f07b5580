"""The Data page: how the folder stands, a copy on demand, the audit, what the doctor finds, what was deleted."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta

from db.archive import verify
from db.backup import copies, make_copy
from db.engine import Store
from db.fields import delete_field, image_path, list_fields, rename
from pages.shared import store
from pages.shared.service import backup_copies
from tests.pages.data_page import open_page, press, said


def test_the_folder_its_size_and_the_lack_of_a_copy_are_shown(kept: Store) -> None:
    page = open_page()
    figures = {one.label: one.value for one in page.metric}
    assert page.code[0].value == str(kept.folder.resolve())
    assert figures["Age of the last copy"] == "none" and figures["Copies"] == "0"
    assert figures["Size"].endswith("kB") or figures["Size"].endswith("MB")
    assert "no copy of this data folder yet" in said(page) and "CONCENTRIC_BACKUP_DAYS is 0" in said(page)


def test_back_up_now_makes_a_whole_copy_and_shows_it(kept: Store) -> None:
    page = press(open_page(), "Back up now")
    (made,) = copies(kept)
    assert verify(made.path)[1] == [] and str(made.path) in said(page) and not page.warning
    assert {one.label: one.value for one in page.metric}["Copies"] == "1"
    assert any("Download the last copy" in one.proto.label for one in page.get("download_button"))


def test_an_old_copy_or_one_that_is_not_whole_is_a_warning(kept: Store) -> None:
    image_path(kept, list_fields(kept)[0].digest).unlink()
    make_copy(kept)
    stands, now = backup_copies.backup_status(kept), datetime.now(UTC)
    assert "missing or damaged" in backup_copies.backup_warning(stands, now)
    whole = dataclasses.replace(stands, copies=(dataclasses.replace(stands.copies[0], whole=True),))
    assert backup_copies.backup_warning(whole, now + timedelta(days=1.9)) == ""
    assert "2 days old" in backup_copies.backup_warning(whole, now + timedelta(days=2.1))


def test_the_doctor_speaks_on_the_page(kept: Store) -> None:
    page = press(open_page(), "Check")
    assert "No problem found" in said(page)
    rename(kept, 1, "[a](http://elsewhere)")
    image_path(kept, list_fields(kept)[0].digest).unlink()
    (kept.images / "left.png").write_bytes(b"x")
    page = press(page, "Check")
    assert "No problem found" not in said(page) and "1 image file without a field" in said(page)
    assert any(r"\[a\]\(http" in one.value for one in page.warning) and "--repair" in said(page)


def test_a_lost_database_is_a_sentence_and_can_still_be_examined(kept: Store) -> None:
    kept.close()
    for file in kept.folder.glob("concentric.sqlite*"):
        file.unlink()
    store._open.cache_clear()
    page = press(open_page(), "Check")
    assert "missing or empty, so nothing was changed" in page.error[0].value.replace("\\", "")
    assert "beside 2 images" in said(page)


def test_deleted_fields_and_the_audit_are_there(kept: Store) -> None:
    gone = list_fields(kept)[1]
    delete_field(kept, gone.id, by="Anna")
    page = open_page()
    (row,) = page.dataframe[0].value.to_dict("records")
    assert (row["by"], row["field"], row["marks"], row["changes"]) == ("Anna", gone.name, 5, 6)
    table = list(csv.DictReader(io.StringIO(backup_copies.audit_file(kept, "csv")().decode())))
    lines = [json.loads(line) for line in backup_copies.audit_file(kept, "jsonl")().splitlines()]
    assert [one["record"] for one in table] == [one["record"] for one in lines] == ["event"] * 6 + ["deletion"]
    assert [one.proto.label for one in page.get("download_button")] == ["Audit (CSV)", "Audit (JSONL)"]


def test_sizes_and_ages_in_words() -> None:
    assert [backup_copies.size(number) for number in (1_000, 2_500_000, 3_200_000_000)] == ["1 kB", "2.5 MB", "3.2 GB"]
    spans = [timedelta(seconds=5), timedelta(minutes=61), timedelta(hours=47), timedelta(days=2)]
    assert [backup_copies.age(span) for span in spans] == ["less than a minute", "1 hour", "1 day", "2 days"]
