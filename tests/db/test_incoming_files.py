from __future__ import annotations

from db.engine import Store
from db.incoming_files import (
    dismiss_refused,
    forget_refused,
    record_watched,
    refuse_file,
    refused_files,
    watched_files,
)


def names(store: Store) -> list[str]:
    return [one.name for one in refused_files(store)]


def test_a_refused_file_is_listed_once_with_its_last_sentence_until_it_is_dismissed(store: Store) -> None:
    for problem in ("It is cut short.", "It is damaged."):
        refuse_file(store, "a.png", problem, by="Ann")
    refuse_file(store, "b.svs", "It is a whole slide.", by="Ann")
    assert [(one.name, one.problem, one.watched) for one in refused_files(store)] == [
        ("b.svs", "It is a whole slide.", False),
        ("a.png", "It is damaged.", False),
    ]
    dismiss_refused(store, [refused_files(store)[0].id])
    assert names(store) == ["a.png"]
    refuse_file(store, "b.svs", "It is a whole slide.", by="Ann")
    assert names(store) == ["b.svs", "a.png"]
    dismiss_refused(store)
    assert names(store) == []


def test_a_file_that_was_taken_after_all_is_no_longer_listed(store: Store) -> None:
    refuse_file(store, "a.png", "It is cut short.", by="Ann")
    refuse_file(store, "b.png", "It is cut short.", by="Ann")
    forget_refused(store, "a.png")
    assert names(store) == ["b.png"]


def test_a_watched_file_is_known_as_it_was_and_an_upload_of_its_name_is_another(store: Store) -> None:
    record_watched(store, "case/a.png", 10, 1_700_000_000_123_456_789)
    record_watched(store, "case/b.png", 20, 2, "It is damaged.")
    refuse_file(store, "case/a.png", "It is cut short.", by="Ann")
    assert watched_files(store) == {"case/a.png": (10, 1_700_000_000_123_456_789), "case/b.png": (20, 2)}
    assert {(one.name, one.watched) for one in refused_files(store)} == {("case/a.png", False), ("case/b.png", True)}
    record_watched(store, "case/b.png", 30, 3)
    assert watched_files(store)["case/b.png"] == (30, 3) and names(store) == ["case/a.png"]


def test_a_name_that_is_no_text_is_kept_as_far_as_it_can_be(store: Store) -> None:
    refuse_file(store, "\udce9" + "x" * 600, "It is damaged.", by="Ann")
    assert len(names(store)[0]) == 500
