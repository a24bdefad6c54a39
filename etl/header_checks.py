"""The checks a table's header declares, as SQL: SELECTs whose rows are failures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from starberg.etl.control_tables import TABLES
from starberg.etl.dates import header_of, is_by_date, zone_of
from starberg.etl.headers import HeaderCheck, Value
from starberg.etl.model import UNKNOWN_KEY, Table, Warehouse
from starberg.etl.quality import Check
from starberg.utils.sql import names, quote, quote_name, text

RUNS = "etl_table_runs"
KNOWN_RUNS, LEAST_RUNS = 7, 5
VOLUME_SHARE = 0.5
"""A newest day that is over, with less of the usual rows, is told of every fact built by date."""

assert RUNS in TABLES


def header_checks(
    table: Table, rows_brought: int, warehouse: Warehouse, today: date, *, has_runs: bool
) -> Iterator[Check]:
    """Return the checks of rows and volume of a table that changed.

    `rows_brought` are those the run inserted and updated, `has_runs` says that earlier runs are known. Days before
    `today` are over.
    """
    declared: list[HeaderCheck] = getattr(table.header, "checks", [])
    for check in declared:
        if check.what == "volume":
            yield from _volume(table, check, rows_brought, warehouse, today, has_runs=has_runs)
        elif check.what != "freshness":
            for name, select in _rows(table, check):
                yield Check(name, table.id, select, check.severity or "error", check.tolerance)
    if is_by_date(table) and not any(check.what == "volume" for check in declared):
        yield from _volume(table, HeaderCheck(volume=VOLUME_SHARE), rows_brought, warehouse, today, has_runs=has_runs)


def freshness_checks(table: Table, now: datetime, *, moved: bool, has_runs: bool) -> Iterator[Check]:
    """Return the checks of a table's age; also of one that did not change, which is when they matter."""
    for check in getattr(table.header, "checks", []):
        if check.what == "freshness" and not moved and has_runs:
            brought = "rows_inserted + rows_updated + rows_deleted > 0"
            last = f"SELECT max(ended_at) AS changed_at FROM {_runs(table)} WHERE {_own(table)} AND {brought}"
            since = f"TIMESTAMP {text(str(now.replace(tzinfo=None)))} - INTERVAL {round(check.freshness * 3600)} SECOND"
            select = f"SELECT changed_at FROM ({last}) WHERE changed_at < {since}"
            yield Check("freshness", table.id, select, check.severity or "warn", check.tolerance)


def _rows(table: Table, check: HeaderCheck) -> Iterator[tuple[str, str]]:
    stated = _stated(table)
    rows = f"SELECT * FROM {stated} WHERE"
    for column in check.not_null:
        yield f"{column}_not_null", f"{rows} {quote_name(column)} IS NULL"
    if check.unique:
        listed = names(check.unique)
        same = f"SELECT {listed}, count(*) AS rows FROM {stated} GROUP BY ALL HAVING count(*) > 1"
        yield f"{'_'.join(check.unique)}_unique", same
    for column, values in check.accepted.items():
        yield f"{column}_accepted", f"{rows} {quote_name(column)} NOT IN ({', '.join(_literal(v) for v in values)})"
    for column, (least, greatest) in check.range.items():
        bounds = [(least, "<"), (greatest, ">")]
        outside = [f"{quote_name(column)} {sign} {_literal(v)}" for v, sign in bounds if v is not None]
        yield f"{column}_range", f"{rows} {' OR '.join(outside) or 'false'}"
    for column, refers in check.relationship.items():
        other, own = refers.rstrip(")").split("(")
        there = f"FROM {quote(f'{table.warehouse}.{other}')} o WHERE o.{quote_name(own)} = t.{quote_name(column)}"
        yield (
            f"{column}_relationship",
            f"SELECT t.* FROM {stated} t WHERE t.{quote_name(column)} IS NOT NULL AND NOT EXISTS ({there})",
        )
    if check.identity:
        yield "identity", f"{rows} NOT ({check.identity})"


def _stated(table: Table) -> str:
    """Return the rows a source stated: of a dimension neither the unknown member nor inferred ones."""
    if not table.surrogate_key:
        return quote(table.id)
    known = f"{quote_name(table.surrogate_key)} <> {UNKNOWN_KEY} AND NOT is_inferred"
    return f"(SELECT * FROM {quote(table.id)} WHERE {known})"


def _volume(
    table: Table, check: HeaderCheck, rows_brought: int, warehouse: Warehouse, today: date, *, has_runs: bool
) -> Iterator[Check]:
    if is_by_date(table):
        day = zone_of(table, warehouse).day_of(quote_name(header_of(table).date))
        over = f"{day} < DATE {text(str(today))}"
        days = f"SELECT {day} AS day, count(*) AS rows FROM {quote(table.id)} WHERE {over} GROUP BY 1 ORDER BY 1 DESC"
        newest = f"(SELECT rows FROM ({days} LIMIT 1))"
        known = f"{days} LIMIT {KNOWN_RUNS} OFFSET 1"
    elif has_runs:
        newest, brought = str(rows_brought), "rows_inserted + rows_updated"
        known = (
            f"SELECT {brought} AS rows FROM {_runs(table)} WHERE {_own(table)} AND {brought} > 0 "
            f"AND strategy NOT IN ('rebuild', 'restate', 'keys') ORDER BY started_at DESC LIMIT {KNOWN_RUNS}"
        )
    else:
        return
    select = (
        f"SELECT {newest} AS rows, median(rows) AS usual, count(*) AS known FROM ({known}) "
        f"HAVING count(*) >= {LEAST_RUNS} AND {newest} < {check.volume} * median(rows)"
    )
    yield Check("volume", table.id, select, check.severity or "warn", check.tolerance)


def _runs(table: Table) -> str:
    return quote(f"{table.warehouse}.{RUNS}")


def _own(table: Table) -> str:
    return f"table_name = {text(table.name)}"


def _literal(value: Value) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    return text(str(value))
