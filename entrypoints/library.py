"""The views and functions of warehouses, over one state of the catalog.

Which names there are is told by the names of files: a warehouse's declarations are read when one of its own is asked
for, so that a mistake in one warehouse is of no concern to questions about others.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from starberg.engines.duckdb import DuckDBEngine
from starberg.etl.control_tables import TABLES, no_rows
from starberg.etl.library import create
from starberg.etl.model import Kind, Table
from starberg.etl.project import Warehouses
from starberg.storage.branches import State
from starberg.utils.errors import DeclarationError, UsageError
from starberg.utils.sql import quote

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """What queries over a state may name beside its tables."""

    warehouses: Warehouses
    state: State

    def names(self, kind: Kind, warehouse: str | None = None) -> list[str]:
        """Return the names `warehouse.view` or `warehouse.function` of warehouses that have tables in the state."""
        there = sorted({name.split(".")[0] for name in self.state.tables})
        return [
            f"{owner}.{name}"
            for owner in there
            if warehouse in (None, owner)
            for name, found in self.warehouses.library(owner).items()
            if found is kind
        ]

    def item(self, name: str) -> Table:
        """Return a view or function by its full name; DeclarationError tells the first mistake of its warehouse."""
        warehouse, short = name.split(".")
        return self.warehouses[warehouse].library[short]

    def all(self, warehouses: Iterable[str]) -> list[Table]:
        """Return all views and functions of some warehouses, but of those whose declarations have a mistake."""
        found: list[Table] = []
        for name in warehouses:
            if self.warehouses.library(name):
                try:
                    found += self.warehouses[name].library.values()
                except DeclarationError as error:
                    log.warning("the views and functions of %s are left out: %s", name, error)
        return found

    def needed(self, names: Collection[str]) -> tuple[set[str], list[Table]]:
        """Return the tables that some names stand for, and the views and functions, each after what it reads."""
        tables = {name for name in names if name in self.state.tables}
        items: dict[str, Table] = {}
        for name in sorted(set(names) - tables):
            if not self._is_item(name):
                continue
            item = self.item(name)
            more, before = self.needed(reads(item))
            tables |= more
            items |= {other.id: other for other in before} | {item.id: item}
        return tables, list(items.values())

    def define(self, engine: DuckDBEngine, items: Iterable[Table], *, strict: bool) -> None:
        """Make views and functions in an engine that has their tables.

        Where one cannot be made (it reads what was not there then) strict is a UsageError; else it is left out.
        """
        for item in items:
            try:
                self._control_tables(engine, item)
                engine.run(create(item))
            except UsageError as error:
                missing = [name for name in reads(item) if not self._is_there(name)]
                if strict:
                    raise self._impossible(item, missing, error) from error
                if not missing:
                    log.warning("%s is left out: %s", item.id, error)

    def _control_tables(self, engine: DuckDBEngine, item: Table) -> None:
        """Stand in for control tables nobody has written to yet."""
        for name in reads(item):
            owner, table = name.split(".")
            if table in TABLES and name not in self.state.tables and owner == item.warehouse:
                engine.run(f"CREATE OR REPLACE VIEW {quote(name)} AS {no_rows(table)}")

    def _is_item(self, name: str) -> bool:
        owner, short = name.split(".")
        return short in self.warehouses.library(owner)

    def _is_there(self, name: str) -> bool:
        return name in self.state.tables or name.split(".")[1] in TABLES or self._is_item(name)

    @staticmethod
    def _impossible(item: Table, missing: list[str], error: UsageError) -> UsageError:
        if missing:
            return UsageError(f"{item.id} reads {missing[0]}, which was not there then", hint="See `starberg tables`.")
        return UsageError(f"{item.id} ({item.path.name}): {error}")


def reads(item: Table) -> list[str]:
    """Return the full names of what a view or function reads."""
    return [name if "." in name else f"{item.warehouse}.{name}" for name in item.reads]
