"""Iceberg tables on one branch: load, evolve, commit.

A commit is written client-side (spec v2): data and delete files first, then manifests, manifest list and metadata JSON,
then the pointer moves in the catalog. One commit a table a run; nothing is visible on main before the publish.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyiceberg.manifest import ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import (
    AddPartitionSpecUpdate,
    AddSchemaUpdate,
    SetCurrentSchemaUpdate,
    SetDefaultSpecUpdate,
    SetPropertiesUpdate,
    TableUpdate,
    update_table_metadata,
)
from pyiceberg.typedef import Record

from starberg.storage.branches import Branch, Catalog, Move, TableIds
from starberg.storage.columns import PartitionBy, SqlColumn, WrittenFile
from starberg.storage.iceberg_schemas import evolved_schema, new_schema, parquet_field_ids, partition_spec, stored_type
from starberg.storage.iceberg_writer import SnapshotWriter
from starberg.storage.object_store import ObjectStore
from starberg.storage.store_io import StoreIO
from starberg.utils.errors import LakeError

_TABLE_PROPERTIES = {
    # Earlier metadata files are what tags, branches and time travel point at.
    "write.metadata.delete-after-commit.enabled": "false",
    "write.parquet.compression-codec": "zstd",
}


@dataclass(frozen=True)
class IcebergTable:
    """A table as one metadata file says it is; `location` is that file's, or None for a table not yet committed.

    `restarted` says that a staged table has none of the files of the table before: all rows must be written again.
    """

    name: str
    location: str | None
    metadata: TableMetadata
    restarted: bool = False

    @property
    def schema(self) -> Schema:
        """The current schema."""
        return self.metadata.schema()

    @property
    def spec(self) -> PartitionSpec:
        """The partition spec new files are written with."""
        return self.metadata.spec()

    def facts(self) -> dict[str, Any]:
        """Return rows, data files, bytes, the share of rows deleted by position, and the last change (UTC)."""
        snapshot = self.metadata.current_snapshot()
        summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
        stored, deleted = int(summary.get("total-records", 0)), int(summary.get("total-position-deletes", 0))
        changed_ms = snapshot.timestamp_ms if snapshot else self.metadata.last_updated_ms
        return {
            "rows": stored - deleted,
            "files": int(summary.get("total-data-files", 0)),
            "bytes": int(summary.get("total-files-size", 0)),
            "delete_ratio": round(deleted / stored, 4) if stored else 0.0,
            "changed_at": datetime.fromtimestamp(changed_ms / 1000, UTC),
        }

    def field_ids(self) -> Mapping[str, Any]:
        """Field ids for a Parquet writer, see `parquet_field_ids`."""
        return parquet_field_ids(self.schema)

    def stored_types(self) -> Mapping[str, str]:
        """SQL types the columns must be written as, see `stored_type`."""
        return {field.name: stored_type(field.field_type) for field in self.schema.fields}

    def partition_by(self) -> tuple[PartitionBy, ...]:
        """How new files are partitioned."""
        return tuple(
            PartitionBy(str(part.transform), self.schema.find_column_name(part.source_id) or "")
            for part in self.spec.fields
        )


@dataclass(frozen=True)
class LiveFile:
    """A data file of the current snapshot; `rows` counts those deleted by position too."""

    rows: int
    size_bytes: int
    spec_id: int
    partition: tuple[Any, ...]


@dataclass(frozen=True)
class DeleteFile:
    """Position deletes for data files of one partition: a Parquet file with `file_path`, `pos`, sorted."""

    file: WrittenFile
    data_files: Sequence[str]


@dataclass
class Change:
    """What one commit does to a table: Parquet files in, position deletes, data files that leave.

    `removed` maps a leaving data file to the number of its rows that position deletes had already removed.
    """

    added: Sequence[WrittenFile] = ()
    deletes: Sequence[DeleteFile] = ()
    removed: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.deletes or self.removed)


class BranchTables:
    """The tables one run reads and commits on its branch.

    `pointers` is the branch's state (`namespace.table` → metadata location), kept current by `commit`.
    """

    def __init__(self, catalog: Catalog, store: ObjectStore, branch: Branch, pointers: Mapping[str, str]) -> None:
        self.pointers = dict(pointers)
        self._catalog = catalog
        self._store = store
        self._branch = branch
        self._io = StoreIO(store)
        self._loaded: dict[str, IcebergTable] = {}
        self._read: dict[str, list[ManifestEntry]] = {}

    def load(self, name: str) -> IcebergTable | None:
        """Return the branch's table, or None if it has none of that name."""
        location = self.pointers.get(name)
        if location is None:
            return None
        loaded = self._loaded.get(name)
        if loaded is None or loaded.location != location:
            loaded = self._loaded[name] = read_table(self._store, name, location)
        return loaded

    def staged(self, name: str, columns: Sequence[SqlColumn], partition: Sequence[PartitionBy] = ()) -> IcebergTable:
        """Return the table as it must be before rows with `columns` are written; nothing is committed yet."""
        current = self.load(name)
        if current is None:
            schema = new_schema(columns)
            metadata = new_table_metadata(
                schema=schema,
                partition_spec=partition_spec(schema, partition),
                sort_order=UNSORTED_SORT_ORDER,
                location=self._store.uri("tables/" + name.replace(".", "/")),
                properties=dict(_TABLE_PROPERTIES),
            )
            return IcebergTable(name, None, metadata)
        schema = evolved_schema(current.schema, current.metadata.last_column_id, columns)
        if _loses_partition_column(current.metadata, schema):
            return IcebergTable(name, current.location, _restarted(current.metadata, schema, partition), restarted=True)
        return IcebergTable(name, current.location, _evolved(current.metadata, schema, partition))

    def data_files(self, table: IcebergTable) -> Mapping[str, LiveFile]:
        """Return the table's data files by location."""
        snapshot = table.metadata.current_snapshot()
        manifests = snapshot.manifests(self._io) if snapshot else []
        data = [manifest for manifest in manifests if manifest.content == ManifestContent.DATA]
        files = [entry.data_file for manifest in data for entry in self._entries(manifest)]
        return {
            file.file_path: LiveFile(file.record_count, file.file_size_in_bytes, file.spec_id, _values(file.partition))
            for file in files
        }

    def _entries(self, manifest: ManifestFile) -> list[ManifestEntry]:
        """Return a manifest's live entries; each is read once."""
        path = manifest.manifest_path
        if path not in self._read:
            self._read[path] = manifest.fetch_manifest_entry(self._io)
        return self._read[path]

    def put_file(self, table: IcebergTable, path: Path, kind: str) -> str:
        """Move a local Parquet file into the table's folder; return its location."""
        location = f"{table.metadata.location}/data/{kind}-{uuid.uuid4()}.parquet"
        self._store.put_file(self._store.key(location), path)
        return location

    def commit(self, table: IcebergTable, change: Change, properties: Mapping[str, str] | None = None) -> IcebergTable:
        """Commit `change` to `table` (from `staged`) on the branch; return the committed table."""
        base = self.load(table.name)
        start = base.metadata if base and not table.restarted else table.metadata
        updates: list[TableUpdate] = list(_schema_updates(start, table.metadata))
        if change or base is None or table.restarted:
            writer = SnapshotWriter(table.metadata, self._io, self._entries)
            updates += writer.write(
                added=change.added,
                deletes=[(d.file, d.data_files) for d in change.deletes],
                removed=change.removed,
            )
        if properties:
            updates.append(SetPropertiesUpdate(updates=dict(properties)))
        metadata = update_table_metadata(start, tuple(updates), metadata_location=base.location if base else None)
        location = _next_location(base, metadata)
        ToOutputFile.table_metadata(metadata, self._io.new_output(location))
        move = Move(table.name, base.location if base else None, location, _ids(metadata))
        self._catalog.move(self._branch, [move])
        self.pointers[table.name] = location
        committed = self._loaded[table.name] = IcebergTable(table.name, location, metadata)
        return committed

    def drop(self, names: Sequence[str]) -> None:
        """Drop tables on the branch; their files stay for readers of older states."""
        moves = [Move(name, self.pointers[name], None) for name in names]
        self._catalog.move(self._branch, moves)
        for name in names:
            del self.pointers[name]


