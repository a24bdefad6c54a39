"""What an extractor is: it fetches what changed in one stream and leaves it in local files for landing.

A source knows nothing of Parquet, chains or tables. It is given the stream, the cursor of the chain's last load and a
scratch folder; it writes what the source said into spool files and returns an `Extract`. `landing.py` turns the
extract into changed rows and commits them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from starberg.ingestion.streams import Stream

Cursor = Mapping[str, Any]
"""Where the next extraction starts: a JSON object only the source understands."""


@dataclass(frozen=True)
class Extract:
    """What one extraction fetched: zero or more spool files of pages, and the cursor after them.

    `spools` are files with one JSON envelope `{"page": <where it came from>, "records": [<record>, …]}` a line, each
    record in the server's own text; an envelope may be as large as `largest_envelope` bytes. A record whose text is not
    valid Unicode is replaced by `{"_unreadable": <its text, escaped>, <its key, if readable>}`. Of records with one key
    the last stands.
    `whole` says that every live key of the stream was seen, so that absent keys are deletes.
    `keys_only` says that the records hold keys only (an id sweep): absent keys are deletes, present ones change
    nothing. `requests` and `bytes_read` are what this extract cost.
    """

    spools: tuple[Path, ...]
    cursor: Cursor
    observed_at: datetime
    """When its reading began (UTC), but for a few pages asked ahead."""
    whole: bool = False
    keys_only: bool = False
    requests: int = 0
    bytes_read: int = 0
    largest_envelope: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """How many requests a part of a stream's next extraction will send, as far as can be told without asking."""

    part: str
    at_least: int
    at_most: int | None
    """None: nobody knows before asking."""


class Source(Protocol):
    """One API host or database, opened for one run."""

    identity: str
    """Who answers: API host, or system identifier and database. A changed identity stops the run."""

    def extract(self, stream: Stream, cursor: Cursor | None, scratch: Path, *, full: bool) -> Iterator[Extract]:
        """Fetch what changed since `cursor` (None: from the start), in one or more extracts to be landed in order.

        Each yielded extract is complete in itself: the caller commits it while the next ones are read, so a stop
        loses a few at most. `full` asks for every row whatever the cursor says.

        Raises QuotaSpent or CredentialsError (exit 7), Unreachable (exit 6), SourceDataError (a page is not readable).
        """

    def plan(self, stream: Stream, cursor: Cursor | None) -> list[Planned]:
        """Say how many requests the next extraction will send; asks nothing."""
