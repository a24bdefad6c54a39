"""Facts built by date, snapshots and bridges with history: the same tables by whatever way their days were built."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake import examples
from school import BY_DATE, DAYS, school

from starberg.etl.day_ranges import every_day

pytestmark = pytest.mark.proof


@given(seed=st.integers(0, 10_000), order=st.permutations(DAYS), data=st.data())
@examples(1)
def test_days_in_any_order_twice_or_after_a_kill_give_the_same_tables(
    seed: int, order: list[date], data: st.DataObject
) -> None:
    found = []
    for shuffled in (False, True):
        with school(seed) as past:
            for hours in (0, 30, 70):
                past.until(datetime(2026, 4, 2, 2) + timedelta(hours=hours))
                past.learn(20)
            left = list(order) if shuffled else list(DAYS)
            while left:
                size = data.draw(st.integers(6, 15), label="days at once") if shuffled else 30
                now, left = left[:size], left[size:]
                if shuffled and data.draw(st.booleans(), label="killed"):
                    past.die(dates=now)
                again = data.draw(st.sampled_from(DAYS), label="again") if shuffled else now[0]
                past.build(dates=[*now, *([again] if again not in left else [])])
            past.build(dates=now[:1])
            found.append(past.contents())
            past.check()
            assert past.lake.verify() == []
    assert found[0] == found[1]


@given(seed=st.integers(0, 10_000))
@examples(2)
def test_what_was_built_day_by_day_with_late_rows_equals_what_is_rebuilt_from_history(seed: int) -> None:
    with school(seed) as past:
        past.live(6)
        days = past.days("fact_learner_snapshot")
        assert sorted(days) == [*every_day(min(days), max(days))]
        rows = {date.fromisoformat(session["started"][:10]) for session in past.sessions.values()}
        assert all(rows <= past.days(fact) for fact in BY_DATE[:2])
        assert past.lake.verify() == []
        assert {t.strategy for t in past.build().tables.values()} == {"skip"}
