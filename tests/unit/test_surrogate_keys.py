"""Surrogate keys: whole numbers after the mark, kept for as long as their member lives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake import examples, fresh_engine

from starberg.etl.surrogate_keys import numbered

Members = list[tuple[int, str]]


def numbers(
    members: Members, known: dict[tuple[int, str], int] | None = None, mark: int = 0
) -> dict[tuple[int, str], int]:
    """Number members with a natural key of two columns."""
    engine = fresh_engine()
    engine.run('CREATE TEMP TABLE members (a INTEGER, "b c" VARCHAR, other VARCHAR)')
    engine.run('CREATE TEMP TABLE known (a INTEGER, "b c" VARCHAR, "game\'s key" BIGINT)')
    if members:
        engine.run("INSERT INTO members VALUES " + ", ".join(f"({a}, '{b}', 'x')" for a, b in members))
    if known:
        engine.run("INSERT INTO known VALUES " + ", ".join(f"({a}, '{b}', {key})" for (a, b), key in known.items()))
    select = numbered("members", "" if known is None else "known", ["a", "b c"], "game's key", mark)
    assert [column.name for column in engine.columns(select)] == ["game's key", "a", "b c", "other"]
    return {(a, b): key for key, a, b, _ in engine.rows(select)}


def test_a_new_dimension_is_numbered_from_1_in_natural_key_order() -> None:
    assert numbers([(2, "a"), (1, "b"), (1, "a")]) == {(1, "a"): 1, (1, "b"): 2, (2, "a"): 3}


def test_known_members_keep_their_number_and_new_ones_follow_the_mark() -> None:
    known = {(1, "a"): 7, (2, "b"): 3}
    assert numbers([(0, "z"), (1, "a"), (2, "b"), (9, "z")], known, mark=10) == {
        (1, "a"): 7, (2, "b"): 3, (0, "z"): 11, (9, "z"): 12
    }  # fmt: skip


def test_a_number_is_not_given_again_when_the_newest_member_went() -> None:
    assert numbers([(1, "a"), (5, "n")], {(1, "a"): 1}, mark=2) == {(1, "a"): 1, (5, "n"): 3}


@pytest.mark.parametrize("known", [None, {}])
def test_a_dimension_that_starts_over_goes_on_after_its_mark(known: dict[tuple[int, str], int] | None) -> None:
    assert numbers([(1, "a")], known, mark=41) == {(1, "a"): 42}


def test_text_keys_are_told_apart_byte_by_byte() -> None:
    assert numbers([(1, "a"), (1, "A"), (1, "a "), (1, "")], {(1, "A"): 1}, mark=1) == {
        (1, "A"): 1, (1, ""): 2, (1, "a"): 3, (1, "a "): 4
    }  # fmt: skip


KEYS = st.tuples(st.integers(0, 5), st.sampled_from("ab"))


@examples(30)
@given(st.lists(st.sets(KEYS), min_size=1, max_size=5))
def test_over_any_history_numbers_are_unique_kept_and_never_reused(history: list[set[tuple[int, str]]]) -> None:
    known: dict[tuple[int, str], int] = {}
    given_out: dict[int, tuple[int, str]] = {}
    mark = 0
    for members in history:
        found = numbers(sorted(members), known, mark)
        assert found.keys() == members
        assert all(found[member] == number for member, number in known.items() if member in found)
        new = {number: member for member, number in found.items() if member not in known}
        assert not new.keys() & given_out.keys()
        assert all(number > mark for number in new)
        given_out |= new
        mark = max([mark, *found.values()])
        known = found
