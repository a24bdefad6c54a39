"""What is built from what: the order of building, and who stands before and after a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from starberg.etl.headers import BridgeHeader, FactHeader
from starberg.etl.model import Kind, Table, Warehouse
from starberg.utils.errors import DeclarationError

_ORDER = {kind: number for number, kind in enumerate(Kind)}


def inputs(table: Table) -> list[str]:
    """Return the names of what a table is built from: what its SELECT reads and the dimensions it looks up."""
    looked_up: list[str] = []
    if isinstance(table.header, FactHeader | BridgeHeader):
        looked_up = [lookup.dimension for lookup in table.header.keys.values()]
    return list(dict.fromkeys([*table.reads, *looked_up]))


def building_order(tables: Iterable[Table]) -> list[Table]:
    """Return tables by kind, and within a kind each after what it reads; else by name.

    DeclarationError names the tables of a cycle.
    """
    by_name = {table.name: table for table in sorted(tables, key=lambda table: (_ORDER[table.kind], table.name))}
    return [by_name[name] for kind in Kind for name in _sorted(by_name, kind)]


def _sorted(by_name: Mapping[str, Table], kind: Kind) -> list[str]:
    edges = {
        name: [other for other in inputs(table) if other in by_name and by_name[other].kind is kind]
        for name, table in by_name.items()
        if table.kind is kind
    }
    sorter = TopologicalSorter(edges)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        raise DeclarationError(
            str(by_name[cycle[0]].path),
            f"tables read one another: {' → '.join(cycle)}",
            hint="Move what they share into a table of its own.",
        ) from None
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += ready
        sorter.done(*ready)
    return ordered


def upstream(warehouse: Warehouse, name: str) -> list[Table]:
    """Return all tables a table is built from, directly or not, in building order."""
    before = {table.name: inputs(table) for table in warehouse.tables.values()}
    return _reached(warehouse, name, before)


def dependents(warehouse: Warehouse, name: str) -> list[Table]:
    """Return all tables and checks built from a table, directly or not, in building order."""
    after: dict[str, list[str]] = {}
    for table in warehouse.tables.values():
        for read in inputs(table):
            after.setdefault(read, []).append(table.name)
    return _reached(warehouse, name, after)


def _reached(warehouse: Warehouse, name: str, edges: Mapping[str, Iterable[str]]) -> list[Table]:
    found: set[str] = set()
    front = [name]
    while front:
        for other in edges.get(front.pop(), ()):
            if other in warehouse.tables and other not in found:
                found.add(other)
                front.append(other)
    return [table for table in warehouse.tables.values() if table.name in found]
