"""Which tables' rows may be others in another time zone, as far as declarations tell. Pure.

Where it cannot be told whether a column is a date or a time, it is taken for what the zone matters to.
"""

from __future__ import annotations

from collections.abc import Iterator

from starberg.etl.compile import dependents_on, lookups
from starberg.etl.declared_types import is_date, is_passed_on
from starberg.etl.headers import DimensionHeader, FactHeader, Lookup
from starberg.etl.model import Kind, Table, Warehouse, needs_history
from starberg.etl.snapshots import times_of


def hangs_on_zone(table: Table, warehouse: Warehouse) -> bool:
    """Return whether a table has other rows in another zone: days of times, starts of dates, ends of days."""
    if table.kind not in (Kind.DIMENSION, Kind.BRIDGE, Kind.FACT):
        return False
    if isinstance(table.header, FactHeader) and table.header.is_snapshot:
        return True
    return (
        any(is_date(of, column, warehouse) is not True for of, column in _days(table, warehouse))
        or any(is_date(of, column, warehouse) is not False for of, column in _moments(table, warehouse))
        or any(_names_others(other, table, lookup) for other, lookup in dependents_on(warehouse, table.name))
    )


def _days(table: Table, warehouse: Warehouse) -> Iterator[tuple[Table, str]]:
    """Yield the columns, with their tables, of which a table has the day: of dates there is nothing to be told."""
    if isinstance(table.header, FactHeader):
        yield from ((table, column) for column in (*table.header.milestones, table.header.date) if column)
    for lookup in lookups(table).values():
        if _is_calendar(warehouse.tables[lookup.dimension]):
            yield table, lookup.own_columns()[0]
    if _is_calendar(table):
        yield from ((other, lookup.own_columns()[0]) for other, lookup in dependents_on(warehouse, table.name))


def _moments(table: Table, warehouse: Warehouse) -> Iterator[tuple[Table, str]]:
    """Yield the columns, with their tables, of which a table has the moment: that of a date is the day's first."""
    yield from ((table, lookup.as_of) for lookup in lookups(table).values() if lookup.as_of)
    if isinstance(table.header, DimensionHeader):
        yield from ((table, column) for column in (table.header.valid_from, table.header.created_at) if column)
    elif needs_history(table):
        for staging in (warehouse.tables[name] for name in table.reads):
            times = times_of(table, staging, warehouse)
            yield from ((staging, column) for column in (times.valid_from, times.created_at) if column)


def _names_others(other: Table, dimension: Table, lookup: Lookup) -> bool:
    """Return whether a snapshot may look up other members on days with other ends: what it computes may be others."""
    if not (isinstance(other.header, FactHeader) and other.header.is_snapshot and lookup.missing == "infer"):
        return False
    return not all(is_passed_on(other, column) for column in lookup.own_columns()) and not _is_calendar(dimension)


def _is_calendar(table: Table) -> bool:
    return isinstance(table.header, DimensionHeader) and table.header.calendar is not None
