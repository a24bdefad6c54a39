"""Days of a time zone, as SQL over UTC timestamps: which day a moment is on, and when a day starts. Pure.

Timestamps are stored in UTC, whatever the zone. All SQL goes by DuckDB's own time zones, so that the day of a row, the
rows of a day and the end of a day always agree; only what day it is now is told by Python's. With UTC no SQL mentions
a zone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from starberg.etl.day_ranges import ranges, within
from starberg.utils.sql import text


@dataclass(frozen=True)
class Zone:
    """The time zone, by IANA's name, whose days a warehouse counts in."""

    name: str = "UTC"

    @property
    def is_utc(self) -> bool:
        """Whether its days are those of the stored timestamps."""
        return self.name in ("UTC", "Etc/UTC")

    def today(self, now: datetime) -> date:
        """Return the day it is at a moment (UTC, if it has no zone).

        >>> Zone("Europe/Berlin").today(datetime(2025, 2, 28, 23, 30))
        datetime.date(2025, 3, 1)
        """
        moment = now if now.tzinfo else now.replace(tzinfo=UTC)
        return moment.astimezone(UTC if self.is_utc else ZoneInfo(self.name)).date()

    def day_of(self, value: str) -> str:
        """Return the day of a timestamp (UTC); a date is its own.

        >>> Zone().day_of("s.at")
        'CAST(s.at AS DATE)'
        """
        day = f"CAST({value} AS DATE)"
        if self.is_utc:
            return day
        local = f"timezone({text(self.name)}, timezone('UTC', CAST({value} AS TIMESTAMP)))"
        return f"CASE WHEN typeof({value}) LIKE 'TIMESTAMP%' THEN CAST({local} AS DATE) ELSE {day} END"

    def start_of(self, midnight: str) -> str:
        """Return when (UTC) a day starts, given as the timestamp or date of its midnight as the zone's clocks show it.

        >>> Zone().start_of("TIMESTAMP '2026-03-29'")
        "TIMESTAMP '2026-03-29'"
        """
        if self.is_utc:
            return midnight
        shown, zone = f"CAST({midnight} AS TIMESTAMP)", text(self.name)
        # Of a midnight that comes twice DuckDB takes the second; what is just before the first comes once.
        before = f"timezone({zone}, {shown} - INTERVAL 1 MICROSECOND) + INTERVAL 1 MICROSECOND"
        return f"timezone('UTC', least(timezone({zone}, {shown}), {before}))"

    def moment_of(self, value: str) -> str:
        """Return a date or timestamp (UTC) as a timestamp: of a date when it starts.

        >>> Zone().moment_of("s.at")
        'CAST(s.at AS TIMESTAMP)'
        """
        moment = f"CAST({value} AS TIMESTAMP)"
        if self.is_utc:
            return moment
        return f"CASE WHEN typeof({value}) = 'DATE' THEN {self.start_of(value)} ELSE {moment} END"

    def first_to_end_after(self, moment: str) -> str:
        """Return the first day that ends after a timestamp (UTC).

        That is its day, but where clocks are set back past midnight: they show the next day before the last has ended.
        """
        day = self.day_of(moment)
        return day if self.is_utc else f"({day} - CAST({moment} < {self.start_of(day)} AS INTEGER))"

    def within(self, value: str, days: Collection[date]) -> str:
        """Return the condition that a date or timestamp (UTC) is on one of some days."""
        if self.is_utc or not days:
            return within(value, days)
        day, first, last = self.day_of(value), text(str(min(days))), text(str(max(days)))
        on = " OR ".join(f"{day} BETWEEN DATE {text(str(a))} AND DATE {text(str(b))}" for a, b in ranges(days))
        # No zone is a day ahead or behind: what the plain column says lets files be skipped.
        return f"({value} >= DATE {first} - 1 AND {value} < DATE {last} + 2 AND ({on}))"


UTC_DAYS = Zone()
"""The days of UTC, which a warehouse has unless it says otherwise."""
