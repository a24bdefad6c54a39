"""What an engine is: it runs SQL over tables named by their metadata files, and writes rows to Parquet files.

An engine knows nothing of catalogs, branches or commits. Selects are in DuckDB's dialect; another engine transpiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from starberg.storage.columns import ColumnStats, PartitionBy, SqlColumn

ELSEWHERE = "Write it another way, or build with STARBERG_ENGINE=duckdb."
"""What to do about SQL that `Engine.refused` names."""


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file just written to local disk, with what the writer knows of it."""

    path: Path
    rows: int
    size_bytes: int
    partition: tuple[Any, ...]
    columns: Mapping[str, ColumnStats]


class Engine(Protocol):
    """One session: temporary tables live in it, published tables are only read through it."""

    @property
    def local(self) -> Engine:
        """The engine of this machine beside it: typing raw loads, and control tables, are its work.

        Each reads the other's temporary tables. An engine of one machine is its own.
        """

    def version(self) -> str:
        """Return what computes, for people; this starts it, if it is to be started."""

    def refused(self, select: str) -> str:
        """Return what of a declared SELECT it cannot do as DuckDB does, with the line; nothing if it can all."""

    def attach(self, tables: Mapping[str, str]) -> None:
        """Make tables (`namespace.table` → metadata location) readable under their names, replacing earlier ones."""

    def attach_postgres(self, name: str, secret: Mapping[str, str], options: str) -> None:
        """Attach a PostgreSQL database read-only under a name."""

    def scan(self, location: str) -> str:
        """Return SQL for the live rows of a table's metadata file, with `filename` and `file_row_number`."""

    def confine(self, folders: Sequence[str]) -> None:
        """From now on, let SQL reach no file or address outside these folders (paths or `s3://…`)."""

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Execute a statement."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a small result."""

    def columns(self, select: str) -> list[SqlColumn]:
        """Return the columns a SELECT yields, without running it."""

    def write(
        self,
        select: str,
        field_ids: Mapping[str, Any],
        partition: Sequence[PartitionBy] = (),
        *,
        ordered: bool = False,
    ) -> list[ParquetFile]:
        """Run a SELECT and write its rows to Parquet files in the scratch folder; no rows, no file.

        `ordered` keeps the SELECT's order, in one file (else both are the engine's choice); not with partitions.
        """

    def close(self) -> None:
        """End the session and remove its scratch files."""
