"""Files of an Iceberg table, and what one commit does with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starberg.storage.columns import ColumnStats


@dataclass(frozen=True)
class WrittenFile:
    """A Parquet file in the lake: its location, rows, bytes, partition values (Iceberg's numbers) and statistics."""

    location: str
    rows: int
    size_bytes: int
    partition: tuple[Any, ...] = ()
    columns: Mapping[str, ColumnStats] = field(default_factory=dict)


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

    `removed` maps a leaving data file to the number of its rows that position deletes had already removed. `folded` are
    the delete files that leave: all there are, if any (what `deletes` says of files that stay is said anew). `expired`
    are ids of earlier snapshots that the metadata file lists no longer. `same_rows` says that no row changes.
    """

    added: Sequence[WrittenFile] = ()
    deletes: Sequence[DeleteFile] = ()
    removed: Mapping[str, int] = field(default_factory=dict)
    folded: Collection[str] = ()
    expired: Collection[int] = ()
    same_rows: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.deletes or self.removed or self.folded)
