"""Both engines show the same times of a zone, and take the same moments for them, around every change of its clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from starberg.engines.spark.engine import SparkEngine
from starberg.etl.zone import Zone
from starberg.utils.errors import UsageError

ZONES = ("Europe/Berlin", "Asia/Beirut", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana")
"""Clocks are set at night, at midnight, past it into the day before, by half an hour, by a day."""


def set_clocks(zone: str) -> list[datetime]:
    """Return the moments from 1970 to 2036 at which a zone's clocks are set."""
    clock, found = ZoneInfo(zone), []
    day = datetime(1970, 1, 1, tzinfo=UTC)
    while day < datetime(2037, 1, 1, tzinfo=UTC):
        low, high = day, day + timedelta(days=7)
        if low.astimezone(clock).utcoffset() != high.astimezone(clock).utcoffset():
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                same = middle.astimezone(clock).utcoffset() == low.astimezone(clock).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high.replace(microsecond=0))
        day += timedelta(days=7)
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_clocks_are_the_same_around_every_change(zone: str, spark: SparkEngine) -> None:
    moments = ", ".join(f"(TIMESTAMP '{change:%Y-%m-%d %H:%M:%S}')" for change in set_clocks(zone))
    spark.local.run(
        "CREATE OR REPLACE TEMP TABLE moments AS SELECT DISTINCT moment, CAST(moment AS DATE) AS day FROM"
        " (SELECT change + to_microseconds(900_000_000 * quarter - before) AS moment"
        f" FROM (VALUES {moments}) m(change), range(-104, 105) q(quarter), range(2) b(before))"
    )
    days = Zone(zone)
    select = (
        f"SELECT moment, timezone('UTC', moment) AT TIME ZONE '{zone}' AS shown,"
        f" timezone('UTC', timezone('{zone}', moment)) AS meant, {days.day_of('moment')} AS on_day,"
        f" {days.start_of('day')} AS start, {days.first_to_end_after('moment')} AS ends FROM moments"
    )
    spark.local.run(f"CREATE OR REPLACE TEMP TABLE here AS {select}")
    spark.run(f"CREATE OR REPLACE TEMP TABLE there AS {select}")
    different = "(FROM there EXCEPT FROM here) UNION ALL (FROM here EXCEPT FROM there)"
    assert spark.local.rows(f"SELECT * FROM ({different}) ORDER BY moment LIMIT 5") == []
    assert spark.local.rows("SELECT count(*) FROM there") == spark.local.rows("SELECT count(*) FROM moments")


@pytest.mark.parametrize("zone", ["'+01:00'", "'PST'", "zone"])
def test_a_zone_is_written_by_its_name(zone: str, spark: SparkEngine) -> None:
    with pytest.raises(UsageError, match="a time zone is written by its name"):
        spark.rows(f"SELECT timezone({zone}, TIMESTAMP '2024-01-01') FROM (SELECT 'Europe/Berlin' AS zone)")
