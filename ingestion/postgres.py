"""A source of kind `postgres`: the tables of one database, each read through DuckDB's scanner in one snapshot.

A plain connection holds the table's lock, reads the catalog and notes which transactions are open; only then the
scanner takes its snapshot (postgres_session.py, postgres_reader.py). Changes come from the log in postgres_log.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from starberg.engines.base import Engine
from starberg.ingestion.budget import BudgetLedger
from starberg.ingestion.postgres_address import address
from starberg.ingestion.postgres_errors import Locked
from starberg.ingestion.postgres_log import LogReader, SlotLost
from starberg.ingestion.postgres_reader import Reader
from starberg.ingestion.postgres_session import Session
from starberg.ingestion.source import Planned
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.ingestion.table_source import TableExtract, TableSource
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import SourceDataError

_ATTEMPTS = 3


def open_source(
    spec: SourceSpec, secret_of: Callable[[str], str | None], ledger: BudgetLedger, clock: Clock
) -> PostgresSource:
    """Open a database as declared; nothing connects yet. CredentialsError if a setting it names is missing."""
    del ledger, clock
    return PostgresSource(spec, Session(spec, address(spec, secret_of)))


class PostgresSource(TableSource):
    """One database, for one run."""

    def __init__(self, spec: SourceSpec, session: Session) -> None:
        self._spec = spec
        self._session = session
        self._log = LogReader(session.control, spec)
        self._identity = ""

    @property
    def identity(self) -> str:
        """Return the system identifier and database oid."""
        self._identity = self._identity or self._session.control.identity()
        return self._identity

    def plan(self, stream: Stream, cursor: Any) -> list[Planned]:
        """Say how much will be asked; a table is read in one piece."""
        del cursor
        return [Planned(f"{stream.name}: {stream.table}", 1, None)]

    def read(
        self, stream: Stream, chain: RawStream, engine: Engine, scratch: Path, *, full: bool
    ) -> Iterator[TableExtract]:
        """Read what changed (see `TableSource.read`)."""
        previous = chain.last()
        self._check_not_restored(stream, previous)
        if stream.capture == "log":
            yield from self._read_log(stream, chain, engine, scratch, previous, full=full)
            return
        whole = full or previous is None or stream.capture == "full"
        yield self._locked(stream, chain, engine, scratch, Reader.whole if whole else Reader.changed)

    def settle(self, chains: Mapping[str, RawStream]) -> bool:
        """Advance the slot to what all log streams have committed; True if the log goes on."""
        return self._log.settle(chains)

    def close(self) -> None:
        """End the connection, and remove what was read of the log but not landed."""
        self._log.close()
        self._session.control.close()

    def _read_log(
        self,
        stream: Stream,
        chain: RawStream,
        engine: Engine,
        scratch: Path,
        previous: Manifest | None,
        *,
        full: bool,
    ) -> Iterator[TableExtract]:
        if previous is not None:
            try:
                changes = self._log.changes(stream, chain, engine, scratch)
            except SlotLost:
                if not full:
                    raise
                changes = None
            if changes:
                yield changes
        if previous is None or full:
            self._log.prepare(stream, is_new=previous is None)
            yield self._locked(stream, chain, engine, scratch, lambda reader: reader.snapshot_of_log(self._log))

    def _locked(
        self,
        stream: Stream,
        chain: RawStream,
        engine: Engine,
        scratch: Path,
        how: Callable[[Reader], TableExtract],
    ) -> TableExtract:
        """Read a table with its lock held; who waits to alter it meanwhile is let go first."""
        for attempt in range(_ATTEMPTS):
            try:
                with self._session.control.locked(stream) as facts:
                    return how(Reader(self._session, stream, chain, engine, scratch, chain.last(), facts))
            except Locked:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _check_not_restored(self, stream: Stream, previous: Manifest | None) -> None:
        position = self._session.control.position()
        if previous and position < int(previous.cursor.get("lsn", 0)):
            raise SourceDataError(
                f"source {self._spec.name} stands before the last load of {stream.name}: it was restored from a backup",
                hint="Start a new lake (--home) or give the source another name.",
            )
