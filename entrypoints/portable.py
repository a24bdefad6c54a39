"""A question for another server: one SELECT over tables alone, the lake's views and functions written out in it.

So every engine answers what DuckDB answers, at any state, though it knows neither the views nor the functions. The SQL
is DuckDB's dialect, as everywhere here; sqlglot translates it. Pure: SQL and declarations in, SQL out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import Dialect, exp
from sqlglot.errors import ErrorLevel, SqlglotError, UnsupportedError

from starberg.entrypoints.calls import read_call, statements
from starberg.entrypoints.full_names import Columns, qualified, said_in_full
from starberg.entrypoints.query import Names, no_table
from starberg.etl.control_tables import TABLES, no_rows
from starberg.etl.library import function_header
from starberg.etl.model import Kind, Table
from starberg.etl.sql_body import cte_of
from starberg.utils.errors import UsageError

_KEPT = ("joins", "laterals", "pivots", "sample")
"""What stands beside a table and stays when a subquery takes its place."""
_COMPUTED = (exp.Query, exp.AggFunc, exp.Window, exp.Anonymous, exp.Placeholder)


@dataclass(frozen=True)
class Portable:
    """Writes questions out; `place` gives the engine's SQL for a table of the state, `columns` its columns' types."""

    names: Names
    place: Callable[[str], str]
    columns: Callable[[str], Mapping[str, str]] = lambda name: {}

    def question(self, text: str) -> exp.Query:
        """Return the one SELECT of a text, over the engine's tables; UsageError says what it cannot be."""
        return self._placed(self._expanded(_parsed(text), {}))

    def body(self, item: Table, arguments: Mapping[str, exp.Expr]) -> exp.Query:
        """Return the SELECT of a view or function over the engine's tables, arguments by name put in their places."""
        return self._placed(self._body(item, arguments))

    def _placed(self, query: exp.Query) -> exp.Query:
        """Say everything in full, and put the engine's tables in the places of ours."""
        columns = self._columns(query)
        query = said_in_full(qualified(query, columns), columns)
        for table in self._tables(query):
            table.set("this", exp.Var(this=self.place(f"{table.db}.{table.name}")))
            table.set("db", None)
        return query

    def _tables(self, query: exp.Query) -> list[exp.Table]:
        there = self.names.library.state.tables
        return [table for table in query.find_all(exp.Table) if f"{table.db}.{table.name}" in there]

    def _columns(self, query: exp.Query) -> Columns:
        there = {f"{table.db}.{table.name}" for table in self._tables(query)}
        return {name: columns for name in there if (columns := self.columns(name))}

    def _body(self, item: Table, arguments: Mapping[str, exp.Expr]) -> exp.Query:
        inner = replace(self, names=Names(self.names.library, item.warehouse))
        return inner._expanded(_parsed(item.select), arguments)

    def _expanded(self, query: exp.Query, arguments: Mapping[str, exp.Expr]) -> exp.Query:
        """Return a query with views and functions written out, and tables by their full names."""
        for parameter in list(query.find_all(exp.Placeholder)):
            if parameter.name not in arguments:
                raise UsageError(f"${parameter.name} stands for nothing here", hint="Write the value in its place.")
            parameter.replace(arguments[parameter.name].copy())
        for table in [found for found in query.find_all(exp.Table) if cte_of(found) is None]:
            self._name(table)
        owners = {name.split(".")[0] for name in self.names.library.state.tables}
        for column in query.find_all(exp.Column):
            if column.db.lower() in owners:  # warehouse.table.column: the table has an alias now
                column.set("db", None)
        if self._calls(query):  # whose arguments are moved to where their names may mean something else
            query = qualified(query, self._columns(query))
            for called in self._calls(query):
                self._scalar(called)
        return query

    def _calls(self, query: exp.Query) -> list[exp.Anonymous]:
        """Return the calls of functions of ours that give a value."""
        calls = [called for called in query.find_all(exp.Anonymous) if not isinstance(called.parent, exp.Table)]
        return [c for c in calls if self.names.of_call(c.name, _owner(c), len(c.expressions))]

    def _name(self, table: exp.Table) -> None:
        """Give a table its full name, or put the SELECT of a view or function where a name stands."""
        called = table.this
        if isinstance(called, exp.Anonymous):
            self._instead(table, self._call(called, table.db), called.name)
        elif isinstance(called, exp.Identifier):
            self._named(table)
        elif not isinstance(called, exp.GenerateSeries):
            raise UsageError(f"{called.sql('duckdb')} reads past the lake", hint="See `starberg tables`.")

    def _named(self, table: exp.Table) -> None:
        library = self.names.library
        found = set() if table.catalog else self.names.of_table(table)
        if not found:
            self._control_table(table)
            return
        [name] = found
        if name not in library.state.tables:
            self._instead(table, self._body(library.item(name), {}), table.name)
            return
        alias = table.alias or table.name
        warehouse, short = name.split(".")
        table.set("this", exp.to_identifier(short))
        table.set("db", exp.to_identifier(warehouse))
        if not table.args.get("alias"):
            table.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))

    def _control_table(self, table: exp.Table) -> None:
        """Stand in for a control table nobody has written to yet; there is no other table of the name."""
        owner, name = table.db.lower() or self.names.warehouse, table.name.lower()
        if name not in TABLES or owner not in self.names.library.warehouses:
            written = table.sql("duckdb")
            raise no_table(written, [*self.names.library.state.tables, *self.names.library.names(Kind.VIEW)])
        self._instead(table, _parsed(no_rows(name)), name)

    def _scalar(self, called: exp.Anonymous) -> None:
        whole = called.parent if isinstance(called.parent, exp.Dot) else called
        value: exp.Expr = exp.Subquery(this=self._call(called, _owner(called)))
        if isinstance(whole.parent, exp.Select) and whole.arg_key == "expressions":
            value = exp.alias_(value, called.name.lower())
        whole.replace(value)

    def _call(self, called: exp.Anonymous, owner: str) -> exp.Query:
        found = self.names.of_call(called.name, owner, len(called.expressions))
        if not found:
            raise UsageError(f"{called.name} reads past the lake", hint="See `starberg tables`.")
        item = self.names.library.item(found.pop())
        kinds = function_header(item).arguments
        given = zip(kinds.items(), called.expressions, strict=True)
        values = {name: _argument(item, value, kind) for (name, kind), value in given}
        outer = {column.table for value in values.values() for column in value.find_all(exp.Column)}
        if not outer:
            return self._body(item, values)
        # Names of the question mean nothing among the function's own: they come once its tables have other names.
        body = self._body(item, {name: exp.Placeholder(this=name) for name in values})
        body = qualified(body, self._columns(body), new_aliases=True)
        if not outer.isdisjoint(table.alias for table in body.find_all(exp.Table, exp.Subquery)):
            raise _refused(item, called)
        for parameter in list(body.find_all(exp.Placeholder)):
            parameter.replace(values[parameter.name].copy())
        return body

    @staticmethod
    def _instead(table: exp.Table, query: exp.Query, name: str) -> None:
        kept = {key: table.args[key] for key in _KEPT if table.args.get(key)}
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(name.lower()))
        table.replace(exp.Subquery(this=query, alias=alias, **kept))


