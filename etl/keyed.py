"""Keyed recomputation: which rows of a fact or bridge a change can reach, as SQL. Pure.

A *unit* is the rows of a table with equal values in those columns of its grain that are plain columns of its driver,
the staging table after FROM. A table passes the gate if a unit is made from the driver's rows with its values alone,
and if for each input the units that its rows reach can be told: of the driver by its own columns, of one joined to the
driver by columns that equal the driver's. A superset of the units that change is always right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from starberg.etl.facts import grain, group
from starberg.etl.headers import BridgeHeader
from starberg.etl.model import Kind, Table, Warehouse, needs_history
from starberg.etl.sql_body import Body, cte_of, output_name, parse_body, table_name
from starberg.etl.sql_columns import Columns, aggregates, output_columns
from starberg.utils.sql import quote, quote_name


class Refused(Exception):
    """Why a table is always computed in full."""


@dataclass(frozen=True)
class Joined:
    """An input joined to the driver: `on` maps its columns to the driver's columns they equal."""

    table: str
    on: Mapping[str, str]


@dataclass(frozen=True)
class Keyed:
    """How a table is computed by key. `unit` maps columns of the table to the driver's."""

    table: Table
    driver: str
    unit: Mapping[str, str]
    joined: Sequence[Joined]

    def driven(self, rows: str) -> str:
        """Return the units of some rows of the driver."""
        return f"SELECT {self._units('')} FROM {rows}"

    def reached(self, joined: Joined, rows: str, driver: str) -> str:
        """Return the units of the driver's rows that some rows of an input are joined to."""
        on = " AND ".join(f"d.{quote_name(own)} = r.{quote_name(name)}" for name, own in joined.on.items())
        return f"SELECT {self._units('d.')} FROM {driver} d SEMI JOIN {rows} r ON {on}"

    def looking_up(self, pairs: Sequence[tuple[str, str]], keys: str) -> str:
        """Return the units of the published rows that look up some keys; `pairs` are their columns and the table's."""
        on = " AND ".join(f"k.{quote_name(name)} = f.{quote_name(own)}" for name, own in pairs)
        listed = ", ".join(f"f.{quote_name(name)}" for name in self.unit)
        return f"SELECT {listed} FROM {quote(self.table.id)} f SEMI JOIN {keys} k ON {on}"

    def of_units(self, rows: str, units: str) -> str:
        """Return the driver's rows of some units."""
        on = " AND ".join(f"r.{quote_name(own)} = u.{quote_name(name)}" for name, own in self.unit.items())
        return f"SELECT r.* FROM ({rows}) r SEMI JOIN {units} u ON {on}"

    def _units(self, of: str) -> str:
        return ", ".join(f"{of}{quote_name(own)} AS {quote_name(name)}" for name, own in self.unit.items())


def keyed(table: Table, warehouse: Warehouse) -> Keyed:
    """Return how a fact or bridge is computed by key; Refused says why it is not."""
    if needs_history(table):
        raise Refused("it is made from all changes")
    body = parse_body(table.select)
    body = replace(body, query=inlined(body.query))
    select = body.query
    driver = driver_of(select, table, warehouse)
    passed = _passed(body, driver)
    wanted = [name for name in grain(table) if name.lower() in passed]
    if isinstance(table.header, BridgeHeader) and table.header.weight == "equal":
        among = {name.lower() for name in group(table.header)}
        wanted = [name for name in wanted if name.lower() in among]
    if not wanted:
        raise Refused(f"no column of its grain is a plain column of {driver.name}")
    joined = all_joined(body, driver, warehouse)
    return Keyed(table, table_name(driver), {name: passed[name.lower()] for name in wanted}, joined)


def all_joined(body: Body, driver: exp.Table, warehouse: Warehouse) -> Sequence[Joined]:
    """Return every input but the driver; Refused if one is read in another way."""
    select = body.query
    joined = [found for join in select.args.get("joins") or [] for found in _joined(join, driver, body, warehouse)]
    told = [table_name(driver), *(found.table for found in joined if found.table != table_name(driver))]
    for name in (table_name(found) for found in select.find_all(exp.Table) if isinstance(found.this, exp.Identifier)):
        if name not in told:
            raise Refused(f"{name} is read elsewhere than in FROM or a join, or twice")
        told.remove(name)
    return joined


def inlined(query: exp.Query) -> exp.Query:
    """Return a query whose WITH stands where it is read, as subqueries."""
    query = query.copy()
    while with_ := query.args.get("with_"):
        cte = with_.expressions[0]
        if with_.args.get("recursive") or cte.args["alias"].columns:
            raise Refused("it has WITH RECURSIVE, or WITH that names columns")
        for table in [table for table in query.find_all(exp.Table) if cte_of(table) is cte]:
            table.replace(exp.Subquery(this=cte.this.copy(), alias=exp.TableAlias(this=_identifier(table))))
        cte.pop()
        if not with_.expressions:
            with_.pop()
    return query


def _identifier(table: exp.Table) -> exp.Identifier:
    return exp.to_identifier(table.alias_or_name, quoted=True)


