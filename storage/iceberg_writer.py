"""Iceberg snapshots with row deltas: data files and position-delete files in one commit.

PyIceberg has no public writer for delete files; this module is the one place that knows how they are written (Iceberg
spec v2, "Position Delete Files", "Manifests"), so that it can go when upstream gains one.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pyiceberg.conversions import to_bytes
from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import (
    Operation,
    Snapshot,
    SnapshotSummaryCollector,
    Summary,
    update_snapshot_summaries,
)
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate, TableUpdate
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    PrimitiveType,
    StringType,
    TimestampType,
    UUIDType,
)
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros
from pyiceberg.utils.truncate import truncate_upper_bound_text_string

from starberg.storage.columns import FILE_PATH_ID
from starberg.storage.table_files import WrittenFile

_BOUND_CHARS = 16
_FOUR_DIGIT_YEAR = re.compile(r"(?!0000)\d{4}-[^(]*$")  # not 12023-…, infinity, 0044-… (BC)
_SMALL_MANIFEST_FILES = 100
"""A manifest with fewer live files is written anew with those a commit adds, rather than one beside it."""

_Group = tuple[ManifestContent, int]
"""What a manifest holds files of: a content, and a partition spec by its id."""
Entries = Callable[[ManifestFile], list[ManifestEntry]]
"""Reads the live entries of a manifest."""


class _DeleteManifestWriter(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class SnapshotWriter:
    """Writes the manifests of one new snapshot on top of a table's current one.

    Manifests are read only where a file of theirs may leave or be pointed at by deletes: rows that are only added cost
    the same however many files a table has.
    """

    def __init__(self, metadata: TableMetadata, io: FileIO, entries: Entries) -> None:
        self._metadata = metadata
        self._io = io
        self._entries = entries
        self._commit_id = uuid.uuid4()
        self._snapshot_id = metadata.new_snapshot_id()
        self._manifests = 0

    def write(
        self,
        *,
        added: Sequence[WrittenFile],
        deletes: Sequence[tuple[WrittenFile, Sequence[str]]],
        removed: Mapping[str, int],
        folded: Collection[str] = (),
        same_rows: bool = False,
    ) -> list[TableUpdate]:
        """Write manifests and manifest list; return the updates that make the snapshot current.

        `deletes` are position-delete files with the data files they point at (all of one spec and partition);
        `removed` are data files that leave, with their rows already deleted by position; `folded` are all delete files
        there were, if they leave; with `same_rows` the snapshot says that it only replaces files.
        """
        parent = self._metadata.current_snapshot()
        live = [m for m in (parent.manifests(self._io) if parent else []) if _live_files(m)]
        data = [m for m in live if m.content == ManifestContent.DATA]
        files = (
            {e.data_file.file_path: e.data_file for m in data for e in self._entries(m)} if deletes or removed else {}
        )
        new = [_data_file(file, self._metadata) for file in added]
        new += [self._delete_file(file, files[paths[0]]) for file, paths in deletes]
        # Without data files no delete file has anything to delete.
        emptied = bool(removed) and files.keys() <= removed.keys()
        before = data if folded or emptied else live
        gone = [files[path] for path in removed]
        gone += [e.data_file for m in live if m not in before for e in self._entries(m)]
        restated = sum(file.rows for file, _ in deletes) if folded else 0
        manifests = self._manifests_of(before, new, removed.keys())
        summary = self._summary(parent, new, gone, sum(removed.values()) + restated)
        if same_rows:  # PyIceberg 0.12 adds no totals to a summary that says so
            summary = Summary(operation=Operation.REPLACE, **summary.additional_properties)
        return self._snapshot(parent, manifests, summary)

    def _manifests_of(
        self, before: Sequence[ManifestFile], new: Sequence[DataFile], removed: Set[str]
    ) -> list[ManifestFile]:
        """Return the snapshot's manifests: at most one new one per content and spec, the others as they are.

        New files join the smallest manifest if it is small: planning stays cheap however many commits there are.
        """
        groups: dict[_Group, tuple[list[ManifestFile], list[DataFile]]] = defaultdict(lambda: ([], []))
        for manifest in before:
            groups[manifest.content, manifest.partition_spec_id][0].append(manifest)
        for file in new:
            groups[_content(file), file.spec_id][1].append(file)
        result: list[ManifestFile] = []
        for group, (manifests, files) in groups.items():
            smallest = min(manifests, key=_live_files, default=None) if files else None
            joined = smallest if smallest and _live_files(smallest) < _SMALL_MANIFEST_FILES else None
            stay: list[ManifestEntry] = []
            gone: list[ManifestEntry] = []
            for manifest in manifests:
                look = manifest is joined or (removed and group[0] == ManifestContent.DATA)
                entries = self._entries(manifest) if look else []
                leaving = [entry for entry in entries if entry.data_file.file_path in removed]
                if leaving or manifest is joined:
                    gone += leaving
                    stay += [entry for entry in entries if entry.data_file.file_path not in removed]
                else:
                    result.append(manifest)
            if stay or gone or files:
                result.append(self._manifest(group, stay, gone, files))
        return result

    def _manifest(
        self,
        group: _Group,
        stay: Sequence[ManifestEntry],
        gone: Sequence[ManifestEntry],
        new: Sequence[DataFile],
    ) -> ManifestFile:
        content, spec_id = group
        kind = _DeleteManifestWriter if content == ManifestContent.DELETES else ManifestWriterV2
        output = self._io.new_output(self._path(f"{self._commit_id}-m{self._manifests}.avro"))
        self._manifests += 1
        spec, schema = self._metadata.specs()[spec_id], self._metadata.schema()
        with kind(spec, schema, output, self._snapshot_id, "null") as writer:
            for entry in stay:
                writer.add_entry(_entry(ManifestEntryStatus.EXISTING, entry.snapshot_id, entry.data_file, entry))
            for entry in gone:
                writer.add_entry(_entry(ManifestEntryStatus.DELETED, self._snapshot_id, entry.data_file, entry))
            for file in new:
                writer.add_entry(_entry(ManifestEntryStatus.ADDED, self._snapshot_id, file))
        return writer.to_manifest_file()

    def _delete_file(self, file: WrittenFile, target: DataFile) -> DataFile:
        paths = file.columns["file_path"]
        return _file_entry(
            file,
            content=DataFileContent.POSITION_DELETES,
            partition=target.partition,
            spec_id=target.spec_id,
            lower_bounds={FILE_PATH_ID: (paths.lower or "").encode()},
            upper_bounds={FILE_PATH_ID: (paths.upper or "").encode()},
        )

    def _summary(
        self, parent: Snapshot | None, added: Sequence[DataFile], gone: Sequence[DataFile], dangling: int
    ) -> Summary:
        """Return the summary: live rows are always total-records − total-position-deletes.

        Position deletes of files that leave are counted as removed with them, though their delete file may stay; so of
        a delete file that leaves only those (`dangling`) are counted that no file took along before.
        """
        metadata, schema = self._metadata, self._metadata.schema()
        collector = SnapshotSummaryCollector()
        for file in added:
            collector.add_file(file, schema, metadata.specs()[file.spec_id])
        for file in gone:
            collector.remove_file(file, schema, metadata.specs()[file.spec_id])
        properties = collector.build()
        properties.pop("removed-position-deletes", None)
        if dangling:
            properties["removed-position-deletes"] = str(dangling)
        appends = not gone and all(file.content == DataFileContent.DATA for file in added)
        summary = Summary(operation=Operation.APPEND if appends else Operation.OVERWRITE, **properties)
        before = parent.summary.additional_properties if parent and parent.summary else None
        return update_snapshot_summaries(summary, before)

    def _snapshot(self, parent: Snapshot | None, manifests: list[ManifestFile], summary: Summary) -> list[TableUpdate]:
        sequence = self._metadata.next_sequence_number()
        parent_id = parent.snapshot_id if parent else None
        path = self._path(f"snap-{self._snapshot_id}-0-{self._commit_id}.avro")
        output = self._io.new_output(path)
        with write_manifest_list(2, output, self._snapshot_id, parent_id, sequence, "null") as writer:
            writer.add_manifests(manifests)
        snapshot = Snapshot(
            snapshot_id=self._snapshot_id,
            parent_snapshot_id=parent_id,
            manifest_list=path,
            sequence_number=sequence,
            summary=summary,
            schema_id=self._metadata.current_schema_id,
        )
        ref = SetSnapshotRefUpdate(
            ref_name=MAIN_BRANCH,
            type=SnapshotRefType.BRANCH,
            snapshot_id=self._snapshot_id,
            max_ref_age_ms=None,
            max_snapshot_age_ms=None,
            min_snapshots_to_keep=None,
        )
        return [AddSnapshotUpdate(snapshot=snapshot), ref]

    def _path(self, name: str) -> str:
        return f"{self._metadata.location}/metadata/{name}"


def _live_files(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _content(file: DataFile) -> ManifestContent:
    return ManifestContent.DATA if file.content == DataFileContent.DATA else ManifestContent.DELETES


def _entry(
    status: ManifestEntryStatus, snapshot_id: int | None, file: DataFile, before: ManifestEntry | None = None
) -> ManifestEntry:
    """Return an entry; a new one has no sequence number, as it takes that of its snapshot."""
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=before.sequence_number if before else None,
        file_sequence_number=before.file_sequence_number if before else None,
        data_file=file,
    )


def _data_file(file: WrittenFile, metadata: TableMetadata) -> DataFile:
    schema: Schema = metadata.schema()
    spec: PartitionSpec = metadata.spec()
    known = {name: (schema.find_field(name), stats) for name, stats in file.columns.items()}
    bounds = {
        f.field_id: (f.field_type, stats.lower, stats.upper)
        for f, stats in known.values()
        if isinstance(f.field_type, PrimitiveType) and stats.lower is not None and stats.upper is not None
    }
    lower = {id_: _bound(kind, low, upper=False) for id_, (kind, low, _) in bounds.items()}
    upper = {id_: _bound(kind, high, upper=True) for id_, (kind, _, high) in bounds.items()}
    return _file_entry(
        file,
        content=DataFileContent.DATA,
        partition=Record(*file.partition),
        spec_id=spec.spec_id,
        column_sizes={f.field_id: stats.size_bytes for f, stats in known.values()},
        value_counts={f.field_id: stats.values for f, stats in known.values()},
        null_value_counts={f.field_id: stats.nulls for f, stats in known.values()},
        lower_bounds={id_: bound for id_, bound in lower.items() if bound is not None},
        upper_bounds={id_: bound for id_, bound in upper.items() if bound is not None},
    )


def _file_entry(file: WrittenFile, *, spec_id: int, **facts: Any) -> DataFile:
    entry = DataFile.from_args(
        file_path=file.location,
        file_format=FileFormat.PARQUET,
        record_count=file.rows,
        file_size_in_bytes=file.size_bytes,
        **facts,
    )
    entry.spec_id = spec_id
    return entry


def _bound(kind: PrimitiveType, text: str, *, upper: bool) -> bytes | None:
    """Return a bound's single-value serialisation (spec, Appendix D), or None where no bound is better than a risk."""
    value: Any
    match kind:
        case BooleanType():
            value = text in ("1", "true")
        case IntegerType() | LongType():
            value = int(text)
        case FloatType() | DoubleType():
            value = float(text)
        case DateType() | TimestampType():
            value = _days_or_micros(kind, text)
        case UUIDType():
            value = uuid.UUID(text)
        case StringType() if len(text) <= _BOUND_CHARS:
            value = text
        case StringType():
            value = truncate_upper_bound_text_string(text, _BOUND_CHARS) if upper else text[:_BOUND_CHARS]
        case DecimalType():
            value = Decimal(text)
        case _:
            return None
    return None if value is None else to_bytes(kind, value)


def _days_or_micros(kind: PrimitiveType, text: str) -> int | None:
    """Return the days or microseconds since 1970; None for years that Python does not know."""
    if not _FOUR_DIGIT_YEAR.match(text):
        return None
    if isinstance(kind, DateType):
        return date_to_days(date.fromisoformat(text))
    return datetime_to_micros(datetime.fromisoformat(text).replace(tzinfo=UTC))
