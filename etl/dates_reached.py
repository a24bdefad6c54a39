"""Which days of a fact built by date a change of staged rows can reach, as SQL. Pure.

It can be told where a row's day is computed from columns of its driver alone, the staging table after FROM, and rows of
several days are never looked at together. A superset of the days that change is always right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from starberg.etl.dates import header_of
from starberg.etl.keyed import UNBOUND, Joined, Refused, all_joined, driver_of, inlined
from starberg.etl.model import Table, Warehouse
from starberg.etl.sql_body import output_name, parse_body, table_name
from starberg.etl.sql_columns import aggregates
from starberg.utils.sql import quote_name


@dataclass(frozen=True)
class Days:
    """How days are told: `day` is computed from the driver's `columns`, or read from an input joined to the driver."""

    driver: str
    day: str
    columns: Sequence[str]
    joined: Sequence[Joined]

    def driven(self, rows: str) -> str:
        """Return the days of some rows of the driver."""
        return f"SELECT {self.day} AS day FROM {rows} d"

    def reached(self, to: Joined, rows: str, driver: str) -> str:
        """Return the days of the driver's rows that some rows of an input are joined to."""
        on = " AND ".join(f"d.{quote_name(own)} = r.{quote_name(name)}" for name, own in to.on.items())
        return f"SELECT {self.day} AS day FROM {driver} d SEMI JOIN {rows} r ON {on}"


def days_reached(table: Table, warehouse: Warehouse) -> Days:
    """Return how the days that a change reaches are told; Refused says why they are not."""
    body = parse_body(table.select)
    body = replace(body, query=inlined(body.query))
    driver = driver_of(body.query, table, warehouse)
    select = body.query
    assert isinstance(select, exp.Select)
    for arg, what in UNBOUND.items():
        if select.args.get(arg):
            raise Refused(f"it has {what}")
    if any(window.parent_select is select for window in select.find_all(exp.Window)):
        raise Refused("it has a window")
    if isinstance(distinct := select.args.get("distinct"), exp.Distinct) and distinct.args.get("on"):
        raise Refused("it has DISTINCT ON")
    name = header_of(table).date
    day = next((p.unalias() for p in select.expressions if output_name(p).lower() == name.lower()), None)
    if day is None or not _grouped_by(select, day, name):
        raise Refused(f"rows of several {name} are looked at together")
    columns = _of_driver(day, driver, alone=not select.args.get("joins"))
    on = warehouse.zone.day_of(columns.pop(""))
    return Days(table_name(driver), on, list(columns), all_joined(body, driver, warehouse))


def _grouped_by(select: exp.Select, day: exp.Expr, name: str) -> bool:
    by = select.args.get("group")
    if by is None:
        return not any(aggregates(select))
    if any(by.args.get(kind) for kind in ("rollup", "cube", "grouping_sets")) or day.find(exp.AggFunc):
        return False
    return bool(by.args.get("all")) or any(_is_day(part, select, day, name) for part in by.expressions)


def _is_day(part: exp.Expr, select: exp.Select, day: exp.Expr, name: str) -> bool:
    if isinstance(part, exp.Literal) and part.is_int:
        return select.expressions[int(part.this) - 1].unalias() is day
    if part == day:
        return True
    return isinstance(part, exp.Column) and not part.table and part.name.lower() == name.lower()


def _of_driver(day: exp.Expr, driver: exp.Table, *, alone: bool) -> dict[str, str]:
    """Return the driver's columns a day is computed from, and, under the empty name, the day as SQL over the driver."""
    day = day.copy()
    columns: dict[str, str] = {}
    for column in list(day.find_all(exp.Column)):
        if column.table.lower() != driver.alias_or_name.lower() and (column.table or not alone):
            raise Refused("the day is not computed from its driver's columns alone")
        columns[column.name] = column.name
        column.set("table", exp.to_identifier("d"))
    if day.find(exp.Select):
        raise Refused("the day is computed by a subquery")
    return columns | {"": day.sql("duckdb")}
