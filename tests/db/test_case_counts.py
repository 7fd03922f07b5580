"""What a case counts, against values worked out by hand."""

from __future__ import annotations

import pytest

from db.case_counts import CaseCounts, CountBy, case_names, count_case, fields_of, readers_of
from db.engine import Store
from db.fields import add_field, add_unscaled, image_path
from db.readings import readings
from db.splits import case_of
from mitosis_core.reporting.figures import case_figures
from mitosis_core.scoring.counting import NoResult
from mitosis_core.types import Field
from tests.db.drawn_case import TISSUE_MM2, VERSION, add_case, change, detect, glass, half_tissue, read

ANN = CountBy("reader", "Ann")
CONSENSUS = CountBy("consensus")


def why_not(counts: CaseCounts) -> list[str]:
    return [one.why_not for one in counts.fields]


def test_a_reader_counts_the_mitoses_of_the_fields_that_reader_has_finished(store: Store) -> None:
    first, second, third, fourth = add_case(store, "A", 4)
    read(store, first, "Ann", [(100, 100), (200, 100)], lookalikes=3)
    read(store, second, "Ann", [])
    read(store, third, "Ann", [(50, 50)], state="")
    read(store, fourth, "Ann", [(50, 50)], state="excluded")
    counts = count_case(store, "A", ANN)
    assert why_not(counts) == ["", "", "not finished", "excluded"]
    assert counts.count.mitoses == 2 and counts.count.area_mm2 == pytest.approx(2 * TISSUE_MM2, rel=0.01)
    assert counts.open_mitoses == 1 and not counts.is_final
    read(store, third, "Ann", [])
    assert count_case(store, "A", ANN).count.mitoses == 3 and count_case(store, "A", ANN).is_final


def test_what_another_reader_did_changes_nothing(store: Store) -> None:
    (field,) = add_case(store, "A", 1)
    read(store, field, "Bert", [(100, 100)])
    counts = count_case(store, "A", ANN)
    assert why_not(counts) == ["not read"] and counts.count.mitoses == 0 and not counts.is_final


def test_the_consensus_is_what_most_readers_of_the_field_say(store: Store) -> None:
    """Three readers: two say mitosis at the first place, one at the second."""
    (field,) = add_case(store, "A", 1)
    read(store, field, "Ann", [(100, 100), (200, 200)])
    read(store, field, "Bert", [(102, 100)])
    read(store, field, "Cleo", [])
    counts = count_case(store, "A", CONSENSUS)
    (one,) = counts.fields
    assert counts.count.mitoses == 1 and one.readers == ("Ann", "Bert", "Cleo")
    (cell,) = one.mitoses
    assert (cell.x_px, cell.y_px, cell.readers) == (101, 100, ("Ann", "Bert"))
    assert readers_of(store, "A") == {"Ann": 1, "Bert": 1, "Cleo": 1}


def test_disputed_cells_that_do_not_count_are_said(store: Store) -> None:
    (field,) = add_case(store, "A", 1)
    read(store, field, "Ann", [(100, 100), (200, 200)])
    read(store, field, "Bert", [(100, 100)])
    counts = count_case(store, "A", CONSENSUS)
    assert counts.count.mitoses == 1 and counts.is_final
    assert counts.state == "1 disputed cell counts only once settled (Agreement, on Review)."
    assert count_case(store, "A", ANN).state == ""


def test_an_unfinished_review_has_no_vote(store: Store) -> None:
    (field,) = add_case(store, "A", 1)
    read(store, field, "Ann", [(100, 100)])
    read(store, field, "Bert", [], state="")
    counts = count_case(store, "A", CONSENSUS)
    assert counts.count.mitoses == 1 and counts.fields[0].readers == ("Ann",)


def test_only_the_reviewed_part_counts(store: Store) -> None:
    """The left 200 px of 800 are 0.08 mm², all of it tissue."""
    (field,) = add_case(store, "A", 1)
    change(store, field, "Ann", "area", 1, area=[0, 0, 200, 400])
    read(store, field, "Ann", [(100, 100), (300, 100)])
    counts = count_case(store, "A", ANN)
    assert counts.count.mitoses == 1 and counts.count.area_mm2 == pytest.approx(0.08, rel=0.01)


