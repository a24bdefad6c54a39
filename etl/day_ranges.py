"""Sets of days as text, and as a condition of SQL: mostly they are few ranges."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

from starberg.utils.sql import text

DAY = timedelta(days=1)


def ranges(days: Collection[date]) -> Iterator[tuple[date, date]]:
    """Yield the first and last day of each run of days that follow one another.

    >>> list(ranges({date(2026, 1, 2), date(2026, 1, 1), date(2026, 1, 5)}))[1]
    (datetime.date(2026, 1, 5), datetime.date(2026, 1, 5))
    """
    first = last = None
    for day in sorted(days):
        if first is None or last is None or day != last + DAY:
            if first is not None and last is not None:
                yield first, last
            first = day
        last = day
    if first is not None and last is not None:
        yield first, last


def packed(days: Collection[date]) -> str:
    """Return days as text.

    >>> packed({date(2026, 1, 2), date(2026, 1, 1), date(2026, 1, 5)})
    '2026-01-01..2026-01-02 2026-01-05'
    """
    return " ".join(str(first) if first == last else f"{first}..{last}" for first, last in ranges(days))


def unpacked(days: str) -> frozenset[date]:
    """Return the days of such a text.

    >>> len(unpacked("2026-01-01..2026-01-02 2026-01-05"))
    3
    """
    found: set[date] = set()
    for part in days.split():
        first, _, last = part.partition("..")
        found.update(every_day(date.fromisoformat(first), date.fromisoformat(last or first)))
    return frozenset(found)


def every_day(first: date, last: date) -> Iterator[date]:
    """Yield the days from one to another, both inclusive.

    >>> [day.day for day in every_day(date(2026, 1, 1), date(2026, 1, 3))]
    [1, 2, 3]
    """
    return (first + DAY * n for n in range((last - first).days + 1))


def within(column: str, days: Collection[date]) -> str:
    """Return the condition that a date or time (UTC) is on one of some days."""
    parts = [
        f"({column} >= DATE {text(str(first))} AND {column} < DATE {text(str(last + DAY))})"
        for first, last in ranges(days)
    ]
    return f"({' OR '.join(parts)})" if parts else "false"
