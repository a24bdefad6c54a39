"""From finished readings to an `Extract`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from starberg.ingestion.crawl import Reading
from starberg.ingestion.http_client import HttpClient
from starberg.ingestion.source import Cursor, Extract
from starberg.ingestion.spool import Spool
from starberg.ingestion.streams import Stream
from starberg.utils.clock import Clock
from starberg.utils.errors import StarbergError


class Batch:
    """The readings of one stream that are not handed over yet, and what they cost."""

    def __init__(self, client: HttpClient, stream: Stream, clock: Clock) -> None:
        self._client = client
        self._stream = stream
        self._clock = clock
        self._key_spools: list[Spool] = []
        self._begin()

    def _begin(self) -> None:
        self._spools: list[Spool] = []
        self._notes: list[str] = []
        self._sent = self._client.sent
        self._read = self._client.bytes_read
        self._started = self._clock.now()
        self.empty = True

    @property
    def requests(self) -> int:
        """Return how many requests were sent since the last extract."""
        return self._client.sent - self._sent

    def add(self, reading: Reading) -> None:
        """Take a finished reading; what did not fit in it becomes a note."""
        self.empty = False
        self._spools.append(reading.spool)
        self._key_spools.append(reading.key_spool)
        if reading.walk.mismatch:
            self.note(f"{reading.what}: {reading.walk.mismatch}")

    def note(self, text: str) -> None:
        """Add a line for the run's log."""
        self._notes.append(text)

    def in_parts(
        self, readings: Iterator[Reading], limit: int, cursor: Callable[[Reading], Cursor]
    ) -> Iterator[Extract]:
        """Take readings, handing over after each `limit` requests, and what is there before an error is raised.

        `cursor` says where to go on after a reading. What was taken since the last part stays for the caller.
        """
        failure: StarbergError | None = None
        last: Reading | None = None
        try:
            for last in readings:
                self.add(last)
                if self.requests >= limit:
                    yield self.hand_over(cursor(last))
        except StarbergError as stop:
            failure = stop
        if failure:
            if last and not self.empty:
                yield self.hand_over(cursor(last))
            raise failure

    def hand_over(self, cursor: Cursor, *, whole: bool = False) -> Extract:
        """Return the records read since the last time."""
        return self._extract(self._spools, cursor, whole=whole)

    def hand_over_keys(self, cursor: Cursor, spools: Sequence[Spool] = ()) -> Extract:
        """Return the keys of everything read since the start, or those in `spools`: what is not there is gone."""
        return self._extract(spools or self._key_spools, cursor, whole=True, keys_only=True)

    def _extract(self, spools: Sequence[Spool], cursor: Cursor, *, whole: bool, keys_only: bool = False) -> Extract:
        written = [spool for spool in spools if spool.exists]
        extract = Extract(
            spools=tuple(spool.path for spool in written),
            cursor=cursor,
            observed_at=self._started,
            whole=whole,
            keys_only=keys_only,
            requests=self.requests,
            bytes_read=self._client.bytes_read - self._read,
            largest_envelope=max((spool.largest for spool in written), default=0),
            notes=tuple(self._notes),
        )
        self._begin()
        return extract