def test_detections_count_from_a_threshold_on(store: Store) -> None:
    first, second = add_case(store, "A", 2)
    detect(store, first, [(100, 100), (200, 100), (300, 100)], [0.9, 0.5, 0.4])
    counts = count_case(store, "A", CountBy("detections", VERSION))
    assert why_not(counts) == ["", "not analysed"] and counts.count.mitoses == 2 and not counts.by.reviewed
    assert counts.fields[0].threshold == 0.5
    assert count_case(store, "A", CountBy("detections", VERSION, 0.4)).count.mitoses == 3
    detect(store, second, [], [])
    assert count_case(store, "A", CountBy("detections", VERSION)).is_final


def test_the_figures_of_a_case_by_hand(store: Store) -> None:
    """Eight fields of 0.16 mm² are 1.28 mm²; 4 mitoses are 3.1 per mm² and 7.4 per 10 fields of 0.55 mm (2.376 mm²).

    Exact interval of 4: 1.09 to 10.24. The table gives score 1 up to 8 at 0.55 mm; 8.5 are 4.58 mitoses, so one more
    makes it 9 per 10 HPF and score 2. Per mm² score 1 reaches to 3.49, so 5 mitoses (3.9) would be score 2.
    """
    for place, field in enumerate(add_case(store, "A", 8)):
        read(store, field, "Ann", [(100, 100)] if place < 4 else [])
    figures = case_figures(count_case(store, "A", ANN).counted, 0.55)
    assert figures.count.area_mm2 == pytest.approx(1.28, rel=0.005)
    assert figures.count.per_mm2 == pytest.approx(3.125, rel=0.005)
    assert figures.per_10_hpf == pytest.approx(7.42, rel=0.005)
    assert figures.per_10_hpf_interval is not None
    assert figures.per_10_hpf_interval.low == pytest.approx(1.0899 / 1.28 * 2.3758, rel=0.01)
    assert figures.per_10_hpf_interval.high == pytest.approx(10.2416 / 1.28 * 2.3758, rel=0.01)
    by_table, by_mm2 = figures.by_table, figures.by_mm2
    assert not isinstance(by_table, NoResult) and (by_table.score, by_table.more, by_table.fewer) == (1, 1, None)
    assert not isinstance(by_mm2, NoResult) and (by_mm2.score, by_mm2.more) == (1, 1)


def test_with_too_little_tissue_there_is_a_sentence_and_no_score(store: Store) -> None:
    field = add_field(store, glass(1), case="A")[0]
    read(store, field, "Ann", [(100, 100)])
    figures = case_figures(count_case(store, "A", ANN).counted, 0.55)
    assert figures.count.mitoses == 1 and figures.count.per_mm2 is None
    assert isinstance(figures.by_table, NoResult) and "too little tissue" in figures.by_table.reason


def test_a_field_that_waits_for_its_scale_makes_the_case_unfinished(store: Store) -> None:
    (field,) = add_case(store, "A", 1)
    read(store, field, "Ann", [])
    add_unscaled(store, Field(half_tissue(9).pixels, None, "silent.png"), case="A")
    counts = count_case(store, "A", ANN)
    assert counts.unscaled == 1 and not counts.is_final and len(counts.counted) == 1


def test_a_damaged_image_is_left_out_with_its_sentence(store: Store) -> None:
    first, second = add_case(store, "A", 2)
    for field in (first, second):
        read(store, field, "Ann", [(100, 100)])
    image_path(store, first.digest).write_bytes(b"")
    counts = count_case(store, "A", ANN)
    assert counts.count.mitoses == 1 and "damaged" in counts.fields[0].why_not and not counts.is_final


def test_a_field_without_a_case_is_a_case_of_its_own(store: Store) -> None:
    add_case(store, "A", 2)
    alone = add_field(store, half_tissue(7))[0]
    assert list(case_names(store).values()) == ["A", "7.png"]
    assert [one.id for one in fields_of(store, case_of(alone))] == [alone.id]
    assert fields_of(store, "nowhere") == [] and fields_of(store, "") == []


def test_who_read_a_part_is_said_to_have_read_what_counts(store: Store) -> None:
    """Two marks, one of them beside the reviewed area: the headline and "Read by" say one."""
    (field,) = add_case(store, "A", 1)
    change(store, field, "Ann", "area", 1, area=[0, 0, 200, 400])
    read(store, field, "Ann", [(100, 100), (300, 100)])
    counts = count_case(store, "A", ANN)
    assert counts.count.mitoses == 1 and [one.mitoses for one in readings(store, counts)] == [1]
