"""Asking RAWG for lists of games, and the games' full shape.

A list with a filter is slim; only the list without filter (and a detail call, for one game a request) has `released_at`
and `requirements` of platforms. So `shape: full` reads that list, most added first and down to the scope's `min_added`,
40 games a request, `detail_budget` requests a run. Its cursor: `page` (next one), or `done` (day the end was reached).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from starberg.ingestion.batch import Batch
from starberg.ingestion.crawl import ListSpec, PageSeen, Reading, Verdict, crawl
from starberg.ingestion.http_client import HttpClient
from starberg.ingestion.rawg_scope import RawgOptions, Scope
from starberg.ingestion.source import Cursor, Extract, Planned
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.utils.clock import Clock

_LOOKED_AT = frozenset({"id", "added", "released", "updated"})
MOST_ADDED_FIRST = {"ordering": "-added"}


class GameLists(ABC):
    """Asks for lists of games; one per extraction."""

    def __init__(
        self,
        client: HttpClient,
        spec: SourceSpec,
        stream: Stream,
        options: RawgOptions,
        scratch: Path,
        clock: Clock,
        cursor: Cursor | None,
    ) -> None:
        self._client = client
        self._parallel = spec.parallel
        self._stream = stream
        self._options = options
        self._scratch = scratch
        self._scope = Scope(options)
        self._today = clock.now().date()
        self._cursor = cursor
        self._batch = Batch(client, stream, clock)

    @abstractmethod
    def extracts(self) -> Iterator[Extract]:
        """Read what is due."""

    def _list(
        self, params: Mapping[str, Any], label: str, inspect: Callable[[PageSeen], Verdict], **more: Any
    ) -> ListSpec:
        params = {**self._stream.params, **params}
        return ListSpec(
            self._stream, params, self._scratch, label=label, inspect=inspect, rereads=1, looks_at=_LOOKED_AT, **more
        )

    def _crawl(self, *lists: ListSpec) -> Iterator[Reading]:
        return crawl(self._client, lists, self._parallel)

    def _unfiltered(
        self, label: str, page: int, params: Mapping[str, Any], inspect: Callable[[PageSeen], Verdict], **more: Any
    ) -> Iterator[tuple[Reading, int | None]]:
        """Read pages of the list without filter; yield them with where to go on, None at its end.

        The last page is read again next time: rows may have moved on to it meanwhile.
        """
        position = page if page > 1 else None
        spec = self._list(params, label, inspect, position=position, any_part=True, **more)
        paging = spec.stream.pagination.model_copy(update={"parallel": self._parallel})
        spec = replace(spec, stream=spec.stream.model_copy(update={"pagination": paging}))
        for reading in self._crawl(spec):
            ended = not reading.failed and (reading.walk.stopped or not reading.walk.cut_short)
            yield reading, None if ended else page + max(1, reading.walk.pages - 1)

    def _wanted(self, page: PageSeen) -> list[bool]:
        return [self._scope.holds(game, self._today) for game in page.records]


class FullShape(GameLists):
    """One extraction of a full stream."""

    def extracts(self) -> Iterator[Extract]:
        """Go on where the last run stopped; nothing for `detail_days` after the list was read to its end."""
        start = dict(self._cursor or {})
        if not is_full_due(start, self._options, self._today):
            return
        self._page: int | None = start.get("page", 1)
        limit = self._options.checkpoint_requests
        yield from self._batch.in_parts(self._pages(), limit, lambda _reading: self._place())
        if not self._batch.empty:
            yield self._batch.hand_over(self._place())

    def _pages(self) -> Iterator[Reading]:
        left = self._options.detail_budget
        while self._page and left > 0:
            before = self._client.sent
            most = min(self._options.checkpoint_requests, left)
            for reading, following in self._unfiltered("by added", self._page, MOST_ADDED_FIRST, self._look, most=most):
                self._page = following
                yield reading
            left -= self._client.sent - before

    def _look(self, page: PageSeen) -> Verdict:
        return Verdict(self._wanted(page), enough=self._scope.is_past(page.records, self._options.min_added))

    def _place(self) -> dict[str, Any]:
        return {"page": self._page} if self._page else {"done": str(self._today)}


def is_full_due(cursor: Mapping[str, Any], options: RawgOptions, today: date) -> bool:
    """Tell whether pages of the full shape are to be read."""
    done = cursor.get("done")
    return not done or (today - date.fromisoformat(done)).days >= options.detail_days


def full_plan(name: str, options: RawgOptions, cursor: Cursor | None, today: date) -> list[Planned]:
    """Say what the next extraction of a full stream will send, without asking."""
    due = is_full_due(cursor or {}, options, today)
    return [Planned(f"{name}: the list without filter", 1, options.detail_budget)] if due else []