def driver_of(select: exp.Expr, table: Table, warehouse: Warehouse) -> exp.Table:
    """Return the staging table after FROM, if rows of a SELECT are made from its rows."""
    if not isinstance(select, exp.Select):
        raise Refused("it is no single SELECT")
    source = select.args.get("from_")
    driver = source.this if source is not None else None
    known = warehouse.tables.get(table_name(driver)) if isinstance(driver, exp.Table) else None
    if known is None or known.kind is not Kind.STAGING or known.name not in table.reads:
        raise Refused("no staging table stands after FROM")
    assert isinstance(driver, exp.Table)
    return driver


def _passed(body: Body, driver: exp.Table) -> dict[str, str]:
    """Return the output columns of a SELECT, in lower case, that tell which rows of its driver a row is made from.

    They are passed on as they are, and what is grouped or looked at together has the same values in them.
    """
    select = body.query
    assert isinstance(select, exp.Select)
    for arg, what in UNBOUND.items():
        if select.args.get(arg):
            raise Refused(f"it has {what}")
    if isinstance(distinct := select.args.get("distinct"), exp.Distinct) and distinct.args.get("on"):
        raise Refused("it has DISTINCT ON")
    outputs = output_columns(body, lambda _: Columns(complete=False)).by_name
    passed = {name: output.source for name, output in outputs.items() if output.source}
    together = [_grouped(select)] if select.args.get("group") else []
    if not together and any(aggregates(select)):
        raise Refused("it has an aggregate without GROUP BY")
    windows = [window for window in select.find_all(exp.Window) if window.parent_select is select]
    together += [{_column(part, driver) for part in window.args.get("partition_by") or []} for window in windows]
    for columns in together:
        passed = {name: source for name, source in passed.items() if {source.lower(), name} & columns}
    return passed


UNBOUND = {
    "with_": "WITH",
    "limit": "LIMIT",
    "offset": "OFFSET",
    "sample": "a sample",
    "laterals": "LATERAL",
    "pivots": "PIVOT",
}


def _grouped(select: exp.Expr) -> set[str]:
    """Return the columns a SELECT groups by, in lower case, as they are or as its outputs are named."""
    by = select.args["group"]
    if any(by.args.get(kind) for kind in ("rollup", "cube", "grouping_sets")):
        raise Refused("it groups in several ways at once")
    if by.args.get("all"):
        return {
            output_name(projection).lower() for projection in select.expressions if not projection.find(exp.AggFunc)
        }
    found = set()
    for part in by.expressions:
        named = part
        if isinstance(part, exp.Literal) and part.is_int:
            named = select.expressions[int(part.this) - 1].unalias()
        if isinstance(named, exp.Column):
            found.add(named.name.lower())
    return found


def _column(part: exp.Expr, driver: exp.Table) -> str:
    of_driver = isinstance(part, exp.Column) and part.table.lower() in ("", driver.alias_or_name.lower())
    return part.name.lower() if of_driver else ""


def _joined(join: exp.Join, driver: exp.Table, body: Body, warehouse: Warehouse) -> Iterator[Joined]:
    """Yield the input that a join adds: nothing for an unnested list."""
    if join.side not in ("", "LEFT") or join.method or join.kind not in ("", "INNER", "OUTER", "CROSS"):
        raise Refused(f"it has a {' '.join(filter(None, (join.method, join.side, join.kind)))} JOIN")
    source = join.this
    tables = [found for found in join.find_all(exp.Table) if isinstance(found.this, exp.Identifier)]
    if not tables:
        return
    if len(tables) > 1 or table_name(tables[0]) not in warehouse.tables:
        raise Refused(f"what is joined as {source.alias_or_name} reads more than one staging table")
    columns: Mapping[str, str] | None = None
    if isinstance(source, exp.Subquery) and _is_from(source.this, tables[0]):
        columns = _passed(replace(body, query=source.this), tables[0])
    elif source is not tables[0]:
        raise Refused(f"what is joined as {source.alias_or_name} is no table and no SELECT")
    on = {}
    for name, own in _equalities(join, driver):
        if columns is None or name.lower() in columns:
            on[name if columns is None else columns[name.lower()]] = own
    if not on:
        raise Refused(f"{source.alias_or_name} is joined by no column that equals one of {driver.alias_or_name}")
    yield Joined(table_name(tables[0]), on)


def _is_from(select: exp.Expr, table: exp.Table) -> bool:
    """Return whether a table stands after FROM of a single SELECT."""
    source = select.args.get("from_") if isinstance(select, exp.Select) else None
    return source is not None and source.this is table


def _equalities(join: exp.Join, driver: exp.Table) -> Iterator[tuple[str, str]]:
    """Yield the columns that a join's condition makes equal: of what is joined, and of the driver."""
    if join.args.get("using") and join.parent.args["joins"][0] is join:  # type: ignore[union-attr]
        yield from ((column.name, column.name) for column in join.args["using"])
    condition = join.args.get("on")
    sides = {join.this.alias_or_name.lower(), driver.alias_or_name.lower()}
    for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
        if isinstance(part, exp.EQ) and isinstance(part.this, exp.Column) and isinstance(part.expression, exp.Column):
            by_side = {column.table.lower(): column.name for column in (part.this, part.expression)}
            if by_side.keys() == sides:
                yield by_side[join.this.alias_or_name.lower()], by_side[driver.alias_or_name.lower()]
