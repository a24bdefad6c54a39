"""Reads lists of records over one client: many pages at once, spooled in order, finished lists given out in order.

A `Reading` is one list: a walk over its pages, the spool they go to, and what its owner wants to know of each page.
`crawl` drives any number of readings. Worker threads only fetch and parse; everything else happens in the caller's
thread in the order asked, so the same answers give the same files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starberg.ingestion.http_client import Answer, HttpClient, NotFound
from starberg.ingestion.json_pages import Decoder, at, decoder_of
from starberg.ingestion.pagination import Ask, PageFacts, PagingLoops, Params, walk
from starberg.ingestion.spool import Spool
from starberg.ingestion.streams import Stream
from starberg.ingestion.windows import Span
from starberg.utils.errors import SourceDataError, StarbergError

_ABSENT = object()


@dataclass(frozen=True)
class PageSeen:
    """One page as the owner of a reading sees it."""

    name: str
    """For errors: stream, list and page."""
    records: Sequence[Any]
    answer: Answer


@dataclass(frozen=True)
class Verdict:
    """What the owner says of a page: which records it wants (None: all), whether it wants no further page."""

    keep: Sequence[bool] | None = None
    enough: bool = False


def keep_all(_page: PageSeen) -> Verdict:
    """Want every record of every page."""
    return Verdict()


@dataclass(frozen=True)
class ListSpec:
    """Which list to read, and how its owner takes part."""

    stream: Stream
    params: Params
    scratch: Path
    label: str = ""
    """Names the list in errors, after the stream."""
    inspect: Callable[[PageSeen], Verdict] = keep_all
    instead: Callable[[ListSpec, int | None], list[ListSpec]] = lambda _spec, _total: []
    """Given the total its first page states, the lists to read in its place; none: go on."""
    rereads: int = 0
    """How often it is read again if its pages do not fit together."""
    with_keys: bool = False
    """Also spool the keys of all its records, wanted or not."""
    span: Span | None = None
    """The days it is about."""
    most: int | None = None
    """How many pages may be read of it."""
    position: int | None = None
    """The page number to begin at, unless it is the first."""
    looks_at: frozenset[str] | None = None
    """The fields of a record, beside its key, that `inspect` looks at; None: any."""
    any_part: bool = False
    """Its pages are of use without those after them: if one fails, those before it are given out ahead of the error."""


class Reading:
    """One list being read."""

    def __init__(self, spec: ListSpec) -> None:
        self.spec = spec
        self.what = f"{spec.stream.name} {spec.label}".strip()
        self.walk = walk(spec.stream.pagination, spec.params, self.what, spec.most, spec.position)
        self.decoder = decoder_for(spec)
        self.spool = Spool(spec.stream, spec.scratch)
        self.key_spool = Spool(spec.stream, spec.scratch)
        self.under_way: deque[tuple[Ask, Future[Answer | None]]] = deque()
        self.replaced_by: list[ListSpec] = []
        self.failed = False
        """A page could not be read; it ends before that."""

    @property
    def finished(self) -> bool:
        """Tell whether all its pages are in the spool, or other lists are to be read in its place."""
        return self.failed or bool(self.replaced_by) or self.walk.finished

    def ends_here(self) -> bool:
        """End the list before a page that could not be read; False if what came before it is of no use."""
        self.failed = self.spec.any_part and self.walk.pages > 0
        self.walk.stop()
        self._cancel()
        self.spool.close()
        return self.failed

    def has_room(self) -> bool:
        """Tell whether another page may be asked for: few at once, and few waiting for one before them."""
        at_once = self.spec.stream.pagination.parallel
        running = sum(not future.done() for _, future in self.under_way)
        return running < at_once and len(self.under_way) < 2 * at_once

    def fetch(self, client: HttpClient, ask: Ask) -> Answer | None:
        """Get one page (in a worker thread); None where 404 ends the list."""
        try:
            path = ask.url or self.spec.stream.path
            return client.get(path, ask.params, f"{self.what} {ask.label}", self.spec.scratch, self.decoder)
        except NotFound:
            if not self.walk.tolerates_missing(ask):
                raise
            return None

    def take(self) -> None:
        """Take the first page under way, waiting for it; raises what fetching or checking it raised."""
        ask, future = self.under_way.popleft()
        answer = future.result()
        try:
            if answer is None:
                self.walk.accept(ask, PageFacts(rows=0, missing=True))
            else:
                self._accept(ask, answer)
        except PagingLoops:  # or rows moved on by a page while it was read
            if not self.spec.rereads:
                raise
            return self._read_again()
        if self.walk.finished:
            self._finish()
        return None

    def _accept(self, ask: Ask, answer: Answer) -> None:
        name = f"{self.what} {ask.label}"
        records = records_of(self.spec.stream, answer, name)
        facts = facts_of(self.spec.stream, answer, records)
        if not self.walk.pages:
            self.replaced_by = self.spec.instead(self.spec, facts.total)
        if self.replaced_by:
            return
        verdict = self.spec.inspect(PageSeen(name, records, answer))
        self.walk.accept(ask, replace(facts, enough=verdict.enough))
        if records:
            self.spool.add(answer.reply.url, answer.body, verdict.keep)
        if records and self.spec.with_keys:
            self.key_spool.add_keys(answer.reply.url, records)

    def _finish(self) -> None:
        self.spool.close()
        self.key_spool.close()
        if self.walk.mismatch and self.spec.rereads:
            self._read_again()

    def _cancel(self) -> None:
        while self.under_way:
            self.under_way.popleft()[1].cancel()

    def _read_again(self) -> None:
        self._cancel()
        self.spool.remove()
        self.key_spool.remove()
        self.replaced_by = [replace(self.spec, rereads=self.spec.rereads - 1)]


def decoder_for(spec: ListSpec) -> Decoder | None:
    """Return what reads no more of a page than the list's owner and its walk look at; None: all."""
    if spec.looks_at is None:
        return None
    paging = spec.stream.pagination
    fields = {*spec.looks_at, *map(spec.stream.path_of, spec.stream.key), paging.key}
    beside = _tops({paging.total, paging.next})
    if spec.stream.records.split(".")[0] in beside:
        return None
    return decoder_of(spec.stream.records, _tops(fields), beside)


