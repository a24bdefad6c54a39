"""`starberg query --engine dremio|trino|spark`: the same question, answered by another engine over the same tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from starberg.engines.clients import TableAt
from starberg.entrypoints.library import Library
from starberg.entrypoints.portable import Portable, translated
from starberg.entrypoints.query import Names
from starberg.etl.results import QueryResult
from starberg.storage.branches import MAIN, State
from starberg.storage.namespaces import renamed
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from starberg.engines.clients import Batches, QueryClient
    from starberg.entrypoints.lake import Lake
    from starberg.storage.object_store import ObjectStore


def answer(lake: Lake, client: QueryClient, sql: str, warehouse: str | None, at: str | None) -> QueryResult:
    """Ask one question; the client is closed when its last row has been read.

    Names mean what they mean to DuckDB. Raises UsageError for what the engine cannot be asked, and as the client does.
    """
    try:
        lake.check_known(warehouse)
        state = lake.look(at or MAIN)
        place = Places(client, lake.warehouses.namespaces, lake.store, state, lake.look() if at else state)
        names = Names(Library(lake.warehouses, state), warehouse)
        question = Portable(names, place, columns_in(lake.store, state)).question(sql)
        return result_of(client.query(translated(question, client.dialect, client.name)), client.close)
    except BaseException:
        client.close()
        raise


@dataclass(frozen=True)
class Places:
    """Where an engine finds the tables of a state: on main, or among the snapshots of main's table."""

    client: QueryClient
    namespaces: Mapping[str, str]
    store: ObjectStore
    state: State
    main: State

    def __call__(self, name: str) -> str:
        """Return the engine's SQL for a table."""
        location = self.state.tables[name]
        return self.client.table(
            TableAt(renamed(name, self.namespaces), location, lambda: self._snapshot(name, location))
        )

    def _snapshot(self, name: str, location: str) -> int | None:
        """Return the snapshot a table had, none if it is main's; UsageError if main's table does not know it."""
        from starberg.storage.iceberg_tables import read_table

        if location == self.main.tables.get(name):
            return None
        then = read_table(self.store, name, location).ids.snapshot_id
        now = self.main.tables.get(name)
        known = [number for number, _ in read_table(self.store, name, now).snapshots()] if now else []
        if then not in known:
            hint = "Ask DuckDB: leave out --engine."
            raise UsageError(f"{self.client.name} does not see {name} at {self.state.ref}", hint=hint)
        return then


def columns_in(store: ObjectStore, state: State) -> Callable[[str], Mapping[str, str]]:
    """Return a function that finds a table's columns with their types in its metadata, which is read once."""
    from starberg.storage.iceberg_tables import read_table

    return cache(lambda name: read_table(store, name, state.tables[name]).stored_types())


def result_of(batches: Batches, close: Callable[[], None]) -> QueryResult:
    """Return a client's answer as every query's; `close` is called when the last row has been read."""

    def found() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches.rows
        finally:
            close()

    def rows() -> Iterator[tuple[Any, ...]]:
        for batch in found():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    reader = replace(batches, rows=found()).reader
    return QueryResult(batches.schema.names, rows(), lambda: reader().read_all(), reader)
