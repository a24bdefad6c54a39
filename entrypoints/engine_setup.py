"""`starberg dremio setup`, `starberg trino setup`: what their own users find there, beside the tables.

`starberg query --engine …` needs none of it: it writes views and functions out. These are for BI tools and for people
who ask the engine itself. All may be repeated. A step is a record: `what`, `done` (made, kept, changed, answered,
refused), `why`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from starberg.engines.clients import TableAt
from starberg.entrypoints.library import Library
from starberg.entrypoints.portable import Portable, translated
from starberg.entrypoints.query import Names
from starberg.entrypoints.remote_query import columns_in
from starberg.etl.library import function_header
from starberg.etl.model import Kind, Table
from starberg.storage.columns import SqlColumn
from starberg.storage.namespaces import renamed
from starberg.utils.errors import CredentialsError, StarbergError, TransientError, UsageError
from starberg.utils.sql import quote, quote_name

if TYPE_CHECKING:
    from starberg.engines.clients import QueryClient
    from starberg.engines.dremio_rest import DremioRest
    from starberg.entrypoints.lake import Lake

Step = dict[str, Any]
_NESTED = (exp.DataType.Type.STRUCT, exp.DataType.Type.LIST, exp.DataType.Type.ARRAY, exp.DataType.Type.MAP)


@dataclass(frozen=True)
class DremioPlan:
    """What Dremio should have: sources as its API takes them, and the space of views and functions."""

    sources: list[dict[str, Any]]
    space: str
    force: bool = False


def setup_dremio(
    lake: Lake, rest: DremioRest, client: QueryClient, plan: DremioPlan, warehouse: str | None
) -> list[Step]:
    """Register the sources, make views and functions in a space, and ask a table; the last step is its answer."""
    lake.check_known(warehouse)
    steps = [
        _step(f"source {source['name']}", rest.ensure(source, force=plan.force), rest.state(source["name"]))
        for source in plan.sources
    ]
    library = Library(lake.warehouses, lake.look())
    items = _items(library, warehouse)
    if items:
        steps.append(_step(f"space {plan.space}", rest.ensure({"entityType": "space", "name": plan.space})))
    for owner in sorted({renamed(item.warehouse, lake.warehouses.namespaces) for item in items}):
        folder = {"entityType": "folder", "path": [plan.space, owner]}
        steps.append(_step(f"folder {plan.space}.{owner}", rest.ensure(folder)))
    write = Definitions(lake, library, client, plan.space)
    steps += [_tried(item, lambda item: rest.run(write.statement(item))) for item in items]
    return [*steps, *_asked(library, client, warehouse)]


def setup_trino(lake: Lake, client: QueryClient, catalog: str, warehouse: str | None) -> list[Step]:
    """Make the views where Trino's catalog can hold views, and ask a table; the last step is its answer."""
    lake.check_known(warehouse)
    library = Library(lake.warehouses, lake.look())
    write = Definitions(lake, library, client, catalog)

    def make(item: Table) -> None:
        if item.kind is Kind.FUNCTION:
            raise UsageError("functions of Trino read no tables", hint="`starberg query --engine trino` answers it.")
        for _ in client.query(write.statement(item)).rows:
            pass  # Trino works while its answer is read

    steps = [_tried(item, make) for item in _items(library, warehouse)]
    return [*steps, *_asked(library, client, warehouse)]


