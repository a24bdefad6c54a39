"""What is written down of a run: its row in `etl_runs`, its jobs, its checks, what it built from what.

A run that publishes writes them on its branch, in the publish of its data. One that fails, is skipped or died is
recorded in a publish of its own.
"""

from __future__ import annotations

import json
import logging
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from starberg.etl.build import BuildResult
from starberg.etl.control import RunRow, state_row
from starberg.etl.jobs import JobRun, job_row, read_back
from starberg.etl.jobs import results as job_results
from starberg.etl.model import Table, Warehouse
from starberg.etl.quality import CheckResult
from starberg.etl.results import JobResult, LoadResult, RunResult, Status, TableResult
from starberg.etl.run_session import LOG, Session, Sessions
from starberg.ingestion.streams import SourceSpec
from starberg.storage.lease import Lease
from starberg.storage.raw_chain import Manifest
from starberg.utils.clock import Clock, new_run_id
from starberg.utils.errors import CheckFailed, Conflict, StarbergError

log = logging.getLogger(__name__)

_TRIES = 5


@dataclass
class Progress:
    """What one run has done so far; becomes its row in etl_runs. `asked` are the jobs to be told apart."""

    warehouse: str
    command: str
    clock: Clock
    asked: Sequence[JobRun]
    run_id: str
    started_at: datetime
    started: float
    stages: dict[str, float] = field(default_factory=dict)
    loads: list[LoadResult] = field(default_factory=list)
    tables: Sequence[TableResult] = ()
    notes: list[str] = field(default_factory=list)
    jobs: Sequence[JobResult] = ()
    checks: list[Mapping[str, object]] = field(default_factory=list)
    due: Sequence[str] = ()
    """Tables that upkeep is due for."""

    @classmethod
    def begin(cls, warehouse: str, command: str, clock: Clock, asked: Sequence[JobRun] = ()) -> Progress:
        """Return that of a run that begins now."""
        return cls(warehouse, command, clock, asked, new_run_id(clock), clock.now(), clock.monotonic())

    @classmethod
    def resume(cls, warehouse: str, run_id: str, clock: Clock, asked: Sequence[JobRun], began: datetime) -> Progress:
        """Return that of a run in stages that began some time ago (UTC)."""
        started = clock.monotonic() - (clock.now() - began).total_seconds()
        return cls(warehouse, "run", clock, asked, run_id, began, started)

    @property
    def duration_ms(self) -> int:
        """How long the run has taken so far."""
        return round((self.clock.monotonic() - self.started) * 1000)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long a stage takes."""
        started = self.clock.monotonic()
        log.info("stage %s", name, extra={"run_id": self.run_id, "warehouse": self.warehouse})
        try:
            yield
        finally:
            self.stages[name] = self.clock.monotonic() - started

    def built(self, build: BuildResult) -> None:
        """Note what a build did."""
        self.tables = build.tables
        self.jobs = self.job_results(build)
        self.notes = [*dict.fromkeys([*self.notes, *build.notes])]

    def job_results(self, build: BuildResult | None = None, error: str = "") -> list[JobResult]:
        """Return what came of the run's jobs, in the build or for the error it ended with."""
        tables, began = (build.tables, build.began) if build else ([], {})
        return job_results(self.asked, self.run_id, self.started_at.date(), tables, began, self.clock.now(), error)

    def result(self, status: Status) -> RunResult:
        """Return what a caller gets."""
        return RunResult(
            run_id=self.run_id,
            warehouse=self.warehouse,
            status=status,
            started_at=self.started_at,
            ended_at=self.clock.now(),
            duration_ms=self.duration_ms,
            tables=list(self.tables),
            loads=self.loads,
            notes=self.notes,
            jobs=list(self.jobs),
        )


