"""Spans of days: they cover the range, never overlap, and end at single days."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starberg.ingestion.windows import Span, spans


def days(found: list[Span]) -> list[date]:
    return [span.first + timedelta(days=n) for span in found for n in range((span.last - span.first).days + 1)]


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(-5, 900), st.sampled_from(["year", "month", "day"]))
def test_spans_cover_every_day_once(first: date, length: int, by: str) -> None:
    last = first + timedelta(days=length)
    assert days(spans(first, last, by)) == [first + timedelta(days=n) for n in range(length + 1)]  # type: ignore[arg-type]


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(1, 900))
def test_halves_cover_every_day_once(first: date, length: int) -> None:
    whole = Span(first, first + timedelta(days=length))
    assert days(list(whole.halves())) == days([whole])


def test_borders_are_the_calendars() -> None:
    found = spans(date(2023, 12, 15), date(2024, 3, 2), "month")
    assert [str(span) for span in found] == [
        "2023-12-15 to 2023-12-31", "2024-01-01 to 2024-01-31", "2024-02-01 to 2024-02-29", "2024-03-01 to 2024-03-02",
    ]  # fmt: skip
    assert str(Span(date(2024, 1, 1), date(2024, 1, 1))) == "2024-01-01"


@pytest.mark.parametrize("by", ["year", "month", "day"])
def test_the_last_day_there_is_ends_it(by: str) -> None:
    assert spans(date(9999, 12, 1), date.max, by)[-1].last == date.max  # type: ignore[arg-type]
