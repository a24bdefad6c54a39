"""How far an incremental reading got: the greatest cursor value that cannot have a later neighbour. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from starberg.utils.errors import SourceDataError

Comparable = tuple[str, Any]


class Watermark:
    """The greatest cursor value over the pages read, held back to the server's clock at the first page.

    Without that, a row that changes while its page is already behind us would be passed over for good as soon as a
    later page shows a newer change. Cursors that are numbers cannot be held back: they promise to grow with every
    commit. `value` is what the server sent (or a time written the same way), for the next reading to start from,
    included.
    """

    def __init__(self, asked: Any, timezone: str, what: str) -> None:
        self._asked = asked
        self._zone: tzinfo = ZoneInfo(timezone)
        self._what = what
        self._greatest: Any = None
        self._started: datetime | None = None

    def start(self, server_now: datetime) -> None:
        """Note the server's clock at the first page; later calls change nothing."""
        self._started = self._started or server_now

    def see(self, values: list[Any]) -> None:
        """Take the cursor values of a page; nulls count for nothing."""
        present = [value for value in values if value is not None]
        for value in (self._greatest, *present) if present else ():
            if self._greatest is None or self.is_below(self._greatest, value):
                self._greatest = value

    def is_below(self, value: Any, other: Any) -> bool:
        """Compare two cursor values; SourceDataError if they are not of one kind."""
        (kind, left), (other_kind, right) = self._comparable(value), self._comparable(other)
        if kind != other_kind:
            raise SourceDataError(f"{self._what}: cursor values {value!r} and {other!r} cannot be compared")
        below: bool = left < right
        return below

    def coarsest(self, value: Any, sent: str) -> Any:
        """Return what a server can have filtered by: the text sent, if it is a cursor value too (a day, say)."""
        return sent if self._comparable(sent)[0] == self._comparable(value)[0] else value

    @property
    def value(self) -> Any:
        """Return where the next reading starts: never before where this one did."""
        held = self._held_back(self._greatest)
        if self._asked is None or (held is not None and self.is_below(self._asked, held)):
            return held
        return self._asked

    def _held_back(self, value: Any) -> Any:
        kind, moment = self._comparable(value)
        if kind != "time" or self._started is None or moment <= self._started:
            return value
        return _written_like(value, self._started, self._zone)

    def _comparable(self, value: Any) -> Comparable:
        if isinstance(value, int | float):
            return "number", value
        text = str(value)
        if text.isdigit():
            return "number", int(text)
        return ("time", moment) if (moment := self._moment(text)) else ("text", text)

    def _moment(self, text: str) -> datetime | None:
        if text[4:5] != "-":
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).astimezone(UTC)


def _written_like(example: str, moment: datetime, zone: tzinfo) -> str:
    """Write a time as a date, with Z, with an offset or without, as `example` is written."""
    shape = datetime.fromisoformat(example)
    if len(example) == len("2026-11-21"):
        return moment.astimezone(zone).date().isoformat()
    local = moment.astimezone(shape.tzinfo or zone).replace(microsecond=0)
    text = (local if shape.tzinfo else local.replace(tzinfo=None)).isoformat(sep=example[10])
    return text.removesuffix("+00:00") + "Z" if example.endswith("Z") else text
