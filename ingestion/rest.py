"""A source of kind `rest`: any JSON API that pages, as its streams declare it.

Cursors (what the chain keeps between runs):

    full           {}
    full, windows  {"through": "2019-05-31"} while windows are left, else {}
    incremental    {"value": <cursor of the next request>}
    incremental, windows  {"value": …, "through": "2019-05-31"} until every window was read once, then {"value": …}
                   and `cursor_param` alone; without a `cursor_param` {"through": …}, whose day is read again
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from starberg.ingestion.batch import Batch
from starberg.ingestion.budget import BudgetLedger
from starberg.ingestion.crawl import ListSpec, PageSeen, Reading, Verdict, crawl
from starberg.ingestion.http_client import HttpClient
from starberg.ingestion.json_pages import at
from starberg.ingestion.source import Cursor, Extract, Planned
from starberg.ingestion.streams import SourceSpec, Stream, Window
from starberg.ingestion.watermark import Watermark
from starberg.ingestion.windows import Span, spans
from starberg.utils.clock import Clock
from starberg.utils.errors import SourceDataError

CHECKPOINT_REQUESTS = 500
"""After how many requests a windowed reading hands over what it has (`options.checkpoint_requests`)."""
_DAY = timedelta(days=1)


def open_source(
    spec: SourceSpec, secret_of: Callable[[str], str | None], ledger: BudgetLedger, clock: Clock
) -> RestSource:
    """Open an API as declared; nothing is sent yet. UsageError or CredentialsError if url or secret is missing."""
    return RestSource(HttpClient(spec, secret_of, ledger, clock), spec, clock)


class RestSource:
    """One API host, for one run."""

    def __init__(self, client: HttpClient, spec: SourceSpec, clock: Clock) -> None:
        self._client = client
        self._spec = spec
        self._clock = clock
        self.identity = client.host

    def extract(self, stream: Stream, cursor: Cursor | None, scratch: Path, *, full: bool) -> Iterator[Extract]:
        """Read a stream (see `Source.extract`): windows in several extracts, anything else in one."""
        start = {} if full or cursor is None else dict(cursor)
        extraction = _Extraction(self._client, self._spec, stream, scratch, self._clock, start)
        if stream.window and extraction.has_windows_left:
            yield from extraction.windows(stream.window)
        else:
            yield extraction.one_list()

    def plan(self, stream: Stream, cursor: Cursor | None) -> list[Planned]:
        """Say how many requests the next extraction will send; asks nothing."""
        extraction = _Extraction(self._client, self._spec, stream, Path(), self._clock, dict(cursor or {}))
        if stream.window and extraction.has_windows_left:
            left = len(extraction.todo(stream.window))
            return [Planned(f"{stream.name}: {left} windows", left, None)]
        return [Planned(f"{stream.name}: the list", 1, 1 if stream.pagination.kind == "none" else None)]


class _Extraction:
    """One stream read once."""

    def __init__(
        self,
        client: HttpClient,
        spec: SourceSpec,
        stream: Stream,
        scratch: Path,
        clock: Clock,
        start: Mapping[str, Any],
    ) -> None:
        self._client = client
        self._spec = spec
        self._stream = stream
        self._scratch = scratch
        self._clock = clock
        self._start = start
        self._incremental = stream.capture == "incremental"
        self._mark = Watermark(start.get("value"), spec.timezone, stream.name)
        self._batch = Batch(client, stream, clock)
        self._through: str | None = start.get("through")
        self._fits = True

    # One list

    def one_list(self) -> Extract:
        """Read the list once, or once more if its pages do not fit; only then and unfiltered it is whole."""
        filtered = self._filter()
        everything = not filtered
        params = {**self._stream.params, **filtered}
        spec = ListSpec(self._stream, params, self._scratch, inspect=self._look, rereads=1 if everything else 0)
        [reading] = crawl(self._client, [spec], self._spec.parallel)
        self._batch.add(reading)
        whole = everything and not reading.walk.mismatch
        if everything and not whole:
            self._batch.note(f"{reading.what}: read twice, no deletes are derived")
        return self._batch.hand_over(self._value(), whole=whole)

    def _filter(self) -> dict[str, str]:
        value = self._start.get("value")
        if not self._incremental or value is None or not self._stream.cursor_param:
            return {}
        return {self._stream.cursor_param: self._stream.cursor_format.format(value=value)}

    @property
    def _resumed(self) -> bool:
        return "through" in self._start

    def _value(self) -> dict[str, Any]:
        """Return the next cursor value; a backfill keeps its first, since windows it read then may change later."""
        if not self._incremental or not self._stream.cursor:
            return {}
        value = self._start.get("value") if self._resumed else self._mark.value
        return {} if value is None else {"value": value}

    def _look(self, page: PageSeen) -> Verdict:
        """Follow the cursor column, and check that the server filtered by it."""
        values = self._follow(page)
        if self._filter() and self._stream.verify_filter:
            self._check_filtered(page.name, values)
        return Verdict()

    def _follow(self, page: PageSeen) -> list[Any]:
        if not self._incremental or not self._stream.cursor:
            return []
        path = self._stream.path_of(self._stream.cursor)
        values = [at(record, path) for record in page.records]
        self._mark.start(page.answer.reply.answered_at or self._clock.now())
        self._mark.see(values)
        return values

    def _check_filtered(self, name: str, values: list[Any]) -> None:
        param = self._stream.cursor_param
        asked = self._mark.coarsest(self._start["value"], self._filter()[param])
        below = [value for value in values if value is not None and self._mark.is_below(value, asked)]
        if below:
            raise SourceDataError(
                f"{name}: the server ignores {param}: asked for {self._stream.cursor} from {asked}, got {below[0]}",
                hint=f"Check {param} and cursor_format, or set verify_filter: false",
            )

    # Windows

    @property
    def has_windows_left(self) -> bool:
        """Tell whether windows are to be read: always, unless the stream now follows `cursor_param`."""
        follows = self._incremental and bool(self._stream.cursor_param) and "value" in self._start
        return self._resumed or not follows

    def windows(self, window: Window) -> Iterator[Extract]:
        """Read windows in order, handing over after each `checkpoint_requests` requests; a stop loses none of them.

        Deletes are derived, from an extract of all keys at the end, only if all windows were read now and fit.
        """
        lists = [self._piece(window, span) for span in self.todo(window)]
        readings = self._noting(crawl(self._client, lists, self._spec.parallel))
        limit = int(self._stream.options.get("checkpoint_requests", CHECKPOINT_REQUESTS))
        yield from self._batch.in_parts(readings, limit, self._after)
        yield from self._conclude()

    def _noting(self, readings: Iterator[Reading]) -> Iterator[Reading]:
        for reading in readings:
            self._fits = self._fits and not reading.walk.mismatch
            self._through = str(reading.spec.span.last) if reading.spec.span else self._through
            yield reading

    def _after(self, _reading: Reading) -> dict[str, Any]:
        return {"through": self._through, **self._value()}

    def _conclude(self) -> Iterator[Extract]:
        whole = self._fits and not self._resumed and not self._incremental
        goes_by_window = self._incremental and not self._stream.cursor_param and self._through
        cursor = {"through": self._through} if goes_by_window else self._value()
        if not whole and not self._incremental:
            self._batch.note("not every window was read in one go, or pages did not fit: no deletes are derived")
        yield self._batch.hand_over(cursor)
        if whole:
            yield self._batch.hand_over_keys(cursor)

    def todo(self, window: Window) -> list[Span]:
        """Return the windows that are left."""
        end = self._clock.now().date() if window.end == "today" else window.end
        first = window.start
        if self._resumed:
            done = date.fromisoformat(self._start["through"])
            again = self._incremental and not self._stream.cursor_param  # its last day may have grown
            first = max(first, done if again else done + _DAY)
        return spans(first, end, window.by)

    def _piece(self, window: Window, span: Span) -> ListSpec:
        days = {"from": span.first.isoformat(), "to": span.last.isoformat()}
        filtered = {name: text.format(**days) for name, text in window.params.items()}
        return ListSpec(
            self._stream,
            {**self._stream.params, **filtered},
            self._scratch,
            label=str(span),
            inspect=lambda page: self._look_at_piece(window, span, page),
            instead=lambda _spec, total: self._halves(window, span, total),
            rereads=0 if self._incremental else 1,
            with_keys=not self._incremental,
            span=span,
        )

    def _halves(self, window: Window, span: Span, total: int | None) -> list[ListSpec]:
        if total is None or total <= window.ceiling:
            return []
        if span.is_one_day:
            raise SourceDataError(
                f"{self._stream.name} {span}: {total} records in one day, and a list shows {window.ceiling} at most"
            )
        return [self._piece(window, half) for half in span.halves()]

    def _look_at_piece(self, window: Window, span: Span, page: PageSeen) -> Verdict:
        if window.column:
            path = self._stream.path_of(window.column)
            check_within(span, [at(record, path) for record in page.records], ", ".join(window.params), page.name)
        self._follow(page)
        return Verdict()


def check_within(span: Span, values: Sequence[Any], params: str, name: str) -> None:
    """Raise SourceDataError if a date lies outside the days asked for; a day either way may be a matter of zones."""
    first, last = str(_moved(span.first, -_DAY)), str(_moved(span.last, _DAY))
    outside = [value for value in values if isinstance(value, str) and not first <= value[:10] <= last]
    if outside:
        raise SourceDataError(f"{name}: the server ignores {params}: asked for {span}, got {outside[0]}")


def _moved(day: date, by: timedelta) -> date:
    return day if day in (date.min, date.max) else day + by