def read_table(store: ObjectStore, name: str, location: str) -> IcebergTable:
    """Read a table's metadata file; LakeError if it is missing or not a metadata file."""
    try:
        metadata = FromInputFile.table_metadata(StoreIO(store).new_input(location))
    except (FileNotFoundError, ValueError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise LakeError(
            f"metadata of {name} {reason}: {location}", hint="Restore the file, or run `starberg rebuild`."
        ) from error
    return IcebergTable(name, location, metadata)


def _loses_partition_column(base: TableMetadata, schema: Schema) -> bool:
    """Tell whether a spec of the table partitions by a column the schema will not have.

    Such a table could not be read: PyIceberg and Java know no type for its partition values, DuckDB 1.5.5 aborts.
    """
    kept = {field.field_id for field in schema.fields}
    return any(field.source_id not in kept for spec in base.partition_specs for field in spec.fields)


def _restarted(base: TableMetadata, schema: Schema, partition: Sequence[PartitionBy]) -> TableMetadata:
    """Return the same table without files, with one schema and one spec; earlier metadata files keep its history."""
    schema = _numbered(base, schema)
    spec_id = max(spec.spec_id for spec in base.partition_specs) + 1
    spec = PartitionSpec(*partition_spec(schema, partition, (), base.last_partition_id).fields, spec_id=spec_id)
    return base.model_copy(
        update={
            "schemas": [schema],
            "current_schema_id": schema.schema_id,
            "last_column_id": max(base.last_column_id, schema.highest_field_id),
            "partition_specs": [spec],
            "default_spec_id": spec_id,
            "last_partition_id": max([base.last_partition_id or 0, *(field.field_id for field in spec.fields)]),
            "snapshots": [],
            "snapshot_log": [],
            "current_snapshot_id": None,
            "refs": {},
            "statistics": [],
            "partition_statistics": [],
        }
    )


def _evolved(base: TableMetadata, schema: Schema, partition: Sequence[PartitionBy]) -> TableMetadata:
    updates: list[TableUpdate] = []
    if schema is not base.schema():
        schema = _numbered(base, schema)
        updates += [AddSchemaUpdate(schema_=schema), SetCurrentSchemaUpdate(schema_id=-1)]
    specs = [base.spec(), *base.partition_specs]
    updates += _spec_updates(base, partition_spec(schema, partition, specs, base.last_partition_id))
    return update_table_metadata(base, tuple(updates)) if updates else base


def _numbered(base: TableMetadata, schema: Schema) -> Schema:
    return schema.model_copy(update={"schema_id": max(known.schema_id for known in base.schemas) + 1})


def _schema_updates(base: TableMetadata, table: TableMetadata) -> list[TableUpdate]:
    """Return the updates that lead from the committed table to the staged one."""
    updates: list[TableUpdate] = []
    if base.current_schema_id != table.current_schema_id:
        updates += [AddSchemaUpdate(schema_=table.schema()), SetCurrentSchemaUpdate(schema_id=-1)]
    return updates + _spec_updates(base, table.spec())


def _spec_updates(base: TableMetadata, spec: PartitionSpec) -> list[TableUpdate]:
    """Return the updates that make `spec` the table's own, if it is not."""
    if spec.spec_id == base.default_spec_id:
        return []
    known = any(spec.spec_id == earlier.spec_id for earlier in base.partition_specs)
    return [*([] if known else [AddPartitionSpecUpdate(spec=spec)]), SetDefaultSpecUpdate(spec_id=spec.spec_id)]


def _values(record: Record) -> tuple[Any, ...]:
    return tuple(record[position] for position in range(len(record)))


def _next_location(base: IcebergTable | None, metadata: TableMetadata) -> str:
    version = int(base.location.rsplit("/", 1)[1].split("-", 1)[0]) + 1 if base and base.location else 0
    return f"{metadata.location}/metadata/{version:05d}-{uuid.uuid4()}.metadata.json"


def _ids(metadata: TableMetadata) -> TableIds:
    return TableIds(
        snapshot_id=metadata.current_snapshot_id or -1,
        schema_id=metadata.current_schema_id,
        spec_id=metadata.default_spec_id,
        sort_order_id=metadata.default_sort_order_id,
    )
