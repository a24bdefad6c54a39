"""`starberg query`: one SQL question over one state of the catalog."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from starberg.etl.results import QueryResult
from starberg.storage.branches import MAIN, State
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake

_CHUNK = 10_000
_NO_TABLE = re.compile(r'Table with name (?:"(?P<quoted>.+?)"|(?P<plain>.+?)) does not exist')
"""How DuckDB says it. What it suggests then is one of its own tables: of ours it knows only those that were opened."""


def answer(lake: Lake, sql: str, warehouse: str | None, at: str | None) -> QueryResult:
    """Run one or more statements; the last one's rows are the answer.

    Only the tables the SQL names are opened. Raises UsageError for wrong SQL, SQL that writes, an unknown table, or a
    name that several warehouses have.
    """
    engine = lake.reader(warehouse, at, only=lambda state: named_tables(sql, state, warehouse))
    try:
        engine.check_reads(sql)
        cursor = engine.execute(sql)
    except UsageError as error:
        engine.close()
        if found := _NO_TABLE.search(str(error)):
            raise _no_table(found["quoted"] or found["plain"], lake.catalog.state(at or MAIN).tables) from error
        raise
    except BaseException:
        engine.close()
        raise
    columns = [column[0] for column in cursor.description or []]

    def rows() -> Iterator[tuple[Any, ...]]:
        try:
            while chunk := engine.fetched(cursor, _CHUNK):
                yield from chunk
        finally:
            engine.close()

    return QueryResult(columns, rows(), lambda: cursor.to_arrow_table())


def named_tables(sql: str, state: State, warehouse: str | None) -> set[str] | None:
    """Return the tables a text names, or None (open all) if the text is not plain SQL to us."""
    try:
        statements = sqlglot.parse(sql, dialect="duckdb")
    except SqlglotError:
        return None  # DuckDB gives the better error, and knows more SQL.
    found: set[str] = set()
    for statement in statements:
        if statement is None or not isinstance(statement, exp.Query):
            return None
        for table in statement.find_all(exp.Table):
            found |= _resolved(table, state, warehouse)
    return found


def _resolved(table: exp.Table, state: State, warehouse: str | None) -> set[str]:
    if table.db:
        name = f"{table.db}.{table.name}".lower()
        return {name} if name in state.tables else set()
    candidates = [name for name in state.tables if name.split(".", 1)[1] == table.name.lower()]
    if warehouse:
        return {name for name in candidates if name.startswith(f"{warehouse}.")}
    if len(candidates) > 1:
        raise UsageError(
            f"{table.name} is ambiguous", hint=f"Name one: {', '.join(sorted(candidates))}; or --warehouse."
        )
    return set(candidates)


def _no_table(name: str, tables: Collection[str]) -> UsageError:
    """Return the error for a table that does not exist, with the nearest that do."""
    nearest = get_close_matches(name.split(".")[-1].lower(), {table.split(".")[1] for table in tables}, n=1)
    full = sorted(table for table in tables if table.split(".")[1] in nearest)
    hint = f"Did you mean {' or '.join(full)}?" if full else "See `starberg tables`."
    return UsageError(f"SQL: there is no table {name}", hint=hint)
