"""Intervals and cron rules: which instants they mean, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from starberg.etl.schedule import Job, Schedule, after, duration, latest, ticks

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
RULES = ["every 5m", "every 6h", "every 7m", "0 2 * * *", "30 3 * * 1", "*/15 8-18 * * MON-FRI", "0 0 1 * *"]
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


@given(st.sampled_from(RULES), MOMENTS)
def test_a_tick_is_the_next_of_what_is_before_it_and_the_last_of_what_follows(rule: str, moment: datetime) -> None:
    tick = after(rule, moment)
    assert latest(rule, moment) <= moment < tick
    assert latest(rule, tick) == tick
    assert after(rule, latest(rule, moment)) == tick


@given(st.sampled_from(RULES), MOMENTS, st.integers(0, 72))
def test_the_ticks_of_a_time_are_the_ticks_of_its_parts(rule: str, since: datetime, hours: int) -> None:
    middle, until = since + timedelta(hours=hours), since + timedelta(hours=72)
    assert ticks(rule, since, until) == ticks(rule, since, middle) + ticks(rule, middle, until)


def test_a_day_on_which_clocks_change_has_24_hours_of_ticks() -> None:
    day = datetime(2026, 3, 29, tzinfo=UTC)  # spring in Europe
    for rule, number in (("0 * * * *", 24), ("every 1h", 24), ("30 2 * * *", 1)):
        assert len(ticks(rule, day, day + timedelta(days=1))) == number


def test_intervals_count_from_midnight() -> None:
    assert after("every 6h", NOON) == NOON + timedelta(hours=6)
    assert latest("every 1d", NOON) == NOON.replace(hour=0)


def test_only_the_newest_of_very_many_ticks_are_listed() -> None:
    found = ticks("every 1m", NOON - timedelta(days=3650), NOON, most=10)
    assert found == [NOON - timedelta(minutes=9 - n) for n in range(10)]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, "needs either `every`"),
        ({"every": "5m", "cron": "* * * * *"}, "needs either `every`"),
        ({"every": "5 minutes"}, "'5 minutes' is no time such as"),
        ({"every": 5}, "5 is no time such as"),
        ({"every": "0m"}, "is no time"),
        ({"every": "30s"}, "at most once a minute"),
        ({"cron": "0 2 * *"}, "of five fields"),
        ({"cron": "0 25 * * *"}, "bad hour"),
        ({"cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"cron": "0 2 * * *", "missed": "all"}, "'latest', 'each' or 'skip'"),
        ({"cron": "0 2 * * *", "at": 1}, "Extra inputs"),
        ({"cron": "0 2 * * *", "do": "etl", "full": True}, "reads no source"),
    ],
)
def test_what_is_no_schedule_is_refused(declared: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Schedule.model_validate(declared)


def test_rules_and_windows_are_read_from_text() -> None:
    assert Schedule.model_validate({"every": "90m"}).rule == "every 90m"
    assert Schedule.model_validate({"cron": " 0  2 * * * "}).rule == "0 2 * * *"
    assert Job.model_validate({"every": "1h", "window": "15m"}).window == timedelta(minutes=15)
    assert duration("1d") == timedelta(days=1)
