"""Page walkers: which page to ask for next, given what the pages so far said. Pure: no requests, no records.

A walk hands out asks and is told what each page held, in the order it handed them out. Numbered walks (page, offset)
hand out all remaining asks once the total is known, so that they can be fetched at once; the others one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starberg.ingestion.streams import Pagination
from starberg.utils.errors import SourceDataError

Params = Mapping[str, Any]


class PagingLoops(SourceDataError):
    """A page came twice: the server pages in circles, or its rows moved by a page while they were read."""


@dataclass(frozen=True)
class Ask:
    """One page to fetch: parameters of the stream's path, or an absolute URL that has them all."""

    label: str
    """For people: `page=3`."""
    params: Params
    url: str = ""
    position: int = 0
    """Page number or offset of a numbered walk."""


@dataclass(frozen=True)
class PageFacts:
    """What a walk needs to know of a page."""

    rows: int
    keys: Sequence[int] = ()
    """A hash of each record's key; empty if the records have none."""
    fingerprint: int = 0
    """Equal for pages with equal records."""
    total: int | None = None
    """Rows of the whole list, as the server states it."""
    next: str = ""
    """The next cursor or URL; for keyset walks the last record's key; empty at the end."""
    missing: bool = False
    """The server answered 404."""
    enough: bool = False
    """The caller wants nothing past this page."""


class Walk:
    """The walk of a list that is one page; the other kinds derive from it."""

    def __init__(
        self, paging: Pagination, params: Params, what: str, most: int | None = None, position: int | None = None
    ) -> None:
        self._paging = paging
        self._from = position
        self._params = params
        self._what = what
        self._left = most
        self._ready: deque[Ask] = deque()
        self._waiting = 0
        self._fingerprints: set[int] = set()
        self._keys: set[int] = set()
        self._keyless = 0
        self._totals: set[int | None] = set()
        self.pages = 0
        self.rows = 0
        self.stopped = False
        """The caller wanted no more before the list ended."""
        self._ready.append(self._first())

    @property
    def cut_short(self) -> bool:
        """Tell whether there were more pages than it might read."""
        return bool(self._ready)

    # Handing out

    @property
    def finished(self) -> bool:
        """Tell whether every page was asked for and taken, or as many as there may be."""
        return not self._waiting and (not self._ready or self._left == 0)

    def next_ask(self) -> Ask | None:
        """Return the next page to fetch; None while that depends on pages still under way, and at the end."""
        if not self._ready or self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        self._waiting += 1
        return self._ready.popleft()

    def accept(self, ask: Ask, page: PageFacts) -> None:
        """Take a page, in the order asked. SourceDataError if the pages loop or there are too many of them."""
        self._waiting -= 1
        self._totals.add(page.total)
        if page.rows:
            self._note(ask, page)
        if page.enough:
            self.stop()
        if self.stopped or page.missing or not (page.rows or page.next):
            self._ready.clear()
            return
        self._ready.extend(self._following(ask, page))
        self._refuse_too_many()

    def stop(self) -> None:
        """Ask for no more pages."""
        self.stopped = True
        self._ready.clear()

    def tolerates_missing(self, ask: Ask) -> bool:
        """Tell whether 404 for this page means the end of the list rather than a wrong path."""
        return False

    def _note(self, ask: Ask, page: PageFacts) -> None:
        if page.fingerprint in self._fingerprints:
            raise self._loop(ask)
        self._fingerprints.add(page.fingerprint)
        self.pages += 1
        self.rows += page.rows
        self._keys.update(page.keys)
        self._keyless += page.rows - len(page.keys)

    def _loop(self, ask: Ask) -> PagingLoops:
        return PagingLoops(
            f"{self._what}: the server's paging loops at page {self.pages + 1} ({ask.label}): it was sent before",
            hint="Check `pagination` of the stream",
        )

    def _refuse_too_many(self) -> None:
        if self.pages + self._waiting + len(self._ready) > self._paging.max_pages:
            raise SourceDataError(
                f"{self._what}: more than {self._paging.max_pages} pages", hint="Raise pagination.max_pages"
            )

    # What it amounts to

    @property
    def distinct(self) -> int:
        """Return how many different records were seen."""
        return len(self._keys) + self._keyless

    @property
    def mismatch(self) -> str:
        """Say why the pages do not fit together, empty if they do.

        Rows that move up or down while paging are read twice or never; a moving total gives that away, and so do
        records seen twice.
        """
        if self.stopped or self.cut_short or self._from is not None:
            return f"{self.rows - self.distinct} records came twice" if self.rows != self.distinct else ""
        totals = self._totals - {None}
        if len(totals) > 1:
            return f"the stated total moved from {min(totals)} to {max(totals)}"  # type: ignore[type-var]
        if totals and self.distinct not in totals:
            return f"{self.distinct} different records came, the stated total is {totals.pop()}"
        if not totals and self.rows != self.distinct:
            return f"{self.rows - self.distinct} records came twice"
        return ""

    # What the kinds of paging differ in

    def _first(self) -> Ask:
        return Ask("the only page", self._sized())

    def _following(self, ask: Ask, page: PageFacts) -> list[Ask]:
        return []

    def _sized(self, **more: Any) -> dict[str, Any]:
        size = {self._paging.size_param: self._paging.size} if self._paging.size_param else {}
        return {**self._params, **size, **more}


