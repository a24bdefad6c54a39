"""RAWG's API as a source: what is its own, on top of the REST source.

Facts it rests on: a page holds 40 rows at most, larger wishes are cut without a word; a list with a filter shows its
first 10,000 games and has a slimmer shape, the list without filter has neither limit; 401 also means that the month's
quota is spent; `next` links carry the key, so pages are numbered here and links never followed.

Streams on /games are read by rawg_games.py; everything else (genres, platforms, stores, tags) is a full list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from starberg.ingestion.budget import BudgetLedger
from starberg.ingestion.http_client import HttpClient
from starberg.ingestion.rawg_games import GamesReading, games_plan
from starberg.ingestion.rawg_lists import FullShape, GameLists, full_plan
from starberg.ingestion.rawg_scope import RawgOptions
from starberg.ingestion.rest import RestSource
from starberg.ingestion.source import Cursor, Extract, Planned
from starberg.ingestion.streams import Pagination, SourceSpec, Stream
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, DeclarationError, QuotaSpent, StarbergError

PAGING = Pagination(kind="page", param="page", size_param="page_size", size=40, total="count")


def open_source(
    spec: SourceSpec, secret_of: Callable[[str], str | None], ledger: BudgetLedger, clock: Clock
) -> RawgSource:
    """Open the API; nothing is sent yet. CredentialsError says where to get a key."""
    if not secret_of(spec.auth.secret):
        raise CredentialsError(
            f"source {spec.name} has no RAWG key", hint=f"Set {spec.auth.secret} (get one at rawg.io/apidocs)"
        )
    return RawgSource(HttpClient(spec, secret_of, ledger, clock, refusal=refusal), spec, clock)


def refusal(what: str, status: int, text: str) -> StarbergError:
    """Tell a spent quota from a refused key: RAWG answers 401 to both."""
    if "limit" in text.lower():
        hint = "What was fetched is kept; the next run after the quota is renewed continues"
        return QuotaSpent(f"{what}: RAWG's monthly request quota is spent", hint=hint)
    hint = "Set RAWG_API_KEY (get one at rawg.io/apidocs)"
    return CredentialsError(f"{what}: RAWG refused the key ({status}: {text})", hint=hint)


class RawgSource:
    """The RAWG API, for one run."""

    def __init__(self, client: HttpClient, spec: SourceSpec, clock: Clock) -> None:
        self._client = client
        self._spec = spec
        self._clock = clock
        self._lists = RestSource(client, spec, clock)
        self.identity = client.host

    def extract(self, stream: Stream, cursor: Cursor | None, scratch: Path, *, full: bool) -> Iterator[Extract]:
        """Read a stream (see `Source.extract`)."""
        stream = with_paging(stream, self._spec.parallel)
        if not is_games(stream):
            yield from self._lists.extract(stream, cursor, scratch, full=full)
            return
        options = options_of(stream)
        kind: type[GameLists] = FullShape if options.shape == "full" else GamesReading
        start = None if full else cursor
        yield from kind(self._client, self._spec, stream, options, scratch, self._clock, start).extracts()

    def plan(self, stream: Stream, cursor: Cursor | None) -> list[Planned]:
        """Say how many requests the next extraction will send; asks nothing."""
        if not is_games(stream):
            return self._lists.plan(with_paging(stream, 1), cursor)
        options = options_of(stream)
        plan = full_plan if options.shape == "full" else games_plan
        return plan(stream.name, options, cursor, self._clock.now().date())


def is_games(stream: Stream) -> bool:
    """Tell whether a stream is the list of games."""
    return stream.path.strip("/") == "games"


def with_paging(stream: Stream, parallel: int) -> Stream:
    """Return the stream with RAWG's paging, unless it declares its own; of members many pages are asked at once."""
    if stream.pagination.kind != "none":
        return stream
    # Of games many lists are read at once, and each ends where nothing more is wanted.
    paging = PAGING if is_games(stream) else PAGING.model_copy(update={"parallel": parallel})
    return stream.model_copy(update={"pagination": paging})


def options_of(stream: Stream) -> RawgOptions:
    """Read `options`; DeclarationError names the field that is wrong."""
    try:
        return RawgOptions.model_validate(stream.options)
    except ValidationError as fault:
        [first, *_] = fault.errors()
        name = ".".join(map(str, first["loc"]))
        raise DeclarationError(f"stream {stream.name}: options.{name}", first["msg"]) from None
