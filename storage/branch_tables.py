"""The tables of one branch, as a run reads and commits them.

PyIceberg takes half a second to import, so a thread does it (`iceberg_tables`) while the run asks its engine.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from starberg.storage.branches import Branch, Catalog, Move
from starberg.storage.columns import PartitionBy, SqlColumn
from starberg.storage.object_store import ObjectStore
from starberg.storage.table_files import Change, LiveFile

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestEntry

    from starberg.storage.iceberg_tables import IcebergTable


class BranchTables:
    """The tables one run reads and commits on its branch.

    `pointers` is where the tables are (`namespace.table` → metadata location), kept current by `commit`; the branch
    learns of it at `save`: one step for all tables, as each costs a server's commit.
    """

    def __init__(self, catalog: Catalog, store: ObjectStore, branch: Branch, pointers: Mapping[str, str]) -> None:
        self.pointers = dict(pointers)
        self._saved = dict(pointers)
        self._catalog = catalog
        self._store = store
        self._branch = branch
        self._loaded: dict[str, IcebergTable] = {}
        self._read: dict[str, list[ManifestEntry]] = {}
        Thread(target=import_module, args=("starberg.storage.iceberg_tables",), daemon=True).start()

    def load(self, name: str) -> IcebergTable | None:
        """Return the branch's table, or None if it has none of that name."""
        from starberg.storage.iceberg_tables import read_table

        location = self.pointers.get(name)
        if location is None:
            return None
        loaded = self._loaded.get(name)
        if loaded is None or loaded.location != location:
            loaded = self._loaded[name] = read_table(self._store, name, location)
        return loaded

    def staged(self, name: str, columns: Sequence[SqlColumn], partition: Sequence[PartitionBy] = ()) -> IcebergTable:
        """Return the table as it must be before rows with `columns` are written; nothing is committed yet."""
        from starberg.storage.iceberg_tables import evolved_table, new_table

        current = self.load(name)
        if current is None:
            return new_table(name, self._store.uri("tables/" + name.replace(".", "/")), columns, partition)
        return evolved_table(current, columns, partition)

    def data_files(self, table: IcebergTable) -> Mapping[str, LiveFile]:
        """Return the table's data files by location; each manifest is read once."""
        from starberg.storage.iceberg_tables import live_files

        return live_files(table, self._store, self._read)

    def delete_files(self, table: IcebergTable) -> Mapping[str, LiveFile]:
        """Return the table's delete files by location; each manifest is read once."""
        from pyiceberg.manifest import ManifestContent

        from starberg.storage.iceberg_tables import live_files

        return live_files(table, self._store, self._read, ManifestContent.DELETES)

    def put_file(self, table: IcebergTable, path: Path, kind: str) -> str:
        """Move a local Parquet file into the table's folder; return its location."""
        location = f"{table.metadata.location}/data/{kind}-{uuid.uuid4()}.parquet"
        self._store.put_file(self._store.key(location), path)
        return location

    def commit(self, table: IcebergTable, change: Change, properties: Mapping[str, str] | None = None) -> IcebergTable:
        """Write what `change` makes of `table` (from `staged`); return that table."""
        from starberg.storage.iceberg_tables import changed_table

        base = self.load(table.name)
        committed = changed_table(base, table, change, properties or {}, self._store, self._read)
        assert committed.location
        self.pointers[table.name] = committed.location
        self._loaded[table.name] = committed
        return committed

    def save(self) -> None:
        """Move the branch's pointers to the tables as they are now, in one step."""
        moves = [
            Move(name, self._saved.get(name), location, self._loaded[name].ids)
            for name, location in self.pointers.items()
            if self._saved.get(name) != location
        ]
        if moves:
            self._catalog.move(self._branch, moves)
        self._saved = dict(self.pointers)

    def publish(self, message: str) -> str:
        """Save, and make main's tables the branch's in one step; return main's new position."""
        self.save()
        return self._catalog.publish(self._branch, message)