class RunLog:
    """Writes down the runs of one warehouse."""

    def __init__(self, warehouse: Warehouse, sessions: Sessions) -> None:
        self._warehouse = warehouse
        self._sessions = sessions

    def checks(
        self, session: Session, progress: Progress, found: Sequence[CheckResult], at: datetime | None = None
    ) -> None:
        """Write what checks found (at a time, UTC, by default now); CheckFailed if one of them stops the publish."""
        at = at or progress.clock.now()
        progress.checks = [_check_row(progress.run_id, at, check) for check in found]
        session.write("data_quality_results", progress.checks)
        progress.notes += [f"check {c.check.title} warns: {c.failures} rows" for c in found if c.status == "warned"]
        if failed := [check for check in found if check.status == "failed"]:
            first = failed[0]
            raise CheckFailed(
                f"{len(failed)} of {len(found)} checks failed, the first: {first.check.title}, "
                f"{first.failures} rows such as {first.sample[:200]}",
                hint="Nothing was published; look at the tables with "
                f'`starberg query --at {progress.run_id} --warehouse {self._warehouse.name} "..."`.',
            )

    def build(self, session: Session, progress: Progress, result: BuildResult) -> None:
        """Write what a build made of what: states, marks, a row for each table and job."""
        now = progress.clock.now()
        session.write("etl_tables", [state_row(name, state) for name, state in result.states.items()])
        last = {(load.source, load.stream): load for load in result.marks.values()}  # tables may share a stream
        sources = self._warehouse.sources
        session.write("high_water_mark", [_mark_row(manifest, sources, now) for manifest in last.values()])
        ran = [table for table in result.tables if table.strategy != "skip"]
        declared = self._warehouse.tables.values()
        of = {t.name: t for t in declared} | {t.changes: t for t in declared if self._warehouse.keeps_changes(t)}
        rows = [{"run_id": progress.run_id, **_table_row(of[t.name], t, result)} for t in ran]
        session.write("etl_table_runs", rows)
        session.write("etl_job_runs", [job_row(job) for job in progress.jobs])

    def run(self, session: Session, progress: Progress, status: Status) -> None:
        """Write the run's row on its branch."""
        session.write("etl_runs", [asdict(self._row(progress, status))])

    def skipped(self, progress: Progress) -> None:
        """Publish the row of a run with nothing to do."""
        progress.jobs = progress.job_results()
        self._publish(self._row(progress, Status.SKIPPED), progress.jobs)

    def failed(self, progress: Progress, error: BaseException) -> str:
        """Publish the FAILED row of the run, and those of its jobs; what fails here is only logged.

        The run's own error matters more. It is returned if it could not be recorded: the lease keeps it for the next.
        A run that lost its lease was recorded by the one that took over, whose publish a row now would prevent.
        """
        kind = "" if isinstance(error, StarbergError) else type(error).__name__
        message = ": ".join(filter(None, (kind, str(error))))
        try:
            if self._sessions.is_held(progress.run_id):
                row = self._row(progress, Status.FAILED, message)
                self._publish(row, progress.job_results(error=message), progress.checks)
        except StarbergError as second:
            log.warning("the failed run could not be recorded: %s", second)
            return message
        return ""

    def dead(self, lease: Lease) -> None:
        """Publish the FAILED row of a run that died, unless it had published."""
        if any(self._sessions.catalog.published(run_id) for run_id in (lease.run_id, lease.run_id + LOG)):
            return
        began, now = lease.acquired_at, self._sessions.clock.now()
        duration_ms = round((now - began).total_seconds() * 1000)
        row = RunRow(lease.run_id, self._warehouse.name, "run", Status.FAILED, began, now, duration_ms)
        jobs = job_results(read_back(lease.about), lease.run_id, began.date(), [], {}, now, lease.last_words)
        self._publish(replace(row, error_message=lease.last_words), jobs)

    def _publish(
        self, row: RunRow, jobs: Sequence[JobResult] = (), checks: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """Publish one row of etl_runs, with its jobs and what its checks found, unless the run published its own."""
        published = self._sessions.catalog.published
        for attempt in range(_TRIES):
            log_id = f"{row.run_id}{LOG}{attempt or ''}"
            if published(log_id):
                continue
            with self._sessions.open(log_id, of=row.run_id) as session:
                try:
                    # Asked after the cut: if the run publishes later than this, our publish conflicts.
                    if not published(row.run_id):
                        session.write("etl_runs", [asdict(row)])
                        if jobs:
                            session.write("etl_job_runs", [job_row(job) for job in jobs])
                        if checks:
                            session.write("data_quality_results", checks)
                        session.tables.publish(f"log {row.run_id}")
                except Conflict:
                    continue
                finally:
                    self._sessions.tidy(session.branch)
            return
        raise Conflict(f"etl_runs of {self._warehouse.name} changed at every try to record {row.run_id}")

    def _row(self, progress: Progress, status: Status, error: str = "") -> RunRow:
        counters = self._sessions.store.counters
        return RunRow(
            run_id=progress.run_id,
            warehouse=self._warehouse.name,
            command=progress.command,
            status=status.value,
            started_at=progress.started_at,
            ended_at=progress.clock.now(),
            duration_ms=progress.duration_ms,
            error_message=error or None,
            rows_inserted=sum(t.rows_inserted for t in progress.tables),
            rows_updated=sum(t.rows_updated for t in progress.tables),
            rows_deleted=sum(t.rows_deleted for t in progress.tables),
            requests=sum(load.requests for load in progress.loads),
            store_requests=counters.requests,
            bytes_read=counters.bytes_read,
            bytes_written=counters.bytes_written,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            seconds_by_stage=json.dumps({stage: round(s, 3) for stage, s in progress.stages.items()}),
            notes=json.dumps(progress.notes, ensure_ascii=False),
        )


def _check_row(run_id: str, now: datetime, result: CheckResult) -> Mapping[str, object]:
    return {
        "run_id": run_id,
        "check_name": result.check.name,
        "table_name": result.check.table,
        "severity": result.check.severity,
        "status": result.status,
        "failures": result.failures,
        "sample": result.sample,
        "checked_at": now,
    }


def _table_row(table: Table, done: TableResult, result: BuildResult) -> dict[str, object]:
    began = result.began[table.name]
    source, _, stream = getattr(table.header, "stream", "").partition(".")
    return {
        "table_name": done.name,
        "kind": table.kind.value,
        **asdict(done),
        "source": source or None,
        "stream": stream or None,
        "rows_read": result.read.get(done.name),
        "started_at": began,
        "ended_at": began + timedelta(milliseconds=done.duration_ms),
    }


def _mark_row(manifest: Manifest, sources: Mapping[str, SourceSpec], now: datetime) -> dict[str, object]:
    """Return a stream's mark: of a cursor column the greatest value seen, else where the next reading starts."""
    table = sources[manifest.source].streams[manifest.stream].table
    said = json.dumps(dict(manifest.cursor), sort_keys=True, default=str)
    return {
        "table_name": table.rpartition(".")[2] or manifest.stream,
        "source": manifest.source,
        "stream": manifest.stream,
        "high_water_mark": str(manifest.cursor["seen"]) if "seen" in manifest.cursor else said,
        "load_seq": manifest.seq,
        "last_updated": now,
        "source_rows": manifest.source_rows,
        "observed_at": manifest.observed_at,
    }
