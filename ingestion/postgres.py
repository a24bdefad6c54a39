"""A source of kind `postgres`: tables of one database, read through DuckDB's scanner in one snapshot each.

A plain connection holds the table's lock, reads the catalog and notes which transactions are open; only then the
scanner takes its snapshot. Cursors:

    full             {"lsn": <the server's position>}
    high_water_mark  {"value": <next reading starts here>, "seen": <greatest value so far>, "lsn": …}
    keys             the same; without a cursor column as full
    log              see postgres_log.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from starberg.engines.base import Engine, ParquetFile
from starberg.ingestion.budget import BudgetLedger
from starberg.ingestion.postgres_connection import Address, Control, Locked, TableFacts, address, scanning
from starberg.ingestion.postgres_keys import KeyRanges
from starberg.ingestion.postgres_log import LogReader, SlotLost
from starberg.ingestion.postgres_marks import Horizon, Mark, same_place
from starberg.ingestion.source import Planned
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.ingestion.table_columns import TableColumns, key_columns_of, key_json, table_columns, unproven_key
from starberg.ingestion.table_landing import known_rows
from starberg.ingestion.table_source import TableExtract, TableSource
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, SourceDataError, StarbergError
from starberg.utils.sql import quote, quote_name, text

_ATTACHED = "starberg_source"
_ATTEMPTS = 3
_WORTH_A_LOAD = 1000
"""Reading more rows than this again costs more than a load that moves the mark."""


def open_source(
    spec: SourceSpec, secret_of: Callable[[str], str | None], ledger: BudgetLedger, clock: Clock
) -> PostgresSource:
    """Open a database as declared; nothing connects yet. CredentialsError if a setting it names is missing."""
    del ledger, clock
    return PostgresSource(spec, address(spec, secret_of))


class PostgresSource(TableSource):
    """One database, for one run."""

    def __init__(self, spec: SourceSpec, where: Address) -> None:
        self._spec = spec
        self.control = Control(spec.name, where)
        self._log = LogReader(self.control, spec)
        self._identity = ""

    @property
    def identity(self) -> str:
        """Return the system identifier and database oid."""
        self._identity = self._identity or self.control.identity()
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
        how = _Reader.whole if whole else _Reader.changed
        yield self._locked(stream, chain, engine, scratch, how)

    def settle(self, chains: Mapping[str, RawStream]) -> bool:
        """Advance the slot to what all log streams have committed; True if the log goes on."""
        return self._log.settle(chains)

    def close(self) -> None:
        """End the connection."""
        self.control.close()

    def horizon(self) -> Horizon:
        """Return what is open now, to be asked before the snapshot is taken.

        CredentialsError if the role may not see the starts of others' transactions.
        """
        [(allowed, asked_at, oldest, prepared)] = self.control.rows(_HORIZON)
        if not allowed:
            raise CredentialsError(
                f"source {self._spec.name}: role {self.control.address.user} may not see when other transactions "
                "began, without which rows that commit late would be lost",
                hint=f"GRANT pg_read_all_stats TO {quote_name(self.control.address.user)};",
            )
        return Horizon(asked_at, oldest, bool(prepared))

    @property
    def timezone(self) -> str:
        """Return the zone of stamps that have none."""
        return self._spec.timezone

    @contextmanager
    def snapshot(self, engine: Engine) -> Iterator[None]:
        """Attach the database to the engine and keep one snapshot until the end."""
        where = self.control.address
        with scanning(self._spec.name):
            engine.attach_postgres(_ATTACHED, where.secret, where.connection_string())
            try:
                engine.run("BEGIN")
                engine.rows(f"SELECT * FROM postgres_query({text(_ATTACHED)}, 'SELECT 1 AS one')")
                yield
            except BaseException:
                with suppress(StarbergError):  # the connection may be what failed
                    engine.run("ROLLBACK")
                    engine.run(f"DETACH {_ATTACHED}")
                raise
            engine.run("ROLLBACK")
            engine.run(f"DETACH {_ATTACHED}")

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
        how: Callable[[_Reader], TableExtract],
    ) -> TableExtract:
        """Read a table with its lock held; who waits to alter it meanwhile is let go first."""
        for attempt in range(_ATTEMPTS):
            try:
                with self.control.locked(stream) as facts:
                    return how(_Reader(self, stream, chain, engine, scratch, chain.last(), facts))
            except Locked:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _check_not_restored(self, stream: Stream, previous: Manifest | None) -> None:
        position = self.control.position()
        if previous and position < int(previous.cursor.get("lsn", 0)):
            raise SourceDataError(
                f"source {self._spec.name} stands before the last load of {stream.name}: it was restored from a backup",
                hint="Start a new lake (--home) or give the source another name.",
            )


@dataclass(frozen=True)
class _Reader:
    """One reading of one table, its lock held."""

    source: PostgresSource
    stream: Stream
    chain: RawStream
    engine: Engine
    scratch: Path
    previous: Manifest | None
    facts: TableFacts

    @property
    def seq(self) -> int:
        return self.previous.seq + 1 if self.previous else 1

    def columns(self) -> TableColumns:
        return table_columns(self.stream, self.facts.columns, self.previous.raw_types if self.previous else {})

    def whole(self) -> TableExtract:
        """Every row."""
        columns, cursor = self.columns(), {"lsn": self.source.control.position()}
        mark = self._mark(columns)
        horizon = self.source.horizon() if mark else None
        observed_at = self._now()
        notes = list(columns.notes)
        with self.source.snapshot(self.engine):
            files = self._rows(columns, observed_at)
            rows = self._counted()
        if mark and horizon:
            before = self.previous.cursor if self.previous else {}
            cursor |= mark.after(before, self._greatest(mark, files), horizon)
            notes += self._without_cursor(mark, files)
        return self._extract("whole", files, columns, cursor, observed_at, notes=notes, source_rows=rows)

    def changed(self) -> TableExtract:
        """The rows past the mark; for `keys` also those whose key is gone or was missed."""
        assert self.previous is not None
        columns, before = self.columns(), self.previous.cursor
        cursor: dict[str, Any] = {"lsn": self.source.control.position()}
        mark, observed_at = self._mark(columns), self._now()
        files: list[ParquetFile] = []
        horizon = self.source.horizon() if mark else None
        with self.source.snapshot(self.engine):
            if mark:
                condition = f"{self._there(columns)} >= {mark.literal(before['value'])}" if "value" in before else ""
                files = self._rows(columns, observed_at, condition)
            read = sum(file.rows for file in files)
            if self.stream.capture == "keys":
                files += self._reconciled(columns, observed_at, files)
            rows = self._counted()
        if mark and horizon:
            cursor |= mark.after(before, self._greatest(mark, files), horizon)
        moved = not same_place(cursor, before) and read > _WORTH_A_LOAD
        notes = list(columns.notes)
        extract = self._extract("rows", files, columns, cursor, observed_at, notes=notes, source_rows=rows)
        again = self._landed_since(before.get("value"))
        where = "true"
        if mark and "value" in before:
            where = f"{quote_name(mark.column)} >= {mark.literal(before['value'])}"
        return replace(extract, compared=again, compared_where=where, moved=moved)

    def snapshot_of_log(self, log: LogReader) -> TableExtract:
        """Every row, with what tells the log's changes in it from those after it."""
        columns, observed_at = self.columns(), self._now()
        with self.source.snapshot(self.engine):
            [(visible,)] = self.engine.rows(_ask("SELECT pg_current_snapshot()::text AS s"))
            files = self._rows(columns, observed_at)
        cursor = log.cursor_of_snapshot(visible, self.previous)
        extract = self._extract("whole", files, columns, cursor, observed_at, notes=list(columns.notes))
        return replace(extract, moved=True)

    # Reading

    def _rows(self, columns: TableColumns, observed_at: datetime, condition: str = "") -> list[ParquetFile]:
        """Write rows of the table to a part's layout."""
        files = self._write(columns, observed_at, condition, careful=False)
        if self._has_nan(columns, files, condition):
            return self._write(columns, observed_at, condition, careful=True)
        return files

    def _write(
        self, columns: TableColumns, observed_at: datetime, condition: str, *, careful: bool
    ) -> list[ParquetFile]:
        if columns.scanned and not careful and not condition:
            source = f"{_ATTACHED}.{quote(self.stream.table)}"
        else:
            where = f" WHERE {condition}" if condition else ""
            source = f"({_ask(f'SELECT {columns.items(careful=careful)} FROM {quote(self.stream.table)}{where}')})"
        return self.engine.write(f"{self._head('U', observed_at)}{columns.values(careful=careful)} FROM {source}", {})

    def _head(self, op: str, observed_at: datetime) -> str:
        stamp = observed_at.replace(tzinfo=None).isoformat(sep=" ")
        return f"SELECT {self.seq}::BIGINT AS _load_id, {text(op)} AS _op, TIMESTAMP {text(stamp)} AS _observed, "

    def _has_nan(self, columns: TableColumns, files: list[ParquetFile], condition: str) -> bool:
        """Tell whether a decimal is NaN, which the scanner reads as zero: asked only of columns with a zero."""
        suspects = [
            found.source_name
            for found in columns.readings
            if found.has_nan and not found.by_text and any(_spans_zero(file, found.name) for file in files)
        ]
        if not suspects:
            return False
        nan = " OR ".join(f"{quote_name(name)} = 'NaN'" for name in suspects)
        where = f"({nan}) AND ({condition})" if condition else nan
        return bool(self.engine.rows(_ask(f"SELECT 1 AS one FROM {quote(self.stream.table)} WHERE {where} LIMIT 1")))

    def _reconciled(self, columns: TableColumns, observed_at: datetime, files: list[ParquetFile]) -> list[ParquetFile]:
        """Write tombstones of keys that are gone and the rows of keys that were missed."""
        known = self._known_keys(columns, files)
        self.engine.run(f"CREATE OR REPLACE TEMP TABLE known_keys AS {known}")
        ranges = KeyRanges(self.engine, _ATTACHED, self.stream.table, self.stream.key, columns)
        buckets, _ = ranges.differing("FROM known_keys")
        if not buckets:
            return []
        ranges.compare(buckets, "FROM known_keys")
        listed = ", ".join(
            f"{quote_name(name) if name in self.stream.key else 'NULL'}::{kind} AS {quote_name(name)}"
            for name, kind in columns.raw_types.items()
        )
        found = self.engine.write(f"{self._head('D', observed_at)}NULL::VARCHAR AS _unread, {listed} FROM gone", {})
        for condition in ranges.missed_conditions():
            found += self._rows(columns, observed_at, condition)
        return found

    def _known_keys(self, columns: TableColumns, files: list[ParquetFile]) -> str:
        """Return SQL for the key columns of every live key of the chain and of rows just read."""
        assert self.previous is not None
        loads = [*(self.chain.load(seq) for seq in range(1, self.previous.seq)), self.previous]
        rows = known_rows(self.chain, loads, self.scratch, columns.raw_types)
        key = key_json(self.stream.key, columns.raw_types)
        live = (
            f"SELECT _key FROM (SELECT {key} AS _key, arg_max(_op, {{load: _load_id, row: _row}}) AS op "
            f"FROM ({rows}) GROUP BY 1) WHERE op = 'U'"
        )
        if files:
            listed = ", ".join(text(str(file.path)) for file in files)
            live += f" UNION SELECT {key} FROM read_parquet([{listed}])"
        keys = {name: columns.raw_types[name] for name in self.stream.key}
        return f"SELECT {key_columns_of(self.stream.key, keys)} FROM ({live})"

    # Marks

    def _mark(self, columns: TableColumns) -> Mark | None:
        if self.stream.capture not in ("high_water_mark", "keys") or not self.stream.cursor:
            return None
        return Mark.of(self.stream.cursor, columns.raw_types[self.stream.cursor], self.source.timezone)

    def _there(self, columns: TableColumns) -> str:
        return quote_name(columns.of(self.stream.cursor).source_name)

    def _greatest(self, mark: Mark, files: list[ParquetFile]) -> Any:
        if not files:
            return None
        [(seen,)] = self.engine.rows(f"SELECT max({mark.sql(quote_name(mark.column))}) FROM {_read(files)}")
        return seen

    def _counted(self) -> int | None:
        """Return the rows of the table in the snapshot, if the stream asks for them."""
        if not self.stream.count:
            return None
        [(rows,)] = self.engine.rows(_ask(f"SELECT count(*) AS n FROM {quote(self.stream.table)}"))
        return int(rows)

    def _without_cursor(self, mark: Mark, files: list[ParquetFile]) -> list[str]:
        if not files:
            return []
        [(count,)] = self.engine.rows(f"SELECT count(*) FROM {_read(files)} WHERE {quote_name(mark.column)} IS NULL")
        return [f"{count} rows have no {mark.column}: only full runs see their changes"] if count else []

    def _landed_since(self, value: Any) -> list[Manifest]:
        """Return the loads that may hold rows at or past a mark: `seen` only grows along the chain."""
        found: list[Manifest] = []
        load = self.previous
        while load is not None:
            if value is not None and "seen" in load.cursor and load.cursor["seen"] < value:
                break
            found.append(load)
            load = self.chain.load(load.seq - 1) if load.seq > 1 else None
        return found[::-1]

    def _extract(
        self,
        kind: Any,
        files: list[ParquetFile],
        columns: TableColumns,
        cursor: Mapping[str, Any],
        observed_at: datetime,
        *,
        notes: list[str],
        source_rows: int | None = None,
    ) -> TableExtract:
        unproven = unproven_key(self.stream, self.facts.unique)
        return TableExtract(
            kind,
            files,
            columns.columns,
            columns.raw_types,
            cursor,
            observed_at,
            is_unique=not unproven,
            notes=(*notes, *unproven),
            requests=1,
            source_rows=source_rows,
        )

    def _now(self) -> datetime:
        [(now,)] = self.source.control.rows("SELECT clock_timestamp()")
        moment: datetime = now
        return moment.astimezone(UTC)


def _ask(sql: str) -> str:
    return f"SELECT * FROM postgres_query({text(_ATTACHED)}, {text(sql)})"


def _read(files: list[ParquetFile]) -> str:
    return f"read_parquet([{', '.join(text(str(file.path)) for file in files)}], union_by_name = true)"


def _spans_zero(file: ParquetFile, column: str) -> bool:
    stats = file.columns.get(column)
    if stats is None or stats.lower is None or stats.upper is None:
        return stats is None or stats.nulls < stats.values or stats.values == 0
    return Decimal(stats.lower) <= 0 <= Decimal(stats.upper)


_HORIZON = """
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), clock_timestamp(),
  (SELECT min(xact_start) FROM pg_stat_activity
   WHERE datname = current_database() AND pid <> pg_backend_pid()
     AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'walsender')),
  (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())"""
