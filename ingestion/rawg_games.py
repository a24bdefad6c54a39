"""Games of the scope in their slim shape: a stream on RAWG's /games is kept by two readings.

* The pass over the scope: one list by month of release (halved while over the ceiling), most added first and left once
  `added` falls below `min_added`; then the undated games, which are in no month: `ordering=released` up to the first
  dated one. It is done once, then weekly: it brings what changed without a new `updated`, and the ids it saw prove what
  is gone. It may take several runs; the ids it has seen, and those that changes bring meanwhile, travel in the cursor.
* The changes: `updated` from the watermark's day on, that day included, since the API knows days only.

Its cursor: `scope` (as text; another scope means a new pass), `updated` (the watermark's day), `passed_on` (day the
last complete pass began), `pass_requests` (what it cost), and `pass` while one is under way: `started`, `through` (last
day of the last window done), `undated_page` (next page of the undated; null: done), `seen` (ids, packed), `fits`
(whether deletes may be derived), `requests`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain
from typing import Any

from starberg.ingestion.crawl import ListSpec, PageSeen, Reading, Verdict
from starberg.ingestion.json_pages import at
from starberg.ingestion.rawg_lists import MOST_ADDED_FIRST, GameLists
from starberg.ingestion.rawg_scope import FAR, IdSet, RawgOptions, Scope
from starberg.ingestion.rest import check_within
from starberg.ingestion.source import Cursor, Extract, Planned
from starberg.ingestion.spool import Spool
from starberg.ingestion.windows import Span, spans
from starberg.utils.errors import SourceDataError

UNDATED_FIRST = {"ordering": "released"}
_DAY = timedelta(days=1)
_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass
class Pass:
    """A reading of the whole scope that is under way."""

    started: str
    through: str = ""
    undated_page: int | None = 1
    fits: bool = True
    requests: int = 0
    seen: IdSet = field(default_factory=IdSet)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a cursor."""
        return {**self.__dict__, "seen": self.seen.to_text()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Pass:
        """Read it from a cursor."""
        return cls(**{**value, "seen": IdSet.from_text(value["seen"])})


@dataclass
class GamesState:
    """What the cursor of a slim stream says."""

    scope: str
    updated: str = ""
    passed_on: str = ""
    pass_requests: int = 0
    under_way: Pass | None = None

    @classmethod
    def read(cls, cursor: Cursor | None, scope: str) -> GamesState:
        """Read a cursor; one of another scope keeps its watermark only."""
        if not cursor:
            return cls(scope)
        if cursor["scope"] != scope:
            return cls(scope, cursor["updated"])
        under_way = Pass.from_json(cursor["pass"]) if cursor.get("pass") else None
        return cls(scope, cursor["updated"], cursor["passed_on"], cursor["pass_requests"], under_way)

    def cursor(self) -> dict[str, Any]:
        """Write it."""
        under_way = {"pass": self.under_way.to_json()} if self.under_way else {}
        kept = {name: value for name, value in self.__dict__.items() if name != "under_way"}
        return {**kept, **under_way}

    def is_pass_due(self, today: date, every_days: int) -> bool:
        """Tell whether the scope is to be read (again)."""
        return not self.passed_on or (today - date.fromisoformat(self.passed_on)).days >= every_days

    def raise_mark(self, seen: str, no_later_than: str) -> None:
        """Move the watermark to the greatest day seen; a day still running when reading began may bring more."""
        self.updated = max(self.updated, min(seen, no_later_than))


class GamesReading(GameLists):
    """One extraction of a slim stream."""

    def extracts(self) -> Iterator[Extract]:
        """Read the changes since the watermark, then what is due of the pass over the scope."""
        self._state = GamesState.read(self._cursor, str(self._scope))
        if self._state.updated:
            yield self._changes(self._state.updated)
        if not self._state.under_way and self._state.is_pass_due(self._today, self._options.sweep_days):
            self._state.under_way = Pass(str(self._today))
        if self._state.under_way:
            yield from self._pass(self._state.under_way)

    # The changes

    def _changes(self, since: str) -> Extract:
        span = Span(date.fromisoformat(since), FAR)
        self._newest = since
        for reading in self._crawl(self._changed(span, splits=span.first <= self._today)):
            self._batch.add(reading)
            if self._is_full(reading):
                self._batch.note(f"{reading.what}: more changed than a list shows, so the scope is read anew")
                self._state.under_way = Pass(str(self._today))
        self._state.raise_mark(self._newest, str(self._today))
        return self._batch.hand_over(self._state.cursor())

    def _changed(self, span: Span, *, splits: bool) -> ListSpec:
        return self._list(
            {"updated": f"{span.first},{span.last}", **MOST_ADDED_FIRST},
            f"changed {span}",
            lambda page: self._look(page, span, "updated", "updated", self._options.min_added),
            instead=lambda _spec, total: self._by_day(span) if splits and self._is_over(total) else [],
            span=span,
        )

    def _by_day(self, span: Span) -> list[ListSpec]:
        days = [*spans(span.first, self._today, "day"), Span(self._today + _DAY, span.last)]
        return [self._changed(day, splits=False) for day in days]

    # The pass over the scope

    def _pass(self, under_way: Pass) -> Iterator[Extract]:
        self._newest = ""
        self._sent_before = self._client.sent - under_way.requests
        readings = chain(self._dated(under_way), self._undated(under_way))
        yield from self._batch.in_parts(
            readings, self._options.checkpoint_requests, lambda _reading: self._noted(under_way)
        )
        yield from self._conclude(under_way)

    def _noted(self, under_way: Pass) -> dict[str, Any]:
        under_way.requests = self._client.sent - self._sent_before
        self._state.raise_mark(self._newest, under_way.started)
        return self._state.cursor()

    def _dated(self, under_way: Pass) -> Iterator[Reading]:
        after = date.fromisoformat(under_way.through) + _DAY if under_way.through else date.min
        windows = [window for window in self._scope.windows(self._today) if window.last >= after]
        todo = [Span(max(window.first, after), window.last) for window in windows]
        for reading in self._crawl(*map(self._window, todo)):
            if self._is_full(reading):
                self._batch.note(f"{reading.what}: a list shows {self._options.ceiling} games, there are more")
            under_way.fits = under_way.fits and not reading.walk.mismatch and not self._is_full(reading)
            under_way.through = str(reading.spec.span.last) if reading.spec.span else ""
            yield reading

    def _window(self, span: Span) -> ListSpec:
        floor = self._scope.floor if self._state.passed_on else self._options.min_added
        return self._list(
            {"dates": f"{span.first},{span.last}", **MOST_ADDED_FIRST},
            f"released {span}",
            lambda page: self._look(page, span, "released", "dates", floor),
            instead=lambda _spec, total: self._halves(span, total),
            span=span,
        )

    def _halves(self, span: Span, total: int | None) -> list[ListSpec]:
        return [self._window(half) for half in span.halves()] if self._is_over(total) and not span.is_one_day else []

    def _undated(self, under_way: Pass) -> Iterator[Reading]:
        while page := under_way.undated_page:
            most = self._options.checkpoint_requests
            for reading, following in self._unfiltered(
                "undated", page, UNDATED_FIRST, self._look_at_undated, most=most
            ):
                under_way.undated_page = following
                under_way.fits = under_way.fits and not reading.walk.mismatch
                yield reading

    def _conclude(self, under_way: Pass) -> Iterator[Extract]:
        """Hand over what is left, then the ids seen; a stop between the two leaves the ids for the next run."""
        cursor = self._noted(under_way)
        self._state.passed_on, self._state.pass_requests = under_way.started, under_way.requests
        self._state.under_way = None
        if not under_way.fits:
            self._batch.note("rows moved while the scope was read, or an id was not readable: no deletes are derived")
            yield self._batch.hand_over(self._state.cursor())
            return
        yield self._batch.hand_over(cursor)
        keys = Spool(self._stream, self._scratch)
        keys.add_keys("ids seen", [{"id": number} for number in sorted(under_way.seen.ids)])
        keys.close()
        yield self._batch.hand_over_keys(self._state.cursor(), [keys])

    # Pages

    def _look(self, page: PageSeen, span: Span, column: str, param: str, floor: int) -> Verdict:
        """Check that the server filtered, note what the page tells, and stop below `floor`."""
        check_within(span, [at(game, column) for game in page.records], param, page.name)
        self._note(page)
        return Verdict(self._wanted(page), enough=self._scope.is_past(page.records, floor))

    def _look_at_undated(self, page: PageSeen) -> Verdict:
        self._note(page)
        released = [at(game, "released") for game in page.records]
        dated = [day for day in released if isinstance(day, str)]
        if dated != sorted(dated):
            raise SourceDataError(f"{page.name}: the server ignores ordering=released: {dated[0]} comes first")
        keep = [wanted and not isinstance(day, str) for wanted, day in zip(self._wanted(page), released, strict=True)]
        return Verdict(keep, enough=bool(dated))

    def _note(self, page: PageSeen) -> None:
        under_way = self._state.under_way
        if under_way and not under_way.seen.add(page.records):
            under_way.fits = False
        stamps = [at(game, "updated") for game in page.records]
        days = [stamp[:10] for stamp in stamps if isinstance(stamp, str) and _ISO_DAY.match(stamp)]
        self._newest = max([self._newest, *days])

    def _is_over(self, total: int | None) -> bool:
        return total is not None and total > self._options.ceiling

    def _is_full(self, reading: Reading) -> bool:
        return reading.walk.rows >= self._options.ceiling and not reading.walk.stopped


GAMES_A_MONTH = 3_600
"""As dense as RAWG's catalogue was seen: 10,000 games released within 84 days of 2025."""


def games_plan(name: str, options: RawgOptions, cursor: Cursor | None, today: date) -> list[Planned]:
    """Say what the next extraction of a slim stream will send, without asking."""
    state = GamesState.read(cursor, str(Scope(options)))
    plan = [Planned(f"{name}: changes since {state.updated}", 1, None)] if state.updated else []
    under_way = state.under_way or (Pass(str(today)) if state.is_pass_due(today, options.sweep_days) else None)
    if not under_way:
        return plan
    windows = [window for window in Scope(options).windows(today) if str(window.last) > under_way.through]
    if state.pass_requests:  # what it cost the last time
        left = max(len(windows), state.pass_requests - under_way.requests)
        return [*plan, Planned(f"{name}: {len(windows)} months of release and the undated", len(windows), left)]
    months = Planned(f"{name}: {len(windows)} months of release", len(windows), len(windows) * -(-GAMES_A_MONTH // 40))
    undated = [Planned(f"{name}: the undated", 1, None)] if under_way.undated_page else []
    return [*plan, months, *undated]
