"""What a source of tables hands to landing: Parquet files of typed rows, in place of spooled JSON pages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from starberg.engines.base import Engine, ParquetFile
from starberg.ingestion.source import Cursor, Planned
from starberg.ingestion.streams import Stream
from starberg.storage.raw_chain import Manifest, RawStream


@dataclass(frozen=True)
class TableExtract:
    """Rows of one stream in local files laid out as a part of the raw zone (storage/raw_chain.py).

    kind: `whole` (every live row: compared with the chain, absent keys are deletes), `rows` (some rows, of which those
    of `compared` may be there again unchanged; a 'D' is a delete), `log` (changes in order, landed as they are).
    """

    kind: Literal["whole", "rows", "log"]
    files: Sequence[ParquetFile]
    columns: Mapping[str, str]
    raw_types: Mapping[str, str]
    cursor: Cursor
    observed_at: datetime
    is_unique: bool = False
    """The source guarantees that a key has one row."""
    compared: Sequence[Manifest] = ()
    compared_where: str = "true"
    indexed: bool = False
    """The engine's table `known` is the chain's index (`TableIndex.fill`)."""
    moved: bool = False
    """The cursor alone is worth a load."""
    notes: tuple[str, ...] = ()
    requests: int = 0
    source_rows: int | None = None
    """Rows of the table in the snapshot, if they were to be counted."""


class TableSource(ABC):
    """A database, opened for one run."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Return who answers: system identifier and database. A changed identity stops the run."""

    @abstractmethod
    def plan(self, stream: Stream, cursor: Cursor | None) -> list[Planned]:
        """Say how much the next reading will ask; asks nothing."""

    @abstractmethod
    def read(
        self, stream: Stream, chain: RawStream, engine: Engine, scratch: Path, *, full: bool
    ) -> Iterator[TableExtract]:
        """Read what changed since the chain's last load; the caller commits each extract before asking for the next.

        `engine` is shared by the streams of a source, one after the other: what a reading leaves in it is replaced or
        dropped. Raises Unreachable, CredentialsError, TransientError, SourceDataError.
        """

    @abstractmethod
    def settle(self, chains: Mapping[str, RawStream]) -> bool:
        """Let go of what the committed loads hold (a replication slot is advanced); True: there is more to read."""

    @abstractmethod
    def close(self) -> None:
        """End all connections."""
