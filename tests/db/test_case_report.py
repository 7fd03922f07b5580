"""The report of a case from the store: everything needed to count it again, and the same every time."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.__main__ import main
from db.case_counts import CountBy, count_case
from db.case_report import WRITERS, case_report
from db.engine import Store, open_store
from db.fields import add_field, image_path, list_fields, rename
from db.versions import store_version
from mitosis_core import __version__
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.reporting.report import PictureGroup, Report, Table
from tests.db.drawn_case import VERSION, add_case, detect, glass, read

MADE = datetime(2026, 11, 28, 6, 30, tzinfo=UTC)


def report_of(store: Store, by: CountBy, made_at: datetime = MADE) -> Report:
    return case_report(store, count_case(store, "A", by), "A", 0.55, made_at)


def tables(report: Report) -> dict[str, Table]:
    return {one.title: one for one in report.sections if isinstance(one, Table)}


def words(report: Report) -> str:
    cells = [cell for one in tables(report).values() for row in one.rows for cell in row]
    return " ".join([report.title, report.subtitle, *report.warnings, *cells, report.foot])


@pytest.fixture
def read_by_two(store: Store) -> Store:
    """A case of two fields that Ann and Bert have read, after a version that the store has."""
    store_version(store, VERSION, b"weights", "{}", by="Ann")
    first, second = add_case(store, "A", 2)
    detect(store, first, [(100, 100)], [0.9])
    read(store, first, "Ann", [(100, 100), (200, 100)])
    read(store, first, "Bert", [(100, 100)])
    for reader in ("Ann", "Bert"):
        read(store, second, reader, [])
    return store


def test_it_holds_all_that_is_needed_to_count_again(read_by_two: Store) -> None:
    counts = count_case(read_by_two, "A", CountBy("consensus"))
    said = words(report_of(read_by_two, CountBy("consensus")))
    for one in counts.fields:
        assert one.field.digest in said and str(one.event) in said
    sha256 = hashlib.sha256(b"weights").hexdigest()
    for needed in (
        sha256,
        VERSION,
        "0.5",
        "given",
        "Ann",
        "Bert",
        f"Concentric {__version__}",
        "0.55 mm",
        str(counts.last_event),
        "research only",
        "consensus of Ann, Bert",
    ):
        assert needed in said
    agreement = tables(report_of(read_by_two, CountBy("consensus")))["Agreement of the readers"]
    # Both marked one mitosis, Ann alone another: F1 2 / 3; chance alone would agree on half of the two cells too.
    assert agreement.rows == (("Ann", "Bert", "0.67", "0.00", "1", "1", "0"),)


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_the_same_store_gives_the_same_report(read_by_two: Store, kind: str) -> None:
    once, again = (WRITERS[kind](report_of(read_by_two, CountBy("consensus"))) for _ in range(2))
    assert once == again


def test_it_shows_every_counted_cell(read_by_two: Store) -> None:
    groups = {
        one.title: one
        for one in report_of(read_by_two, CountBy("reader", "Ann")).sections
        if isinstance(one, PictureGroup)
    }
    assert len(groups["Counted: 2 mitoses"].pictures) == 2 and len(groups["Fields"].pictures) == 2
    assert len(groups["Density of mitoses"].pictures) == 3  # and its scale


def test_what_is_said_under_the_pictures_is_in_them(read_by_two: Store) -> None:
    def notes(by: CountBy) -> str:
        return " ".join(one.note for one in report_of(read_by_two, by).sections if isinstance(one, PictureGroup))

    assert "score" in notes(CountBy("detections", VERSION)) and "score" not in notes(CountBy("consensus"))
    assert "densest" not in notes(CountBy("consensus"))  # the case has less tissue than that


def test_detections_are_called_not_reviewed_and_a_part_preliminary(read_by_two: Store) -> None:
    add_field(read_by_two, glass(3), case="A")
    made = report_of(read_by_two, CountBy("detections", VERSION))
    assert any(one.startswith("Not reviewed") for one in made.warnings)
    assert any(one.startswith("Preliminary: 1 of 3 fields counted") for one in made.warnings)
    assert "Read by" not in tables(made)
    assert tables(made)["Versions that analysed the fields"].rows[0][:2] == (VERSION, "0.5")


def test_a_case_without_a_counted_field_still_gives_a_report(store: Store) -> None:
    add_case(store, "A", 1)
    made = report_of(store, CountBy("reader", "Ann"))
    assert not [one for one in made.sections if isinstance(one, PictureGroup)]
    assert made.figures == ()  # no "0 mitoses" where nothing was counted
    for write in WRITERS.values():
        assert write(made)


def test_a_damaged_image_is_left_out(read_by_two: Store) -> None:
    image_path(read_by_two, list_fields(read_by_two)[0].digest).write_bytes(b"")
    made = report_of(read_by_two, CountBy("reader", "Ann"))
    assert any("damaged" in one for one in made.warnings)


@pytest.mark.parametrize("suffix", ["pdf", "html"])
def test_the_command_writes_a_new_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    store = open_store(tmp_path / "data")
    read(store, add_case(store, "A", 1)[0], "Ann", [(100, 100)])
    store.close()
    out = tmp_path / f"a.{suffix}"
    given = ["report", "--data", str(tmp_path / "data"), "--case", "A", "--out", str(out)]
    assert main(given) == 0 and out.stat().st_size > 1000
    assert "1 mitosis, by reader:Ann" in capsys.readouterr().out
    assert main(given) == 2 and "already" in capsys.readouterr().err  # never over a file


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--case", "B", "--out", "x.pdf"], "There is no case B."),
        (["--case", "A", "--out", "x.doc"], ".pdf or .html"),
        (["--case", "A", "--out", "x.pdf", "--by", "reader:Bert"], "reader:Ann"),
        (["--case", "A", "--out", "x.pdf", "--by", f"detections:{DEFAULT_VERSION}"], "(1 not analysed)"),
        (["--case", "A", "--out", "x.pdf", "--field-diameter-mm", "55"], "0.2 to 1.2 mm"),
        (["--case", "A", "--out", "x.pdf", "--field-diameter-mm", "0"], "0.2 to 1.2 mm"),
    ],
)
def test_the_command_refuses_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path / "data")
    field = add_case(store, "A", 1)[0]
    read(store, field, "Ann", [])
    rename(store, field.id, "<b>")
    store.close()
    assert main(["report", "--data", str(tmp_path / "data"), *more]) == 2
    assert said in capsys.readouterr().err and sorted(one.name for one in tmp_path.iterdir()) == ["data"]