def translated(query: exp.Expr, dialect: str | type[Dialect], engine: str) -> str:
    """Return SQL in an engine's dialect; UsageError for what sqlglot knows it cannot say.

    All names are quoted: what is a plain word to DuckDB (rows, day, at) may be a reserved one elsewhere.
    """
    try:
        return query.sql(dialect, identify=True, comments=False, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        hint = "Ask DuckDB: leave out --engine."
        raise UsageError(f"{engine} cannot be asked that: {error}", hint=hint) from error


def _parsed(text: str) -> exp.Query:
    found = statements(text)
    if len(found) != 1:
        raise UsageError(f"one SELECT is wanted, not {len(found)}", hint="Other engines answer one at a time.")
    if call := read_call(found[0]):
        raise UsageError("CALL is for DuckDB alone", hint=f"Ask: select * from {call.value}")
    try:
        query = sqlglot.parse_one(found[0], dialect="duckdb")
    except SqlglotError as error:
        raise UsageError(f"SQL: {_reason(error)}") from error
    if not isinstance(query, exp.Query) or query.find(exp.Into):
        raise UsageError("that is no question", hint="Ask with SELECT: nothing is written here")
    return query


def _reason(error: SqlglotError) -> str:
    """Return what sqlglot says, without its colours."""
    details = getattr(error, "errors", None)
    if not details:
        return str(error)
    first = details[0]
    return f"{str(first['description']).rstrip('.')} at line {first['line']}, near {first['highlight']!r}"


def _argument(function: Table, value: exp.Expr, kind: str) -> exp.Expr:
    """Return an argument as its function takes it; UsageError if it is computed from several rows."""
    if any(isinstance(node, _COMPUTED) for node in value.walk()):
        raise _refused(function, value)
    if any(not column.table for column in value.find_all(exp.Column)):
        raise _refused(function, value)
    wanted = exp.DataType.build(kind, dialect="duckdb")
    if isinstance(value, exp.Literal) and value.is_int and wanted.this in exp.DataType.INTEGER_TYPES:
        return value  # LIMIT takes a bare number, and nothing else, in most engines
    return exp.cast(value, wanted)


def _refused(function: Table, value: exp.Expr) -> UsageError:
    said = f"{function.name} takes {value.sql('duckdb')} only from DuckDB, not elsewhere"
    return UsageError(said, hint="Ask DuckDB: leave out --engine.")


def _owner(called: exp.Anonymous) -> str:
    """Return the warehouse written in front of a function's name."""
    return str(called.parent.this.name) if isinstance(called.parent, exp.Dot) else ""
