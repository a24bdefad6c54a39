"""Which games of the RAWG catalogue are wanted, and how its lists are cut to reach them. Pure."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, Literal

from pydantic import Field

from starberg.ingestion.json_pages import at
from starberg.ingestion.streams import Declared
from starberg.ingestion.windows import Span, spans

FAR = date(2199, 12, 31)
"""After every release date and every `updated`."""
_DAY = timedelta(days=1)
_MONTHS_AHEAD = timedelta(days=366)
_TAIL = 10


class RawgOptions(Declared):
    """`options:` of a stream of games."""

    shape: Literal["slim", "full"] = "slim"
    """slim: the scope by months of release, then what changed. full: the same games from the list without filter, which
    alone has `released_at` and `requirements` of platforms, a few pages each run."""
    released_from: date = date(2015, 1, 1)
    released_to: date | Literal["today", "open"] = "open"
    """Games without a release date are always wanted."""
    min_added: int = Field(default=10, ge=0)
    """Wanted games are on at least so many users' lists."""
    sweep_days: int = Field(default=7, ge=1)
    """How often the whole scope is read again, to find what disappeared and what no `updated` told."""
    ceiling: int = Field(default=10_000, ge=40)
    """How many games a list with a filter shows."""
    checkpoint_requests: int = Field(default=500, ge=1)
    detail_budget: int = Field(default=500, ge=1)
    """Requests a run may spend on the full shape."""
    detail_days: int = Field(default=30, ge=1)
    """How often the full shape is read from the start."""


class Scope:
    """The wanted games."""

    def __init__(self, options: RawgOptions) -> None:
        self._options = options
        self.floor = options.min_added - (options.min_added + 4) // 5
        """A sweep looks a fifth below `min_added`, so that a game which lost a follower is not taken for gone."""

    def __str__(self) -> str:
        return f"{self._options.released_from} to {self._options.released_to}, added >= {self._options.min_added}"

    def windows(self, today: date) -> list[Span]:
        """Return the months of release to read, and one window for what lies more than a year ahead."""
        first, last = self._options.released_from, self._end(today)
        near = min(last, max(today, first) + _MONTHS_AHEAD)
        months = spans(first, near, "month")
        return [*months, Span(near + _DAY, last)] if near < last else months

    def _end(self, today: date) -> date:
        to = self._options.released_to
        if to == "today":
            return today
        return FAR if to == "open" else to

    def holds(self, game: Any, today: date) -> bool:
        """Tell whether a record is wanted; one whose fields have other types is, for landing to judge."""
        added, released = at(game, "added"), at(game, "released")
        if isinstance(added, int) and added < self._options.min_added:
            return False
        return not isinstance(released, str) or str(self._options.released_from) <= released <= str(self._end(today))

    def is_past(self, games: Sequence[Any], floor: int) -> bool:
        """Tell whether a list ordered by `-added` has nothing wanted left after this page.

        The order may be a little older than the rows, so several of the last rows must agree.
        """
        added = [number for game in games if isinstance(number := at(game, "added"), int)]
        return bool(added) and max(added[-_TAIL:]) < floor


class IdSet:
    """Ids seen so far, small enough to be kept in a cursor (a bitmap, compressed: 80,000 of a million ids in 70 kB)."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self.ids = set(ids)

    def add(self, games: Iterable[Any]) -> bool:
        """Add the ids of records; False if one has none that can be read."""
        found = [_whole_number(at(game, "id")) for game in games]
        self.ids.update(number for number in found if number is not None)
        return None not in found

    def to_text(self) -> str:
        """Write them as ASCII text."""
        bits = bytearray(max(self.ids, default=-1) // 8 + 1)
        for number in self.ids:
            bits[number >> 3] |= 1 << (number & 7)
        return base64.b64encode(zlib.compress(bytes(bits))).decode()

    @classmethod
    def from_text(cls, text: str) -> IdSet:
        """Read what `to_text` wrote."""
        bits = zlib.decompress(base64.b64decode(text))
        return cls(index * 8 + bit for index, byte in enumerate(bits) if byte for bit in range(8) if byte >> bit & 1)


_LARGEST_ID = 100_000_000


def _whole_number(value: Any) -> int | None:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
    is_id = isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _LARGEST_ID
    return number if is_id else None
