"""The watermark: never past a change that could still be unseen, never backwards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from starberg.ingestion.watermark import Watermark
from starberg.utils.errors import SourceDataError

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def mark(values: list[Any], *, asked: Any = None, started: datetime | None = NOON, timezone: str = "UTC") -> Any:
    watermark = Watermark(asked, timezone, "items")
    if started:
        watermark.start(started)
    watermark.see(values)
    return watermark.value


@pytest.mark.parametrize(
    ("values", "greatest"),
    [
        ([3, 10, None, 7], 10),
        (["9", "10", "8"], "10"),
        (["2026-01-02", "2026-01-10"], "2026-01-10"),
        (["2026-01-01T10:00:00Z", "2026-01-01T10:00:00.5Z"], "2026-01-01T10:00:00.5Z"),
        (["2026-01-01T10:00:00+02:00", "2026-01-01T09:00:00Z"], "2026-01-01T09:00:00Z"),
        (["a", "c", "b"], "c"),
        ([None], None),
        ([], None),
    ],
)
def test_the_greatest_value_is_kept_as_it_was_sent(values: list[Any], greatest: Any) -> None:
    assert mark(values) == greatest


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("2026-11-21T12:00:30Z", "2026-11-21T12:00:00Z"),
        ("2026-11-21T12:00:30.123Z", "2026-11-21T12:00:00Z"),
        ("2026-11-21T14:00:30+02:00", "2026-11-21T14:00:00+02:00"),
        ("2026-11-21 12:00:30", "2026-11-21 12:00:00"),
        ("2099-01-01", "2026-11-21"),
    ],
)
def test_a_change_made_while_reading_does_not_move_it_past_the_start(sent: str, held: str) -> None:
    assert mark([sent]) == held


def test_stamps_without_zone_are_in_the_sources_zone() -> None:
    assert mark(["2026-11-21T13:00:30"], timezone="Europe/Paris") == "2026-11-21T13:00:00"
    assert mark(["2026-11-21T12:59:59"], timezone="Europe/Paris") == "2026-11-21T12:59:59"


def test_it_never_moves_back() -> None:
    assert mark(["2026-01-01"], asked="2026-02-01") == "2026-02-01"
    assert mark(["2026-03-01T00:00:00Z"], asked="2026-02-01T00:00:00Z", started=datetime(2020, 1, 1, tzinfo=UTC)) == (
        "2026-02-01T00:00:00Z"
    )
    assert mark([], asked=5) == 5


def test_values_of_two_kinds_are_no_cursor() -> None:
    with pytest.raises(SourceDataError, match="items: cursor values 5 and 'abc' cannot be compared"):
        mark([5, "abc"])