class NumberedWalk(Walk):
    """page=1,2,… or offset=0,100,…; the step is what the first page held, whatever size was asked for."""

    _step = 0
    _total: int | None = None
    _position = 0
    """The next position to ask for."""

    def tolerates_missing(self, ask: Ask) -> bool:
        """Past its end a list may answer 404: more pages were promised than there are, or it shrank since last time."""
        return self.pages > 0 or ask.position > 1

    def _first(self) -> Ask:
        return self._ask(self._start if self._from is None else self._from)

    def _following(self, ask: Ask, page: PageFacts) -> list[Ask]:
        self._total = self._total if page.total is None else page.total
        if not self._step:
            self._step = page.rows
            self._position = ask.position + self._stride(page.rows)
        if self._total is None:
            self._position = ask.position + self._stride(page.rows)
            return [self._ask(self._position)]
        asks = self._gap(ask, page, self._total)
        while self._rows_before(self._position) < self._total:
            asks.append(self._ask(self._position))
            self._position += self._stride(self._step)
        return asks

    def _ask(self, position: int) -> Ask:
        param = self._paging.param
        return Ask(f"{param}={position}", self._sized(**{param: position}), position=position)

    @property
    def _start(self) -> int:
        return self._paging.start

    def _stride(self, rows: int) -> int:
        """Return how far a page of so many rows moves the position."""
        return 1

    def _rows_before(self, position: int) -> int:
        return (position - self._start) * self._step

    def _gap(self, ask: Ask, page: PageFacts, total: int) -> list[Ask]:
        """Return the asks for rows a short page left out."""
        return []


class OffsetWalk(NumberedWalk):
    """offset=0,100,…: a page shorter than the step leaves a gap, which is asked for."""

    @property
    def _start(self) -> int:
        return 0

    def _stride(self, rows: int) -> int:
        return rows

    def _rows_before(self, position: int) -> int:
        return position

    def _gap(self, ask: Ask, page: PageFacts, total: int) -> list[Ask]:
        reached = ask.position + page.rows
        return [self._ask(reached)] if reached < min(ask.position + self._step, total) else []


class FollowingWalk(Walk):
    """Each page says what the next one is: a cursor, a URL, or its last key.

    A page may be empty and have a successor (Google's AIP-158); an empty page that names a known one is the end.
    """

    def __init__(
        self, paging: Pagination, params: Params, what: str, most: int | None = None, position: int | None = None
    ) -> None:
        self._seen: set[str] = set()
        super().__init__(paging, params, what, most, position)

    def _first(self) -> Ask:
        return Ask("page 1", self._sized())

    def _following(self, ask: Ask, page: PageFacts) -> list[Ask]:
        known = page.next in self._seen
        if not page.next or (known and not page.rows):
            return []
        if known:
            raise self._loop(self._ask(page.next))
        self._seen.add(page.next)
        return [self._ask(page.next)]

    def _ask(self, following: str) -> Ask:
        label = f"page {self.pages + 1}"
        if self._paging.kind in ("url", "link"):
            return Ask(label, {}, url=following)
        return Ask(label, self._sized(**{self._paging.param: following}))


_KINDS: dict[str, type[Walk]] = {
    "none": Walk,
    "page": NumberedWalk,
    "offset": OffsetWalk,
    "cursor": FollowingWalk,
    "keyset": FollowingWalk,
    "url": FollowingWalk,
    "link": FollowingWalk,
}


def walk(paging: Pagination, params: Params, what: str, most: int | None = None, position: int | None = None) -> Walk:
    """Start a walk of at most `most` pages; `what` names stream and list in errors.

    `position` is the page number or offset to begin at: a list of numbered pages need not be read from its start.
    """
    return _KINDS[paging.kind](paging, params, what, most, position)
