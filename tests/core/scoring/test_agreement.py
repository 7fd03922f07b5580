"""Readers: one cell per object, Cohen's kappa and F1 by hand, the majority and its ties."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.scoring.agreement import Agreement, Verdicts, consensus, group_marks, pooled, reader_agreement

M, L, U = "mitosis", "lookalike", "unsure"

_MARKS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.sampled_from([M, L, U])), max_size=8)
_READERS = st.dictionaries(st.sampled_from("ABCDE"), _MARKS, max_size=4)
_RADIUS = st.integers(1, 10)


def _marks(*marks: tuple[float, float, str]) -> Verdicts:
    xy = np.asarray([mark[:2] for mark in marks], np.float32).reshape(-1, 2)
    return Verdicts(xy, tuple(mark[2] for mark in marks))


def _readers(marks) -> dict[str, Verdicts]:
    return {reader: _marks(*some) for reader, some in marks.items()}


def _plain(found) -> list:
    return [(one.xy_px.tolist(), dict(one.verdicts)) for one in found]


def _distance(one, other) -> float:
    return float(np.hypot(*(one.xy_px - other.xy_px)))


# Objects


@given(_READERS, _RADIUS)
def test_every_mark_is_in_one_object_and_a_reader_once_in_each(marks, radius) -> None:
    found = group_marks(_readers(marks), radius)
    for reader, some in marks.items():
        said = [one.verdicts[reader] for one in found if reader in one.verdicts]
        assert sorted(said) == sorted(verdict for *_, verdict in some)
    assert all(one.verdicts for one in found)


@given(_READERS, _RADIUS, st.randoms(use_true_random=False))
def test_the_order_of_readers_and_marks_plays_no_part(marks, radius, random) -> None:
    shuffled = {
        reader: random.sample(marks[reader], len(marks[reader])) for reader in random.sample(list(marks), len(marks))
    }
    assert _plain(group_marks(_readers(marks), radius)) == _plain(group_marks(_readers(shuffled), radius))
    one, other = (consensus(_readers(some), radius, list(some)) for some in (marks, shuffled))
    assert _plain(one) == _plain(other)
    assert [(o.verdict, o.votes_for, o.disputed) for o in one] == [(o.verdict, o.votes_for, o.disputed) for o in other]


@given(_MARKS, _MARKS, _RADIUS)
def test_two_single_marks_left_apart_had_nobody_free_in_reach(first, second, radius) -> None:
    found = group_marks(_readers({"A": first, "B": second}), radius)
    for one, other in combinations([o for o in found if len(o.verdicts) == 1], 2):
        assert one.verdicts.keys() == other.verdicts.keys() or _distance(one, other) > radius


def test_the_border_of_the_radius_counts() -> None:
    readers = {"A": _marks((0, 0, M)), "B": _marks((3, 4, L))}
    (one,) = group_marks(readers, 5)
    assert one.verdicts == {"A": M, "B": L} and one.xy_px.tolist() == [1.5, 2] and one.xy_px.dtype == np.float32
    assert len(group_marks(readers, 4.999)) == 2


def test_the_closest_two_marks_are_joined_first_whoever_comes_first() -> None:
    # B's mark lies 4 from the first of A and 2 from the second.
    found = group_marks({"A": _marks((0, 0, M), (6, 0, L)), "B": _marks((4, 0, M))}, 5)
    assert _plain(found) == [([0, 0], {"A": M}), ([5, 0], {"A": L, "B": M})]


def test_a_chain_of_marks_is_not_one_cell() -> None:
    # A-B 3 px, B-C 4 px, but A-C 7 px: the closer two are the object, C's is another.
    found = group_marks({"A": _marks((0, 0, M)), "B": _marks((3, 0, M)), "C": _marks((7, 0, M))}, 5)
    assert [set(one.verdicts) for one in found] == [{"A", "B"}, {"C"}]
    assert len(group_marks({"A": _marks((0, 0, M)), "B": _marks((3, 0, M)), "C": _marks((7, 0, M))}, 7)) == 1


def test_objects_come_from_top_to_bottom_by_their_topmost_mark() -> None:
    found = group_marks({"A": _marks((40, 3, L), (0, 0, M)), "B": _marks((0, 4, M))}, 5)
    assert _plain(found) == [([0, 2], {"A": M, "B": M}), ([40, 3], {"A": L})]


# Kappa and F1


def test_kappa_of_a_textbook_table() -> None:
    # 50 applications: both yes 20, only A 5, only B 10, both no 15. po = 0.7, pe = 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    assert Agreement(both=20, only_a=5, only_b=10, neither=15).kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))


def test_kappa_and_f1_by_hand_on_a_field() -> None:
    a = _marks((10, 10, M), (50, 10, M), (90, 10, M), (10, 50, L), (50, 50, U))
    b = _marks((12, 10, M), (50, 13, M), (90, 10, L), (10, 50, L), (90, 90, M))
    # Both: 2. Only A: the one B calls a look-alike. Only B: the one A left unmarked. Neither: a look-alike, an unsure.
    result = reader_agreement(a, b, 5)
    assert result == Agreement(both=2, only_a=1, only_b=1, neither=2) and result.objects == 6
    # po = 4/6; each says mitosis 3 times of 6: pe = 1/2.
    assert result.kappa == pytest.approx((4 / 6 - 1 / 2) / (1 / 2))
    assert result.f1 == 4 / 6


def test_a_case_is_counted_as_one_and_not_averaged() -> None:
    assert pooled([Agreement(2, 1, 0, 3), Agreement(1, 0, 2, 0)]) == Agreement(3, 1, 2, 3)
    assert pooled([]) == Agreement() and pooled([Agreement(4, 0, 0, 0), Agreement(0, 1, 1, 0)]).f1 == 8 / 10


@pytest.mark.parametrize("one_category", [Agreement(), Agreement(both=7), Agreement(neither=7)])
def test_kappa_is_none_where_chance_explains_everything(one_category: Agreement) -> None:
    assert one_category.kappa is None


def test_f1_is_none_without_a_mitosis_and_0_without_a_common_one() -> None:
    assert Agreement(neither=3).f1 is None and reader_agreement(_marks(), _marks(), 5).f1 is None
    assert Agreement(only_a=2).f1 == 0 and Agreement(only_a=1, only_b=1).f1 == 0


def test_readers_who_mark_only_mitoses_have_no_kappa_above_0() -> None:
    assert Agreement(both=98, only_a=1, only_b=1).kappa == pytest.approx(-1 / 99)
    assert Agreement(both=98, only_a=2).kappa == 0


@given(*[st.integers(0, 40)] * 4)
def test_kappa_is_cohens_formula_and_never_above_1(both, only_a, only_b, neither) -> None:
    result, n = Agreement(both, only_a, only_b, neither), both + only_a + only_b + neither
    if result.kappa is not None:
        a, b = (both + only_a) / n, (both + only_b) / n
        by_chance = a * b + (1 - a) * (1 - b)
        assert result.kappa == pytest.approx(((both + neither) / n - by_chance) / (1 - by_chance))
        assert -1 <= result.kappa <= 1


@given(_MARKS, _MARKS, _RADIUS)
def test_swapping_two_readers_swaps_only_their_names(first, second, radius) -> None:
    one, other = (
        reader_agreement(_marks(*first), _marks(*second), radius),
        reader_agreement(_marks(*second), _marks(*first), radius),
    )
    assert one == Agreement(other.both, other.only_b, other.only_a, other.neither)
    assert (one.kappa, one.f1) == (other.kappa, other.f1)


@given(_MARKS, _RADIUS)
def test_a_reader_agrees_with_an_equal_one(marks, radius) -> None:
    result, said = reader_agreement(_marks(*marks), _marks(*marks), radius), [verdict for *_, verdict in marks]
    if len(set(marks)) == len({mark[:2] for mark in marks}):  # one verdict per place
        assert result == Agreement(both=said.count(M), neither=len(said) - said.count(M))
        assert result.kappa == (1 if 0 < said.count(M) < len(said) else None)
        assert result.f1 == (1 if M in said else None)


# Consensus


@given(_MARKS, _RADIUS, st.booleans())
def test_one_reader_alone_is_the_consensus(marks, radius, complete) -> None:
    found = consensus({"A": _marks(*marks)}, radius, ["A"] if complete else [])
    assert sorted((*one.xy_px.tolist(), one.verdict) for one in found) == sorted(marks)
    assert not any(one.disputed for one in found)


@pytest.mark.parametrize(
    ("said", "verdict", "votes", "disputed"),
    [
        ((M, M, M), M, (3, 0), False),
        ((M, M, L), M, (2, 1), True),
        ((M, M, None), M, (2, 1), True),  # None: completed the field without a mark here
        ((M, L, None), L, (1, 2), True),
        ((M, None, None), L, (1, 2), True),
        ((M, L), U, (1, 1), True),
        ((M, None), U, (1, 1), True),
        ((M, M, L, None), U, (2, 2), True),
        ((M, M, U), M, (2, 0), True),
        ((M, U), U, (1, 0), True),
        ((M, L, U), U, (1, 1), True),
        ((M, M, L, U), U, (2, 1), True),  # two of four are no majority
        ((U, U), U, (0, 0), False),
        ((U, None), U, (0, 1), True),
        ((L, None), L, (0, 2), False),
    ],
)
def test_the_majority_of_those_who_looked_decides(said, verdict, votes, disputed) -> None:
    readers = {f"reader {i}": _marks((20, 30, one)) for i, one in enumerate(said) if one}
    (found,) = consensus(readers, 5, [f"reader {i}" for i in range(len(said))])
    assert (found.verdict, (found.votes_for, found.votes_against), found.disputed) == (verdict, votes, disputed)
    assert found.xy_px.tolist() == [20, 30] and found.verdicts == {r: v.verdict[0] for r, v in readers.items()}


def test_a_reader_who_has_not_finished_votes_only_where_a_mark_is() -> None:
    readers = {"A": _marks((0, 0, M), (50, 0, M)), "B": _marks((2, 0, L))}
    both_marked, only_a = consensus(readers, 5, ["A"])
    assert (both_marked.verdict, both_marked.disputed, both_marked.xy_px.tolist()) == (U, True, [1, 0])
    assert (only_a.verdict, only_a.disputed) == (M, False)
    assert consensus(readers, 5, ["A", "B"])[1].disputed


@given(_MARKS, _RADIUS, st.integers(2, 4))
def test_equal_readers_dispute_nothing(marks, radius, n) -> None:
    marks = list({mark[:2]: mark for mark in marks}.values())  # one verdict per place
    readers = {str(i): _marks(*marks) for i in range(n)}
    found = consensus(readers, radius, list(readers))
    assert sorted((*one.xy_px.tolist(), one.verdict) for one in found) == sorted(marks)
    assert not any(one.disputed for one in found)


# What is refused


@pytest.mark.parametrize("radius", [0, -1, float("nan")])
def test_a_radius_that_is_none_is_refused(radius: float) -> None:
    with pytest.raises(ValueError):
        group_marks({}, radius)


def test_marks_that_do_not_fit_are_refused() -> None:
    for xy, verdict in (([[1, 1]], ()), ([[1, 1]], ("mitotic",)), ([[1, float("nan")]], (M,))):
        with pytest.raises(ValueError):
            Verdicts(np.asarray(xy, np.float32), verdict)
