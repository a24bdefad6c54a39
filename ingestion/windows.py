"""Spans of whole days that together cover a date range, and their halves. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Span:
    """Days `first` to `last`, both included."""

    first: date
    last: date

    def __str__(self) -> str:
        return self.first.isoformat() if self.first == self.last else f"{self.first} to {self.last}"

    @property
    def is_one_day(self) -> bool:
        """Tell whether it cannot be split."""
        return self.first >= self.last

    def halves(self) -> tuple[Span, Span]:
        """Split a span of at least two days in two that meet."""
        middle = self.first + (self.last - self.first) // 2
        return Span(self.first, middle), Span(middle + _DAY, self.last)


def spans(first: date, last: date, by: Literal["year", "month", "day"]) -> list[Span]:
    """Cut the days `first` to `last` at calendar borders; nothing if `last` lies before `first`."""
    found: list[Span] = []
    while first <= last:
        end = min(_last_day(first, by), last)
        found.append(Span(first, end))
        if end == date.max:
            break
        first = end + _DAY
    return found


def _last_day(day: date, by: Literal["year", "month", "day"]) -> date:
    if by == "day":
        return day
    if by == "year":
        return day.replace(month=12, day=31)
    in_next_month = day.replace(day=28) + timedelta(days=4) if (day.year, day.month) != (9999, 12) else None
    return in_next_month.replace(day=1) - _DAY if in_next_month else day.replace(day=31)
