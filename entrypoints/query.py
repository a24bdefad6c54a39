"""`starberg query`: one SQL question over one state of the catalog."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from starberg.entrypoints.calls import Call, read_call, statements
from starberg.entrypoints.library import Library
from starberg.etl.library import function_header, signature
from starberg.etl.model import PREFIXES, Kind, Table
from starberg.etl.results import QueryResult
from starberg.etl.sql_body import cte_of
from starberg.storage.branches import MAIN
from starberg.utils.did_you_mean import did_you_mean
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote, quote_name

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake

_CHUNK = 10_000
BATCH_ROWS = 65_536
_NO_TABLE = re.compile(r'Table with name (?:"(?P<quoted>.+?)"|(?P<plain>.+?)) does not exist')
"""How DuckDB says it. What it suggests then is one of its own tables: of ours it knows only those that were opened."""


def answer(lake: Lake, sql: str, warehouse: str | None, at: str | None) -> QueryResult:
    """Run one or more statements; the last one's rows are the answer.

    Only the tables the SQL names, and what its views and functions read, are opened. Raises UsageError for wrong SQL,
    SQL that writes, an unknown table or function, or a name that several warehouses have.
    """
    lake.check_known(warehouse)
    state = lake.look(at or MAIN)
    script = Script(Names(Library(lake.warehouses, state), warehouse), sql)
    engine = lake.reader(warehouse, state=state, only=script.named)
    try:
        engine.check_reads(script.sql)
        cursor = engine.execute(script.sql)
    except UsageError as error:
        engine.close()
        if found := _NO_TABLE.search(str(error)):
            known = [*state.tables, *script.names.library.names(Kind.VIEW)]
            raise no_table(found["quoted"] or found["plain"], known) from error
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

    return QueryResult(columns, rows(), cursor.to_arrow_table, lambda: engine.batches(cursor, BATCH_ROWS).reader())


def into(lake: Lake, statement: str, warehouse: str | None) -> str:
    """Return the temporary table a statement leaves, if it is a CALL that leaves one."""
    call = read_call(statement)
    if call is None:
        return ""
    names = Names(Library(lake.warehouses, lake.look(MAIN)), warehouse)
    return function_header(names.function(call.function)).into


@dataclass(frozen=True)
class Names:
    """What names mean in a query over one state; `warehouse` is where those without one belong, if it is given."""

    library: Library
    warehouse: str | None

    def of_table(self, table: exp.Table) -> set[str]:
        """Return the table or view a query reads under a name; nothing if it is none of ours."""
        return self._found(table.name, table.db, [*self.library.state.tables, *self.library.names(Kind.VIEW)])

    def function(self, name: str) -> Table:
        """Return a function by its name; UsageError if there is none."""
        owner, _, short = name.rpartition(".")
        known = self.library.names(Kind.FUNCTION)
        if found := self._found(short, owner, known):
            return self.library.item(found.pop())
        raise UsageError(
            f"there is no function {name}", hint=did_you_mean(short, {name.split(".")[1] for name in known})
        )

    def of_call(self, name: str, owner: str, arguments: int) -> set[str]:
        """Return the function a query calls, checked for its number of arguments; nothing if it is none of ours."""
        found = self._found(name, owner, self.library.names(Kind.FUNCTION))
        if not found and name.lower().startswith(PREFIXES[Kind.FUNCTION]):
            self.function(f"{owner}.{name}" if owner else name)
        for full in found:
            check_arguments(self.library.item(full), arguments)
        return found

    def _found(self, name: str, owner: str, known: Collection[str]) -> set[str]:
        name, owner = name.lower(), owner.lower() or self.warehouse or ""
        candidates = [full for full in known if full.split(".", 1)[1] == name]
        if owner:
            return {full for full in candidates if full.startswith(f"{owner}.")}
        if len(candidates) > 1:
            raise UsageError(f"{name} is ambiguous", hint=f"Name one: {', '.join(sorted(candidates))}; or --warehouse.")
        return set(candidates)


def check_arguments(function: Table, given: int) -> None:
    """Raise UsageError if a call has not as many arguments as its function."""
    wanted = len(function_header(function).arguments)
    if given != wanted:
        what = "no arguments" if not wanted else f"{wanted} argument{'s' if wanted > 1 else ''}"
        raise UsageError(f"{function.name} takes {what}, not {given}", hint=f"Write {signature(function)}.")


class Script:
    """The statements of one query: the SQL that runs, and the tables, views and functions it names (None: any)."""

    def __init__(self, names: Names, sql: str) -> None:
        self.names = names
        self._found: set[str] = set()
        self._left: set[str] = set()
        self._is_plain = True
        calls = [(statement, read_call(statement)) for statement in statements(sql)]
        self.sql = sql
        if any(call for _, call in calls):
            parts = [
                self._call(call, last=n == len(calls)) if call else said for n, (said, call) in enumerate(calls, 1)
            ]
            self.sql = ";\n".join(parts)
        for statement, call in calls:
            self._read(f"SELECT {call.value}" if call else statement)
            if call:
                self._left.add(function_header(names.function(call.function)).into)

    @property
    def named(self) -> set[str] | None:
        """Return what is named in full, or None if the text is not plain SQL to us."""
        return self._found if self._is_plain else None

    def _call(self, call: Call, *, last: bool) -> str:
        function = self.names.function(call.function)
        header = function_header(function)
        called = replace(call, function=quote(function.id))
        if header.returns == "scalar":
            return f"SELECT {called.value} AS {quote_name(function.name)}"
        if not header.into:
            return called.table
        left = quote_name(header.into)
        made = f"CREATE OR REPLACE TEMP TABLE {left} AS {called.table}"
        return f"{made};\nSELECT * FROM temp.main.{left}" if last else made

    def _read(self, statement: str) -> None:
        """Note what a statement names; tables that a CALL before it left are its own."""
        try:
            parsed = sqlglot.parse(statement, dialect="duckdb")
        except SqlglotError:
            self._is_plain = False  # DuckDB gives the better error, and knows more SQL.
            return
        for query in parsed:
            if query is None or not isinstance(query, exp.Query):
                self._is_plain = False
                return
            for table in query.find_all(exp.Table):
                left = not table.db and table.name.lower() in self._left
                if isinstance(table.this, exp.Identifier) and not left and cte_of(table) is None:
                    self._found |= self.names.of_table(table)
            for function in query.find_all(exp.Anonymous):
                called = self.names.of_call(function.name, _owner(function), len(function.expressions))
                if called:
                    _check_values(function)
                self._found |= called


def _check_values(function: exp.Anonymous) -> None:
    """Raise UsageError for count(*) or row_number() OVER () as an argument: it would count the function's own row.

    DuckDB knows by its columns that an aggregate is the caller's; one without any it takes for the function's.
    """
    for argument in function.expressions:
        for node in argument.walk(prune=lambda n: isinstance(n, exp.Query)):
            if isinstance(node, exp.AggFunc | exp.Window) and not node.find(exp.Column):
                hint = "Compute it in a subquery, and pass the column."
                raise UsageError(f"{function.name} cannot take {node.sql('duckdb')} as an argument", hint=hint)


def _owner(function: exp.Anonymous) -> str:
    """Return the warehouse written in front of a function's name."""
    if isinstance(function.parent, exp.Dot) and function.parent.expression is function:
        return str(function.parent.this.name)
    return str(function.parent.db) if isinstance(function.parent, exp.Table) else ""


def no_table(name: str, tables: Collection[str]) -> UsageError:
    """Return the error for a table that does not exist, with the nearest that do."""
    nearest = get_close_matches(name.split(".")[-1].lower(), {table.split(".")[1] for table in tables}, n=1)
    full = sorted(table for table in tables if table.split(".")[1] in nearest)
    hint = f"Did you mean {' or '.join(full)}?" if full else "See `starberg tables`."
    return UsageError(f"SQL: there is no table {name}", hint=hint)
