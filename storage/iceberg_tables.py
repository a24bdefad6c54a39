"""Iceberg tables: read, evolve, change.

A change is written client-side (spec v2): data and delete files first, then manifests, manifest list and metadata JSON,
one commit a table a run. Branches learn of it from `BranchTables`; nothing is visible before the publish.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pyiceberg.manifest import ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import (
    AddPartitionSpecUpdate,
    AddSchemaUpdate,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetDefaultSpecUpdate,
    SetPropertiesUpdate,
    TableUpdate,
    update_table_metadata,
)
from pyiceberg.typedef import Record

from starberg.storage.branches import TableIds
from starberg.storage.columns import PartitionBy, SqlColumn
from starberg.storage.iceberg_schemas import evolved_schema, new_schema, parquet_field_ids, partition_spec, stored_type
from starberg.storage.iceberg_writer import SnapshotWriter
from starberg.storage.object_store import ObjectStore
from starberg.storage.store_io import StoreIO
from starberg.storage.table_files import Change, LiveFile
from starberg.utils.errors import LakeError

Read = dict[str, list[ManifestEntry]]
"""Live entries by their manifest's path: each manifest is read once."""

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

    @property
    def ids(self) -> TableIds:
        """What a catalog keeps of the table beside its metadata file."""
        return TableIds(
            snapshot_id=self.metadata.current_snapshot_id or -1,
            schema_id=self.metadata.current_schema_id,
            spec_id=self.metadata.default_spec_id,
            sort_order_id=self.metadata.default_sort_order_id,
        )

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

    def snapshots(self) -> list[tuple[int, bool]]:
        """Return the listed snapshots, newest first: the id of each, and whether it only replaced files."""
        newest_first = sorted(self.metadata.snapshots, key=lambda one: one.sequence_number or 0, reverse=True)
        return [
            (one.snapshot_id, bool(one.summary and one.summary.operation == Operation.REPLACE)) for one in newest_first
        ]

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


def new_table(name: str, location: str, columns: Sequence[SqlColumn], partition: Sequence[PartitionBy]) -> IcebergTable:
    """Return a table that is not there yet, in a folder of its own."""
    schema = new_schema(columns)
    metadata = new_table_metadata(
        schema=schema,
        partition_spec=partition_spec(schema, partition),
        sort_order=UNSORTED_SORT_ORDER,
        location=location,
        properties=dict(_TABLE_PROPERTIES),
    )
    return IcebergTable(name, None, metadata)


def evolved_table(
    current: IcebergTable, columns: Sequence[SqlColumn], partition: Sequence[PartitionBy]
) -> IcebergTable:
    """Return a table as it must be before rows with `columns` are written."""
    schema = evolved_schema(current.schema, current.metadata.last_column_id, columns)
    if _loses_partition_column(current.metadata, schema):
        restarted = _restarted(current.metadata, schema, partition)
        return IcebergTable(current.name, current.location, restarted, restarted=True)
    return IcebergTable(current.name, current.location, _evolved(current.metadata, schema, partition))


def live_files(
    table: IcebergTable, store: ObjectStore, read: Read, content: ManifestContent = ManifestContent.DATA
) -> Mapping[str, LiveFile]:
    """Return the data files (or delete files) of the current snapshot by location."""
    io = StoreIO(store)
    snapshot = table.metadata.current_snapshot()
    manifests = [manifest for manifest in (snapshot.manifests(io) if snapshot else []) if manifest.content == content]
    files = [entry.data_file for manifest in manifests for entry in _entries(io, read, manifest)]
    return {
        file.file_path: LiveFile(file.record_count, file.file_size_in_bytes, file.spec_id, _values(file.partition))
        for file in files
    }


def changed_table(
    base: IcebergTable | None,
    table: IcebergTable,
    change: Change,
    properties: Mapping[str, str],
    store: ObjectStore,
    read: Read,
) -> IcebergTable:
    """Write the manifests and the metadata file of a changed table; `base` is what was there."""
    io = StoreIO(store)
    start = base.metadata if base and not table.restarted else table.metadata
    updates: list[TableUpdate] = list(_schema_updates(start, table.metadata))
    if change or base is None or table.restarted:
        writer = SnapshotWriter(table.metadata, io, partial(_entries, io, read))
        updates += writer.write(
            added=change.added,
            deletes=[(d.file, d.data_files) for d in change.deletes],
            removed=change.removed,
            folded=change.folded,
            same_rows=change.same_rows,
        )
    if change.expired:
        updates.append(RemoveSnapshotsUpdate(snapshot_ids=list(change.expired)))
    if properties:
        updates.append(SetPropertiesUpdate(updates=dict(properties)))
    metadata = update_table_metadata(start, tuple(updates), metadata_location=base.location if base else None)
    location = _next_location(base, metadata)
    ToOutputFile.table_metadata(metadata, io.new_output(location))
    return IcebergTable(table.name, location, metadata)


def _entries(io: StoreIO, read: Read, manifest: ManifestFile) -> list[ManifestEntry]:
    path = manifest.manifest_path
    if path not in read:
        read[path] = manifest.fetch_manifest_entry(io)
    return read[path]


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
