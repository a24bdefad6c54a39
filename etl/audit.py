"""Which checks a run has to make: of the tables that changed, and of those that look up one that did."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from starberg.etl.build import BuildResult
from starberg.etl.compile import lookups
from starberg.etl.header_checks import RUNS, freshness_checks, header_checks
from starberg.etl.headers import CheckHeader, DimensionHeader
from starberg.etl.model import Kind, Table, Warehouse
from starberg.etl.quality import Check, DataQualityCheck, invariants


def due_checks(
    warehouse: Warehouse,
    moved: Collection[str],
    build: BuildResult,
    existing: Collection[str],
    now: datetime,
    passed: Sequence[DataQualityCheck] = (),
) -> list[Check]:
    """Return the checks for a branch on which some tables (`warehouse.table`) moved; if none did, those of age alone.

    Of a table that was computed in part, that part is looked at. What reads a table that does not exist yet, or that
    the build left stale, waits for it. `passed` are a caller's own.
    """
    has_runs = f"{warehouse.name}.{RUNS}" in existing
    there = {*existing} - {f"{warehouse.name}.{name}" for name in build.stale} | {*moved}
    brought = {t.name: t.rows_inserted + t.rows_updated for t in build.tables}
    today = warehouse.zone.today(now)
    checks: list[Check] = []
    for table in warehouse.tables.values():
        if table.id in existing:
            checks += freshness_checks(table, now, moved=table.id in moved, has_runs=has_runs)
        related = {table.id, *(f"{table.warehouse}.{name}" for name in _checked_against(table))}
        if table.id in there and related & {*moved}:
            checks += invariants(table, warehouse, build.scopes)
            checks += header_checks(table, brought.get(table.name, 0), warehouse, today, has_runs=has_runs)
    if moved:
        checks += [*own_checks(warehouse, there), *(check.check() for check in passed)]
    return checks


def own_checks(warehouse: Warehouse, existing: Collection[str]) -> Iterator[Check]:
    """Return the warehouse's declared checks whose tables are there."""
    for table in warehouse.of_kind(Kind.CHECK):
        assert isinstance(table.header, CheckHeader)
        own = [name.rpartition(".")[2] for name in table.reads if name.rpartition(".")[0] in ("", warehouse.name)]
        if all(f"{warehouse.name}.{name}" in existing for name in own):
            yield Check(table.name, table.name, table.select, table.header.severity)


def _checked_against(table: Table) -> list[str]:
    """Return the tables whose changes are a reason to check a table again: looked up, or with its live keys."""
    if isinstance(table.header, DimensionHeader) and table.header.is_type2:
        return list(table.reads)
    return [lookup.dimension for lookup in lookups(table).values()]
