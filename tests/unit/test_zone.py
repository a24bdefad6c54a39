"""Days of a time zone as SQL, against Python's zones minute by minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake import examples, fresh_engine

from starberg.etl.day_ranges import within
from starberg.etl.zone import Zone

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ODD = [
    ("Europe/Berlin", date(2026, 3, 29)),  # 23 hours
    ("Europe/Berlin", date(2026, 10, 25)),  # 25 hours
    ("America/New_York", date(2026, 11, 1)),
    ("Pacific/Kiritimati", date(2026, 1, 1)),  # UTC+14
    ("Pacific/Pago_Pago", date(2026, 1, 1)),  # UTC-11
    ("Asia/Kathmandu", date(2026, 1, 1)),  # UTC+5:45
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # by half an hour
    ("America/Sao_Paulo", date(2018, 11, 4)),  # midnight is skipped
    ("America/Sao_Paulo", date(2018, 2, 18)),  # the hour before midnight comes twice
    ("America/Havana", date(2026, 11, 1)),  # midnight comes twice
    ("Atlantic/Azores", date(2025, 10, 26)),
    ("America/St_Johns", date(2010, 11, 7)),  # clocks go from 00:01 back to the day before
    ("Antarctica/Casey", date(2010, 3, 5)),
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that never was
    ("Pacific/Apia", date(2011, 12, 31)),
]
zones = st.sampled_from(sorted({name for name, _ in ODD} | {"UTC", "Asia/Tokyo", "America/Los_Angeles"}))
days = st.dates(date(1990, 1, 1), date(2035, 12, 31))
Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def ask() -> Ask:
    """Return the value of an expression, or the first column of a SELECT."""
    engine = fresh_engine()

    def answer(sql: str) -> Any:
        if sql.startswith("SELECT"):
            return [row[0] for row in engine.rows(sql)]
        return engine.rows(f"SELECT {sql}")[0][0]

    return answer


def shown(zone: str, moment: datetime) -> date:
    """Return the day that clocks show."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def around(day: date, minutes: int = 1) -> Iterator[datetime]:
    """Yield the moments from a day and a half before a day's start in UTC to as long after."""
    start = datetime.combine(day, datetime.min.time()) - DAY * 1.5
    return (start + n * minutes * MINUTE for n in range(3 * 24 * 60 // minutes))


def starts(zone: str, day: date) -> datetime:
    """Return the first minute from which on clocks show a day or a later one."""
    moments = list(around(day))
    return max(moment for moment in moments if shown(zone, moment) < day) + MINUTE


def sql_starts(zone: str, day: date) -> str:
    return Zone(zone).start_of(f"TIMESTAMP '{day}'")


@pytest.mark.parametrize(("zone", "day"), ODD)
def test_a_day_starts_when_clocks_show_it_for_good(ask: Ask, zone: str, day: date) -> None:
    assert ask(sql_starts(zone, day)) == starts(zone, day)


@given(zone=zones, day=days)
@examples(30)
def test_any_day_starts_when_clocks_show_it_for_good(ask: Ask, zone: str, day: date) -> None:
    assert ask(sql_starts(zone, day)) == starts(zone, day)


def test_days_are_as_long_as_they_are(ask: Ask) -> None:
    lengths = [
        ask(f"date_diff('hour', {sql_starts(zone, day)}, {sql_starts(zone, day + DAY)})")
        for zone, day in ODD
        if zone in ("Europe/Berlin", "Pacific/Apia")
    ]
    assert lengths == [23, 25, 0, 24]


@given(zone=zones, day=days, second=st.integers(0, 59))
@examples(15)
def test_a_moment_is_on_the_day_that_clocks_show(ask: Ask, zone: str, day: date, second: int) -> None:
    moments = [moment + second * timedelta(seconds=1) for moment in around(day, 30)]
    rows = f"unnest({[str(moment) for moment in moments]}::TIMESTAMP[])"
    found = ask(f"SELECT {Zone(zone).day_of('t')} FROM (SELECT {rows} AS t) ORDER BY t")
    assert found == [shown(zone, moment) for moment in moments]


@given(zone=zones, day=days, on=st.sets(st.integers(-2, 2), min_size=1))
@examples(15)
def test_moments_within_days_are_those_on_them(ask: Ask, zone: str, day: date, on: set[int]) -> None:
    moments, wanted = list(around(day, 30)), {day + n * DAY for n in on}
    rows = f"(SELECT unnest({[str(moment) for moment in moments]}::TIMESTAMP[]) AS t)"
    found = ask(f"SELECT t FROM {rows} WHERE {Zone(zone).within('t', wanted)} ORDER BY 1")
    assert found == [moment for moment in moments if shown(zone, moment) in wanted]


@pytest.mark.parametrize(("zone", "day"), ODD)
def test_the_first_day_to_end_after_a_moment(ask: Ask, zone: str, day: date) -> None:
    start = starts(zone, day)
    moments = [moment for moment in around(day) if abs(moment - start) < timedelta(hours=5)]
    ends = {on: starts(zone, on + DAY) for on in (day + n * DAY for n in range(-3, 4))}
    rows = f"(SELECT unnest({[str(moment) for moment in moments]}::TIMESTAMP[]) AS t)"
    found = ask(f"SELECT {Zone(zone).first_to_end_after('t')} FROM {rows} ORDER BY t")
    assert found == [min(on for on, end in ends.items() if end > moment) for moment in moments]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_a_date_is_its_own_day_and_starts_with_it(ask: Ask, zone: str) -> None:
    day = Zone(zone)
    rows = "(SELECT DATE '2026-03-01' AS d, NULL::TIMESTAMP AS t)"
    assert ask(f"SELECT {day.day_of('d')} FROM {rows}") == [date(2026, 3, 1)]
    assert ask(f"SELECT {day.within('d', [date(2026, 3, 1)])} FROM {rows}") == [True]
    assert ask(f"SELECT {day.within('d', [date(2026, 2, 28), date(2026, 3, 2)])} FROM {rows}") == [False]
    assert ask(f"SELECT {day.moment_of('d')} FROM {rows}") == [starts(zone, date(2026, 3, 1))]
    assert ask(f"SELECT {day.moment_of('t')} FROM {rows}") == ask(f"SELECT {day.day_of('t')} FROM {rows}") == [None]


def test_a_time_with_a_zone_is_on_the_day_it_is_there(ask: Ask) -> None:
    assert ask(Zone("Asia/Tokyo").day_of("TIMESTAMPTZ '2026-03-01 20:00:00+02'")) == date(2026, 3, 2)


def test_the_ends_of_time_have_days(ask: Ask) -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        for moment in ("290000-01-01", "infinity", "0001-01-01"):
            day = Zone(zone).day_of(f"TIMESTAMP '{moment}'")
            assert ask(f"{day} IS NOT NULL")


@given(zone=zones, day=days)
@examples(30)
def test_today_is_what_clocks_show(zone: str, day: date) -> None:
    for now in around(day, 97):
        assert Zone(zone).today(now) == Zone(zone).today(now.replace(tzinfo=UTC)) == shown(zone, now)


@pytest.mark.parametrize("name", ["UTC", "Etc/UTC"])
def test_with_utc_no_sql_mentions_a_zone(name: str) -> None:
    utc, days = Zone(name), [date(2026, 3, 1), date(2026, 3, 5)]
    assert utc.day_of("s.at") == utc.first_to_end_after("s.at") == "CAST(s.at AS DATE)"
    assert utc.start_of("TIMESTAMP '2026-03-01'") == "TIMESTAMP '2026-03-01'"
    assert utc.moment_of("s.at") == "CAST(s.at AS TIMESTAMP)"
    assert utc.within("s.at", days) == within("s.at", days)
