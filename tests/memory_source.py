"""A source that says what a test tells it to: `kind: memory`, with any text as its url.

with playing("memory"):
    feed = feed_of("memory:films")
    feed.say("films", Said([[{"id": 1}]], whole=True))
    lake.run("films")
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from starberg.ingestion.budget import BudgetLedger
from starberg.ingestion.ingest_pipeline import SOURCES
from starberg.ingestion.source import Cursor, Extract, Planned
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.utils.clock import Clock

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """One extract: pages of records in the order they are read; `whole` and `keys_only` as in `Extract`."""

    pages: Sequence[Sequence[Record]]
    whole: bool = False
    keys_only: bool = False

    @property
    def records(self) -> list[Record]:
        """All records, in order."""
        return [record for page in self.pages for record in page]


@dataclass
class Feed:
    """What one source says at its next reading, by stream; `heard` notes what was read, and when."""

    identity: str = "memory"
    next: dict[str, list[Said]] = field(default_factory=lambda: defaultdict(list))
    heard: list[tuple[str, Said, datetime]] = field(default_factory=list)

    def say(self, stream: str, *said: Said) -> None:
        self.next[stream] += said


_feeds: dict[str, Feed] = defaultdict(Feed)


def feed_of(url: str) -> Feed:
    """Return the feed behind a source's url."""
    return _feeds[url]


@contextmanager
def playing(*kinds: str) -> Iterator[None]:
    """Let this module be the sources of some kinds; all feeds start empty."""
    before = dict(SOURCES)
    SOURCES.update(dict.fromkeys(kinds, __name__))
    _feeds.clear()
    try:
        yield
    finally:
        SOURCES.clear()
        SOURCES.update(before)


@dataclass(frozen=True)
class MemorySource:
    """Reads a feed into spool files."""

    feed: Feed
    clock: Clock

    @property
    def identity(self) -> str:
        return self.feed.identity

    def plan(self, stream: Stream, cursor: Cursor | None) -> list[Planned]:
        del cursor
        return [Planned(stream.name, 1, 1)]

    def extract(self, stream: Stream, cursor: Cursor | None, scratch: Path, *, full: bool) -> Iterator[Extract]:
        del cursor, full
        for number, said in enumerate(self.feed.next.pop(stream.name, [])):
            path = scratch / f"{stream.name}-{number}.jsonl"
            path.write_text("".join(_envelope(n, page) for n, page in enumerate(said.pages, 1)))
            now = self.clock.now()
            self.feed.heard.append((stream.name, said, now))
            spools = (path,) if said.pages else ()
            yield Extract(spools, {}, now, whole=said.whole, keys_only=said.keys_only)
            self.clock.sleep(1)


def open_source(spec: SourceSpec, secret_of: Any, ledger: BudgetLedger, clock: Clock) -> MemorySource:
    del secret_of, ledger
    return MemorySource(_feeds[spec.url], clock)


def _envelope(page: int, records: Sequence[Record]) -> str:
    return json.dumps({"page": f"page {page}", "records": records}, ensure_ascii=False) + "\n"
