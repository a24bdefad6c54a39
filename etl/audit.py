"""Which checks a run has to make: of the tables that changed, and of those that look up one that did."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from starberg.etl.build_writer import Touched
from starberg.etl.compile import lookups
from starberg.etl.model import CheckHeader, DimensionHeader, Kind, Table, Warehouse
from starberg.etl.quality import Check, invariants


def due_checks(
    warehouse: Warehouse,
    moved: Collection[str],
    scopes: Mapping[str, Touched],
    existing: Collection[str],
    stale: Collection[str] = (),
) -> list[Check]:
    """Return the checks for a branch on which some tables (`warehouse.table`) moved; none if none did.

    Of a table that was computed in part (`scopes`), that part is looked at. What reads a table that does not exist yet,
    or that the run left `stale`, waits for it.
    """
    if not moved:
        return []
    existing = {*existing} - {f"{warehouse.name}.{name}" for name in stale} | {*moved}
    checks: list[Check] = []
    for table in warehouse.tables.values():
        related = {table.id, *(f"{table.warehouse}.{name}" for name in _checked_against(table))}
        if table.id in existing and related & {*moved}:
            checks += invariants(table, warehouse, scopes.get(table.id))
    return [*checks, *own_checks(warehouse, existing)]


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
