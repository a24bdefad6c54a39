"""The connection that is not the scanner's: it holds a table's lock and asks what a snapshot cannot tell.

While the lock is held no ALTER or TRUNCATE can commit between looking at the catalog and reading the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starberg.ingestion.postgres_address import Address
from starberg.ingestion.postgres_errors import AGAIN, explain
from starberg.ingestion.postgres_types import PgColumn
from starberg.ingestion.postgres_watch import watch
from starberg.ingestion.streams import Stream
from starberg.utils.errors import StarbergError, Unreachable
from starberg.utils.sql import quote

if TYPE_CHECKING:
    import psycopg2.extensions


@dataclass(frozen=True)
class TableFacts:
    """What the catalog says of a table, while its lock is held."""

    oid: int
    columns: tuple[PgColumn, ...]
    unique: tuple[frozenset[str], ...]
    """Sets of NOT NULL columns that identify a row."""
    replica_identity: frozenset[str] | None
    """Columns the log has of a row's old self; None: all."""


class Control:
    """One plain connection, opened at the first question; every method raises a StarbergError where libpq failed."""

    def __init__(self, name: str, where: Address) -> None:
        self.name = name
        self.address = where
        self._connection: psycopg2.extensions.connection | None = None
        self._watch: threading.Event | None = None

    @property
    def connection(self) -> psycopg2.extensions.connection:
        """Return the open connection, in autocommit; one that was lost is not replaced: with it its lock is gone."""
        if self._connection is None:
            self._connection = self._connect()
            self._connection.autocommit = True
            self._watch = watch(self.address)
        if self._connection.closed:
            raise Unreachable(f"source {self.name}: the connection was lost", hint=AGAIN)
        return self._connection

    def _connect(self) -> psycopg2.extensions.connection:
        import psycopg2

        with self.explained():
            connection: psycopg2.extensions.connection = psycopg2.connect(**self.address.login)
            return connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the answer to a question."""
        with self.explained(), self.connection.cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            return cursor.fetchall() if cursor.description else []

    @property
    def is_open(self) -> bool:
        """Tell whether anything was asked yet."""
        return self._connection is not None and not self._connection.closed

    def stream(self, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield a long answer in pieces, over a connection of its own."""
        connection = self._connect()
        try:
            with self.explained(), connection.cursor(name="starberg") as cursor:
                cursor.itersize = 5000
                cursor.execute(sql, tuple(parameters))
                yield from cursor
        finally:
            connection.close()

    def identity(self) -> str:
        """Return the system identifier and the database's oid, which a copy or another server does not share."""
        [(system, oid)] = self.rows(
            "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "FROM pg_control_system()"
        )
        return f"postgres {system}/{oid}"

    def position(self) -> int:
        """Return how far the server has written its log (on a standby: replayed it)."""
        [(lsn,)] = self.rows(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END "
            "- '0/0'::pg_lsn)::bigint"
        )
        return int(lsn)

    @contextmanager
    def locked(self, stream: Stream) -> Iterator[TableFacts]:
        """Hold the table's weakest lock (SELECT's own): until the end nobody can alter, truncate or drop it."""
        self.rows("BEGIN")
        try:
            self.rows(f"LOCK TABLE {quote(stream.table)} IN ACCESS SHARE MODE")
            yield self._facts(stream.table)
        except BaseException:
            with suppress(StarbergError):  # the connection may be what failed; with it the lock is gone
                self.rows("ROLLBACK")  # psycopg2's own rollback() does nothing in autocommit
            raise
        self.rows("ROLLBACK")  # if this fails the lock may have been gone for long

    def close(self) -> None:
        """End the connection."""
        if self._watch:
            self._watch.set()
        if self._connection:
            self._connection.close()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn libpq's errors into ours."""
        import psycopg2

        try:
            yield
        except psycopg2.Error as error:
            text = str(error).strip().split("\n")[0]
            raise explain(self.name, text, getattr(error, "pgcode", None) or "") from error

    def _facts(self, table: str) -> TableFacts:
        [(oid, identity)] = self.rows(
            "SELECT oid::bigint, relreplident FROM pg_class WHERE oid = %s::regclass", [quote(table)]
        )
        columns = tuple(PgColumn(*row) for row in self.rows(_COLUMNS, [oid]))
        indexes = self.rows(_INDEXES, [oid])
        unique = tuple(frozenset(names) for names, unique, _, _ in indexes if unique)
        replica: frozenset[str] | None = frozenset()
        if identity == "f":
            replica = None
        for names, _, is_primary, is_replica in indexes:
            if (identity == "d" and is_primary) or (identity == "i" and is_replica):
                replica = frozenset(names)
        return TableFacts(oid, columns, unique, replica)


_COLUMNS = """
WITH RECURSIVE c AS (
  SELECT attnum, attname::text AS name, format_type(atttypid, atttypmod) AS said, atttypid AS typ, atttypmod AS mod,
    false AS is_domain
  FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT attnum, name, said, t.typbasetype, CASE WHEN mod = -1 THEN t.typtypmod ELSE mod END, true
  FROM c JOIN pg_type t ON t.oid = c.typ WHERE t.typtype = 'd')
SELECT c.name, c.said, t.typname::text, format_type(c.typ, c.mod), c.mod, t.typtype::text,
  coalesce(e.typname::text, ''), coalesce(e.typtype::text, ''), c.is_domain
FROM c JOIN pg_type t ON t.oid = c.typ
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE t.typtype <> 'd' ORDER BY c.attnum"""
_INDEXES = """
SELECT array_agg(a.attname::text), i.indisunique AND i.indpred IS NULL AND i.indimmediate AND bool_and(a.attnotnull),
  i.indisprimary, i.indisreplident
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
  AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
WHERE i.indrelid = %s AND i.indisvalid AND i.indexprs IS NULL
GROUP BY i.indexrelid, i.indisunique, i.indpred IS NULL, i.indimmediate, i.indisprimary, i.indisreplident"""
