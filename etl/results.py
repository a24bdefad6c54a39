"""What commands return: plain values that `entrypoints.output` prints and Python callers read. Times are UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Status(StrEnum):
    """How a run stands; the same words in results, logs and the control tables."""

    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    """There was nothing to do, and nothing was published."""


class Stage(StrEnum):
    """The stages of a run, in their order."""

    INGEST = "ingest"
    BUILD = "build"
    CHECK = "check"
    PUBLISH = "publish"


@dataclass(frozen=True)
class TableResult:
    """What one run did to one table; `strategy` is the compiler's word for how (skip, diff, keyed, …).

    `dates` are the days (ISO) that were built of a fact built by date, of a month its last.
    """

    name: str
    strategy: str
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    duration_ms: int = 0
    dates: Sequence[str] = ()


@dataclass(frozen=True)
class LoadResult:
    """One load a run landed: its number in the stream's chain, its rows, the requests its source was asked."""

    stream: str
    seq: int
    rows: int
    requests: int = 0


@dataclass(frozen=True)
class JobResult:
    """One job in one run, a row of etl_job_runs: what became of its tables, whose differences the counts are.

    `rows_processed` is their sum; `due_at` the tick of a scheduled job; `run_date` the UTC day of the run; `dates` are
    the days (ISO) that were built of tables built by date: the target date, and those whose rows had changed.
    """

    id: str
    run_id: str
    job_name: str
    run_date: date
    target_date: date
    status: Status
    started_at: datetime
    completed_at: datetime
    rows_processed: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    duration_ms: int = 0
    error_message: str = ""
    due_at: datetime | None = None
    dates: Sequence[str] = ()


@dataclass(frozen=True)
class RunResult:
    """One run of one warehouse. `notes` are what a person should know of it, one line each."""

    run_id: str
    warehouse: str
    status: Status
    started_at: datetime
    ended_at: datetime
    duration_ms: int
    tables: list[TableResult] = field(default_factory=list)
    loads: list[LoadResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    jobs: list[JobResult] = field(default_factory=list)


@dataclass(frozen=True)
class JobState:
    """One declared job: when it last ended and how, and when it is due next, UTC; None where it never was."""

    warehouse: str
    job_name: str
    schedule: str
    status: str | None
    target_date: date | None
    rows_processed: int | None
    started_at: datetime | None
    completed_at: datetime | None
    error_message: str | None
    next_at: datetime | None


@dataclass(frozen=True)
class PlannedJob:
    """What a job would do for a date, and why; `tables` are those built with it."""

    job_name: str
    target_date: date
    due: bool
    why: str
    tables: list[str]


@dataclass(frozen=True)
class Plan:
    """What a run would do: what it would ask the sources, and its jobs. Nothing was changed to find out."""

    warehouse: str
    target_date: date
    requests: list[dict[str, Any]]
    jobs: list[PlannedJob]
    sql: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TableDifference:
    """One table compared with its rebuild: rows of the one that the other does not have (EXCEPT ALL)."""

    name: str
    rows: int
    only_published: int
    only_rebuilt: int


@dataclass(frozen=True)
class VerifyResult:
    """All tables of one warehouse compared with what a rebuild from raw gives; `equal` if no row differs."""

    warehouse: str
    tables: list[TableDifference]
    duration_ms: int = 0
    equal: bool = field(init=False)

    def __post_init__(self) -> None:
        differs = any(table.only_published or table.only_rebuilt for table in self.tables)
        object.__setattr__(self, "equal", not differs)


@dataclass(frozen=True)
class TableUpkeep:
    """One table's files and share of deleted rows, before and after upkeep; bytes that were dropped of its folder."""

    name: str
    files: int
    files_after: int
    delete_files: int
    delete_files_after: int
    delete_ratio: float
    delete_ratio_after: float
    bytes_freed: int = 0


@dataclass(frozen=True)
class SweepResult:
    """What nobody can look up any more: branches and tags, and the files only they had."""

    files: int
    bytes_freed: int
    bytes_freed_of: Mapping[str, int]
    branches: list[str]
    tags: list[str]


@dataclass(frozen=True)
class MaintainResult:
    """Upkeep of one warehouse: what was done or, with `dry_run`, would be done now (`files_after` is then a guess)."""

    warehouse: str
    run_id: str
    status: Status
    dry_run: bool
    duration_ms: int
    files_dropped: int
    bytes_freed: int
    branches_dropped: list[str] = field(default_factory=list)
    tags_dropped: list[str] = field(default_factory=list)
    tables: list[TableUpkeep] = field(default_factory=list)


@dataclass(frozen=True)
class QueryResult:
    """One answer, read once: row by row, as one Arrow table, or as Arrow batches that need no memory for all rows."""

    columns: Sequence[str]
    rows: Iterator[tuple[Any, ...]]
    to_arrow: Callable[[], pa.Table] = field(repr=False)
    to_batches: Callable[[], pa.RecordBatchReader] = field(repr=False)

    def arrow(self) -> pa.Table:
        """Return the rows not yet read."""
        return self.to_arrow()

    def batches(self) -> pa.RecordBatchReader:
        """Return the rows not yet read, as they come."""
        return self.to_batches()

    def df(self) -> pd.DataFrame:
        """Return the rows not yet read as a pandas data frame."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame
