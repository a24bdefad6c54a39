"""A catalog in which some warehouses' tables have another namespace than the warehouse's name.

Everything above it says `warehouse.table`; the catalog, and every engine that reads it, `namespace.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from starberg.storage.branches import MAIN, Branch, Catalog, Move, State


def renamed(name: str, namespaces: Mapping[str, str]) -> str:
    """Return a table's name with another namespace, if its own has another one.

    >>> renamed("projects.dim_issue", {"projects": "pm"}), renamed("games.dim_date", {"projects": "pm"})
    ('pm.dim_issue', 'games.dim_date')
    """
    namespace, dot, table = name.partition(".")
    return f"{namespaces.get(namespace, namespace)}{dot}{table}"


class NamespacedCatalog:
    """Another catalog by the warehouses' own names; each method is `Catalog`'s.

    `find` returns the namespaces of warehouses that have another one. Tables in a namespace that is called as such a
    warehouse are nobody's: they are not seen, and what they hold stays.
    """

    def __init__(self, catalog: Catalog, find: Callable[[], Mapping[str, str]]) -> None:
        self._catalog = catalog
        self._find = find
        self.writes_metadata = catalog.writes_metadata

    @cached_property
    def _namespaces(self) -> Mapping[str, str]:
        return self._find()

    @cached_property
    def _warehouses(self) -> Mapping[str, str]:
        return {namespace: warehouse for warehouse, namespace in self._namespaces.items()}

    def state(self, at: str = MAIN) -> State:
        """See `Catalog.state`."""
        found = self._catalog.state(at)
        seen = {name: at for name, at in found.tables.items() if name.partition(".")[0] not in self._namespaces}
        return replace(found, tables={renamed(name, self._warehouses): at for name, at in seen.items()})

    def create_branch(self, run_id: str, warehouse: str) -> Branch:
        """See `Catalog.create_branch`."""
        return self._inside(self._catalog.create_branch(run_id, renamed(warehouse, self._namespaces)))

    def move(self, branch: Branch, moves: Sequence[Move]) -> None:
        """See `Catalog.move`."""
        named = [replace(move, table=renamed(move.table, self._namespaces)) for move in moves]
        self._catalog.move(self._outside(branch), named)

    def publish(self, branch: Branch, message: str) -> str:
        """See `Catalog.publish`."""
        return self._catalog.publish(self._outside(branch), message)

    def published(self, run_id: str) -> str | None:
        """See `Catalog.published`."""
        return self._catalog.published(run_id)

    def branches(self, warehouse: str | None = None) -> list[Branch]:
        """See `Catalog.branches`."""
        found = self._catalog.branches(warehouse and renamed(warehouse, self._namespaces))
        return [self._inside(branch) for branch in found]

    def drop_branch(self, branch: Branch) -> None:
        """See `Catalog.drop_branch`."""
        self._catalog.drop_branch(self._outside(branch))

    def pointers(self, since: datetime) -> set[tuple[str, str]]:
        """See `Catalog.pointers`; of tables that are not seen, too, as their files are in the same folders."""
        return {(renamed(name, self._warehouses), at) for name, at in self._catalog.pointers(since)}

    def tag(self, name: str, position: str | None = None) -> None:
        """See `Catalog.tag`."""
        self._catalog.tag(name, position)

    def tags(self) -> dict[str, str]:
        """See `Catalog.tags`."""
        return self._catalog.tags()

    def drop_tag(self, name: str) -> None:
        """See `Catalog.drop_tag`."""
        self._catalog.drop_tag(name)

    def identity(self) -> str:
        """See `Catalog.identity`."""
        return self._catalog.identity()

    def close(self) -> None:
        """See `Catalog.close`."""
        self._catalog.close()

    def _outside(self, branch: Branch) -> Branch:
        return replace(branch, warehouse=renamed(branch.warehouse, self._namespaces))

    def _inside(self, branch: Branch) -> Branch:
        return replace(branch, warehouse=renamed(branch.warehouse, self._warehouses))
