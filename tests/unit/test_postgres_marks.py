"""High-water marks: how far they may move."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from starberg.ingestion.postgres_marks import MARGIN, Horizon, Mark, earliest_local
from starberg.utils.errors import SourceDataError

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def horizon(asked_at: datetime = NOON, oldest: datetime | None = None, *, prepared: bool = False) -> Horizon:
    return Horizon(asked_at, oldest, prepared)


def instant(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


MARK = Mark.of("at", "TIMESTAMP WITH TIME ZONE", "UTC")


def test_the_mark_is_the_greatest_value_but_not_past_an_open_transaction() -> None:
    seen = instant(NOON - timedelta(hours=1))
    assert MARK.after({}, seen, horizon()) == {"seen": seen, "value": seen}
    oldest = NOON - timedelta(hours=2)
    assert MARK.after({}, seen, horizon(oldest=oldest)) == {"seen": seen, "value": instant(oldest - MARGIN)}


def test_a_stamp_of_the_future_is_held_back_to_the_servers_clock() -> None:
    assert MARK.after({}, instant(NOON + timedelta(days=1)), horizon())["value"] == instant(NOON - MARGIN)


def test_the_mark_never_goes_back_and_stays_where_nothing_was_read() -> None:
    before = {"seen": instant(NOON), "value": instant(NOON)}
    assert MARK.after(before, None, horizon(NOON + timedelta(hours=1), NOON - timedelta(hours=9))) == before


def test_while_a_transaction_is_prepared_no_mark_moves() -> None:
    seen = instant(NOON - timedelta(hours=1))
    assert MARK.after({}, seen, horizon(prepared=True)) == {"seen": seen}
    before = {"value": instant(NOON - timedelta(days=1))}
    assert MARK.after(before, seen, horizon(prepared=True))["value"] == before["value"]


def test_zoneless_stamps_are_bounded_by_the_wall_clock_of_their_zone() -> None:
    mark = Mark.of("at", "TIMESTAMP", "Europe/Berlin")
    bound = mark.after({}, "2026-11-21T23:00:00.000000", horizon())["value"]
    assert bound == "2026-11-21T12:59:58.000000"


def test_an_hour_that_comes_twice_is_read_twice() -> None:
    first = datetime(2026, 10, 25, 0, 50, tzinfo=UTC)  # 02:50 in Berlin, for the first time
    assert earliest_local(first, "Europe/Berlin") == datetime(2026, 10, 25, 2, 5)
    assert earliest_local(first, "UTC") == datetime(2026, 10, 25, 0, 50)


def test_days_are_bounded_by_the_day() -> None:
    assert Mark.of("day", "DATE", "UTC").after({}, "2030-01-01", horizon())["value"] == "2026-11-21"


def test_a_number_is_passed_once_all_that_was_open_has_ended() -> None:
    mark = Mark.of("id", "BIGINT", "UTC")
    first: dict[str, Any] = mark.after({}, 10, horizon())
    assert "value" not in first
    held = mark.after(first, 20, horizon(NOON + timedelta(hours=1), NOON - timedelta(minutes=1)))
    assert "value" not in held
    passed = mark.after(held, 30, horizon(NOON + timedelta(hours=2)))
    assert (passed["value"], passed["waiting"], passed["seen"]) == (10, 30, 30)


def test_other_types_are_no_cursors() -> None:
    with pytest.raises(SourceDataError, match="cursor column name is VARCHAR"):
        Mark.of("name", "VARCHAR", "UTC")
