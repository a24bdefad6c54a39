"""One reading of one table of a PostgreSQL database, while its lock is held. Cursors:

full             {"lsn": <the server's position>}
high_water_mark  {"value": <next reading starts here>, "seen": <greatest value so far>, "lsn": …}
keys             the same; without a cursor column as full
log              see postgres_log.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from starberg.engines.base import Engine, ParquetFile
from starberg.ingestion.postgres_connection import TableFacts
from starberg.ingestion.postgres_keys import KeyRanges
from starberg.ingestion.postgres_log import LogReader
from starberg.ingestion.postgres_marks import Mark, same_place
from starberg.ingestion.postgres_session import ATTACHED, Session, ask
from starberg.ingestion.streams import Stream
from starberg.ingestion.table_columns import TableColumns, key_columns_of, table_columns, unproven_key
from starberg.ingestion.table_index import TableIndex, rows_of
from starberg.ingestion.table_source import TableExtract
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.sql import quote, quote_name, text

_WORTH_A_LOAD = 1000
"""Reading more rows than this again costs more than a load that moves the mark."""
_MOST_MISSED = 20_000
"""More rows than this are not asked for one by one: the table is read whole."""


@dataclass(frozen=True)
class Reader:
    """`session` is the connection to the database, `facts` what its catalog says of the table."""

    session: Session
    stream: Stream
    chain: RawStream
    engine: Engine
    scratch: Path
    previous: Manifest | None
    facts: TableFacts

    @property
    def columns(self) -> TableColumns:
        """Return the table's columns as the chain goes on with them."""
        return table_columns(self.stream, self.facts.columns, self.previous.raw_types if self.previous else {})

    def whole(self) -> TableExtract:
        """Read every row."""
        columns, cursor = self.columns, {"lsn": self.session.control.position()}
        mark = self._mark(columns)
        horizon = self.session.horizon() if mark else None
        observed_at, notes = self._now(), list(columns.notes)
        with self.session.snapshot(self.engine):
            files = self._rows(columns, observed_at)
            rows = self._counted()
        if mark and horizon:
            before = self.previous.cursor if self.previous else {}
            cursor |= mark.after(before, self._greatest(mark, files), horizon)
            notes += self._without_cursor(mark, files)
        return replace(self._extract("whole", files, columns, cursor, observed_at, notes=notes), source_rows=rows)

    def changed(self) -> TableExtract:
        """Read the rows past the mark; for `keys` also those whose key is gone or was missed."""
        assert self.previous is not None
        columns, before = self.columns, self.previous.cursor
        cursor: dict[str, Any] = {"lsn": self.session.control.position()}
        mark, observed_at, files = self._mark(columns), self._now(), list[ParquetFile]()
        horizon = self.session.horizon() if mark else None
        by_keys, past = self.stream.capture == "keys", ""
        with self.session.snapshot(self.engine):
            if mark:
                past = mark.literal(before["value"]) if "value" in before else ""
                there = quote_name(columns.of(self.stream.cursor).source_name)
                files = self._rows(columns, observed_at, f"{there} >= {past}" if past else "")
            read = sum(file.rows for file in files)
            missed = self._reconciled(columns, observed_at, files) if by_keys else []
            rows = self._counted()
        if missed is None:
            return self.whole()
        files += missed
        if mark and horizon:
            cursor |= mark.after(before, self._greatest(mark, files), horizon)
        return replace(
            self._extract("rows", files, columns, cursor, observed_at, notes=list(columns.notes)),
            compared=self._landed_since(before.get("value")),
            compared_where=f"{quote_name(mark.column)} >= {past}" if mark and past else "true",
            indexed=by_keys,
            moved=not same_place(cursor, before) and read > _WORTH_A_LOAD,
            source_rows=rows,
        )

    def snapshot_of_log(self, log: LogReader) -> TableExtract:
        """Read every row, with what tells the log's changes in it from those after it."""
        columns, observed_at = self.columns, self._now()
        with self.session.snapshot(self.engine):
            [(visible,)] = self.engine.rows(ask("SELECT pg_current_snapshot()::text AS s"))
            files = self._rows(columns, observed_at)
        cursor = log.cursor_of_snapshot(visible, self.previous)
        extract = self._extract("whole", files, columns, cursor, observed_at, notes=list(columns.notes))
        return replace(extract, moved=True)

    # Rows

    def _rows(self, columns: TableColumns, observed_at: datetime, condition: str = "") -> list[ParquetFile]:
        """Write rows of the table to a part's layout."""
        files = self._write(columns, observed_at, condition, careful=False)
        if self._has_nan(columns, files, condition):
            return self._write(columns, observed_at, condition, careful=True)
        return files

    def _write(
        self, columns: TableColumns, observed_at: datetime, condition: str, *, careful: bool
    ) -> list[ParquetFile]:
        table = quote(self.stream.table)
        if columns.scanned and not careful and not condition:
            source = f"{ATTACHED}.{table}"
        else:
            where = f" WHERE {condition}" if condition else ""
            source = f"({ask(f'SELECT {columns.items(careful=careful)} FROM {table}{where}')})"
        return self.engine.write(f"{self._head('U', observed_at)}{columns.values(careful=careful)} FROM {source}", {})

    def _head(self, op: str, observed_at: datetime) -> str:
        seq, stamp = self.previous.seq + 1 if self.previous else 1, observed_at.replace(tzinfo=None)
        return (
            f"SELECT {seq}::BIGINT AS _load_id, {text(op)} AS _op, TIMESTAMP {text(stamp.isoformat(sep=' '))} "
            "AS _observed, "
        )

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
        return bool(self.engine.rows(ask(f"SELECT 1 AS one FROM {quote(self.stream.table)} WHERE {where} LIMIT 1")))

    # Keys

    def _reconciled(
        self, columns: TableColumns, observed_at: datetime, files: list[ParquetFile]
    ) -> list[ParquetFile] | None:
        """Write tombstones of keys that are gone and the rows of keys that were missed; None: too many were."""
        assert self.previous is not None
        index = TableIndex(self.engine, self.chain, self.stream, self.scratch, columns.raw_types)
        index.fill(self.previous)
        kinds = {name: columns.raw_types[name] for name in self.stream.key}
        live = "SELECT _key FROM known"
        if files:
            live += f" UNION SELECT _key FROM (SELECT {index.digested} FROM ({rows_of(files, columns.raw_types)}))"
        ranges = KeyRanges(self.engine, ATTACHED, self.stream.table, self.stream.key, columns)
        with ranges.of(f"SELECT {key_columns_of(self.stream.key, kinds)} FROM ({live})"):
            if ranges.missed() > _MOST_MISSED:
                return None
            listed = ", ".join(
                f"{quote_name(name) if name in kinds else 'NULL'}::{kind} AS {quote_name(name)}"
                for name, kind in columns.raw_types.items()
            )
            found = self.engine.write(f"{self._head('D', observed_at)}NULL::VARCHAR AS _unread, {listed} FROM gone", {})
            for condition in ranges.missed_conditions():
                found += self._rows(columns, observed_at, condition)
            return found

    # Marks

    def _mark(self, columns: TableColumns) -> Mark | None:
        if self.stream.capture not in ("high_water_mark", "keys") or not self.stream.cursor:
            return None
        return Mark.of(self.stream.cursor, columns.raw_types[self.stream.cursor], self.session.timezone)

    def _greatest(self, mark: Mark, files: list[ParquetFile]) -> Any:
        if not files:
            return None
        [(seen,)] = self.engine.rows(f"SELECT max({mark.sql(quote_name(mark.column))}) FROM {_read(files)}")
        return seen

    def _counted(self) -> int | None:
        """Return the rows of the table in the snapshot, if the stream asks for them."""
        if not self.stream.count:
            return None
        [(rows,)] = self.engine.rows(ask(f"SELECT count(*) AS n FROM {quote(self.stream.table)}"))
        return int(rows)

    def _without_cursor(self, mark: Mark, files: list[ParquetFile]) -> list[str]:
        if not files:
            return []
        [(count,)] = self.engine.rows(f"SELECT count(*) FROM {_read(files)} WHERE {quote_name(mark.column)} IS NULL")
        return [f"{count} rows have no {mark.column}: only full runs see their changes"] if count else []

    def _landed_since(self, value: Any) -> list[Manifest]:
        """Return the loads that may hold rows at or past a mark: `seen` only grows along the chain."""

        def is_past(cursor: Mapping[str, Any]) -> bool:
            return value is not None and "seen" in cursor and cursor["seen"] < value

        found: list[Manifest] = []
        load = None if self.previous is None or is_past(self.previous.cursor) else self.previous
        while load is not None:
            found.append(load)
            before = load.cursor_before  # of the load before: it is fetched only if it is needed
            load = None if before is None or is_past(before) else self.chain.load(load.seq - 1)
        return found[::-1]

    def _extract(
        self,
        kind: Literal["whole", "rows"],
        files: list[ParquetFile],
        columns: TableColumns,
        cursor: Mapping[str, Any],
        observed_at: datetime,
        *,
        notes: list[str],
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
        )

    def _now(self) -> datetime:
        [(now,)] = self.session.control.rows("SELECT clock_timestamp()")
        moment: datetime = now
        return moment.astimezone(UTC)


def _read(files: list[ParquetFile]) -> str:
    return f"read_parquet([{', '.join(text(str(file.path)) for file in files)}], union_by_name = true)"


def _spans_zero(file: ParquetFile, column: str) -> bool:
    stats = file.columns.get(column)
    if stats is None or stats.lower is None or stats.upper is None:
        return stats is None or stats.nulls < stats.values or stats.values == 0
    return Decimal(stats.lower) <= 0 <= Decimal(stats.upper)