@dataclass(frozen=True)
class Definitions:
    """Writes the statements that make views and functions, each below `place` and its warehouse's namespace."""

    lake: Lake
    library: Library
    client: QueryClient
    place: str

    def statement(self, item: Table) -> str:
        """Return the statement for a view or function; UsageError for what the engine has no words for."""
        name = quote(f"{self.place}.{renamed(item.id, self.lake.warehouses.namespaces)}")
        if item.kind is Kind.VIEW:
            return f"CREATE OR REPLACE VIEW {name} AS {self._body(item)}"
        header = function_header(item)
        arguments = ", ".join(f"arg_{argument} {self._type(kind)}" for argument, kind in header.arguments.items())
        return (
            f"CREATE OR REPLACE FUNCTION {name} ({arguments}) RETURNS {self._returns(item)} RETURN {self._body(item)}"
        )

    def _body(self, item: Table) -> str:
        # Dremio knows an argument only by a name that is not quoted, and `arg_` keeps it apart from columns.
        header = function_header(item) if item.kind is Kind.FUNCTION else None
        arguments: dict[str, exp.Expr] = (
            {name: exp.Var(this=f"arg_{name}") for name in header.arguments} if header else {}
        )
        place = partial(_table, self.library, self.client)
        portable = Portable(Names(self.library, item.warehouse), place, self._columns_in)
        return translated(portable.body(item, arguments), self.client.dialect, self.client.name)

    @cached_property
    def _columns_in(self) -> Callable[[str], Mapping[str, str]]:
        return columns_in(self.lake.store, self.library.state)

    def _returns(self, item: Table) -> str:
        columns = self._columns(item)
        if function_header(item).returns == "scalar":
            return self._type(columns[0].type)
        return f"TABLE ({', '.join(f'{quote_name(column.name)} {self._type(column.type)}' for column in columns)})"

    def _columns(self, function: Table) -> list[SqlColumn]:
        """Return what a function yields: a header says no types, DuckDB finds them."""
        header = function_header(function)
        nothing = ", ".join(f"CAST(NULL AS {kind})" for kind in header.arguments.values())
        call = f"{quote(function.id)}({nothing})"
        engine = self.lake.reader(function.warehouse, only={function.id})
        try:
            return engine.columns(f"SELECT * FROM {call}" if header.returns == "table" else f"SELECT {call}")
        finally:
            engine.close()

    def _type(self, kind: str) -> str:
        parsed = exp.DataType.build(kind, dialect="duckdb")
        if parsed.this in _NESTED:
            raise UsageError(f"functions of {self.client.name} neither take nor return {parsed.this.value}")
        return parsed.sql(self.client.dialect)


def _items(library: Library, warehouse: str | None) -> list[Table]:
    """Return the views and functions there are tables for."""
    kinds = (Kind.VIEW, Kind.FUNCTION)
    return [library.item(name) for kind in kinds for name in sorted(library.names(kind, warehouse))]


def _asked(library: Library, client: QueryClient, warehouse: str | None) -> Iterator[Step]:
    """Ask one table for its rows, as a query would."""
    tables = [name for name in library.state.tables if warehouse in (None, name.split(".")[0])]
    if not tables:
        yield _step("a table", "refused", "nothing is published yet: `starberg run` first")
        return
    name = next((name for name in tables if name.split(".")[1].startswith(("fact_", "dwh_fact_"))), tables[0])
    try:
        answer = client.query(f"SELECT COUNT(*) AS n FROM {_table(library, client, name)}")
        [count] = [value.as_py() for batch in answer.rows for value in batch.column(0)]
    except (CredentialsError, TransientError):
        raise
    except StarbergError as error:
        yield _step(f"table {name}", "refused", str(error))
        return
    yield _step(f"table {name}", "answered", f"{count} rows")


def _table(library: Library, client: QueryClient, name: str) -> str:
    return client.table(TableAt(renamed(name, library.warehouses.namespaces)))


def _tried(item: Table, make: Callable[[Table], object]) -> Step:
    """Make a view or function; what the engine refuses is a step like the others, with its reason."""
    what = f"{'view' if item.kind is Kind.VIEW else 'function'} {item.id}"
    try:
        make(item)
    except (CredentialsError, TransientError):
        raise
    except StarbergError as error:
        return _step(what, "refused", str(error))
    return _step(what, "made")


def _step(what: str, done: str, why: str = "") -> Step:
    return {"what": what, "done": done, "why": why}