def _tops(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path.split(".")[0] for path in paths if path)


def records_of(stream: Stream, answer: Answer, name: str) -> list[Any]:
    """Return a page's records; null is an empty list, anything else but a list is a SourceDataError."""
    records = at(answer.body.data, stream.records, _ABSENT)
    if records is None:
        return []
    if not isinstance(records, list):
        where = f"at {stream.records!r}" if stream.records else "at the top of the body"
        raise SourceDataError(f"{name}: no list of records {where}", hint="Check `records` of the stream")
    return records


def facts_of(stream: Stream, answer: Answer, records: Sequence[Any]) -> PageFacts:
    """Return what the walk needs to know of a page."""
    paging = stream.pagination
    paths = [stream.path_of(name) for name in stream.key]
    keys = [[at(record, path) for path in paths] for record in records]
    hashes = [hash(repr(key)) for key in keys if None not in key]
    return PageFacts(
        rows=len(records),
        keys=hashes,
        fingerprint=hash(tuple(hashes)) if hashes else hash(answer.body.raw),
        total=_total(paging.total, answer),
        next=_next(stream, answer, records),
    )


def _total(where: str, answer: Answer) -> int | None:
    header = where.removeprefix("header:")
    stated = answer.reply.headers.get(header) if header != where else where and at(answer.body.data, where)
    try:
        total = int(stated)  # type: ignore[arg-type]  # what is no number is not stated
    except (TypeError, ValueError):
        return None
    return total if total >= 0 else None


def _next(stream: Stream, answer: Answer, records: Sequence[Any]) -> str:
    """Return the next cursor, absolute URL or key, as the kind of paging needs it."""
    paging = stream.pagination
    following: Any = None
    if paging.kind == "keyset":
        following = at(records[-1], paging.key) if records else None
    elif paging.kind == "link":
        following = answer.reply.next_link
    elif paging.kind in ("cursor", "url"):
        following = at(answer.body.data, paging.next)
    text = "" if following is None or following is False else str(following)
    return answer.reply.absolute(text) if text and paging.kind in ("link", "url") else text


def crawl(client: HttpClient, lists: Iterable[ListSpec], parallel: int) -> Iterator[Reading]:
    """Yield each list when it and all before it are read; lists read in place of another take its place.

    When a list fails, those before it are still finished and yielded (and its own pages that came before, if they are
    of use alone), then its error is raised.
    """
    waiting = deque(lists)
    begun: deque[Reading] = deque()
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="rest")
    failure: StarbergError | None = None
    try:
        while begun or waiting:
            _hand_out(begun, waiting, pool, client, parallel)
            _wait_for_a_page(begun)
            if stop := _take_what_came(begun):
                failure = stop
                waiting.clear()
            yield from _finished(begun)
    finally:
        pool.shutdown(cancel_futures=True)
    if failure:
        raise failure


def _hand_out(
    begun: deque[Reading], waiting: deque[ListSpec], pool: ThreadPoolExecutor, client: HttpClient, parallel: int
) -> None:
    """Ask for pages, those of the first lists first, and begin a list only when those before it leave room."""
    free = 2 * parallel - sum(len(reading.under_way) for reading in begun)
    for reading in _beginning(begun, waiting):
        while free > 0 and reading.has_room() and (ask := reading.walk.next_ask()):
            reading.under_way.append((ask, pool.submit(reading.fetch, client, ask)))
            free -= 1
        if free <= 0:
            return


def _beginning(begun: deque[Reading], waiting: deque[ListSpec]) -> Iterator[Reading]:
    """Yield the lists begun, then each waiting one, which is begun by that."""
    yield from begun
    while waiting:
        begun.append(Reading(waiting.popleft()))
        yield begun[-1]


def _wait_for_a_page(begun: deque[Reading]) -> None:
    """Return once the next page of any list is there."""
    if not any(reading.under_way and reading.under_way[0][1].done() for reading in begun):
        running = [future for reading in begun for _, future in reading.under_way if not future.done()]
        wait(running, return_when=FIRST_COMPLETED)


def _take_what_came(begun: deque[Reading]) -> StarbergError | None:
    """Take the pages whose turn it is; return the failure if a list failed, which drops all after it."""
    for number, reading in enumerate(begun):
        while reading.under_way and reading.under_way[0][1].done():
            try:
                reading.take()
            except StarbergError as failure:
                kept = number + 1 if reading.ends_here() else number
                while len(begun) > kept:
                    begun.pop().ends_here()
                return failure
    return None


def _finished(begun: deque[Reading]) -> Iterator[Reading]:
    while begun and begun[0].finished:
        reading = begun.popleft()
        if reading.replaced_by:
            begun.extendleft(Reading(spec) for spec in reversed(reading.replaced_by))
        else:
            yield reading
