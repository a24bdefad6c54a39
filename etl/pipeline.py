"""A run: lease, loads, branch, build, checks, one publish; and what is left when one of them fails.

Whatever fails, published tables stay as they were and the next run repairs by itself: loads are a chain, the branch is
thrown away (or kept for looking, when a check failed), and the run's row is written to `etl_runs` in a publish of its
own. Every publish changes `etl_runs`, so of two runs that overlap only one can publish (the fence); a dead run's FAILED
row is published before the next run cuts its branch, so a run that was only frozen cannot publish later.
"""

from __future__ import annotations

import json
import logging
import resource
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from starberg.engines.base import Engine
from starberg.etl.audit import due_checks
from starberg.etl.build import Build, BuildResult
from starberg.etl.build_writer import BuildOptions
from starberg.etl.control import ControlTables, RunRow, state_row
from starberg.etl.control_tables import STATE, TABLES
from starberg.etl.jobs import JobRun, job_row, read_back, written
from starberg.etl.jobs import results as job_results
from starberg.etl.model import Table, Warehouse
from starberg.etl.quality import CheckResult, DataQualityCheck, run_check
from starberg.etl.results import (
    JobResult,
    LoadResult,
    MaintainResult,
    RunResult,
    Status,
    SweepResult,
    TableResult,
    TableUpkeep,
    VerifyResult,
)
from starberg.etl.row_delta import RowDelta
from starberg.etl.upkeep import Folding, Sweeper, due, follow, is_control
from starberg.ingestion.streams import SourceSpec
from starberg.storage.branch_tables import BranchTables
from starberg.storage.branches import Branch, Catalog, gone
from starberg.storage.lake_file import check_claim, claim
from starberg.storage.lease import Held, Lease, hold, is_held
from starberg.storage.maintenance import Policy
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import Manifest
from starberg.utils.clock import Clock, new_run_id
from starberg.utils.errors import CheckFailed, Conflict, LakeError, QuotaSpent, StarbergError

log = logging.getLogger(__name__)

Ingest = Callable[[str], Iterator[LoadResult]]
"""Ingests a warehouse's streams under a run id; each load it yields is committed."""

_LOG_TRIES = 5
_LOG = ".log"
"""Ends the run id under which a run's row is published by itself."""


@dataclass(frozen=True)
class RunOptions:
    """What a run does: the jobs to be told apart, a caller's own checks, how long to wait for another run."""

    command: str = "run"
    etl: bool = True
    build: BuildOptions = field(default_factory=BuildOptions)
    wait_s: float = 600.0
    jobs: Sequence[JobRun] = ()
    checks: Sequence[DataQualityCheck] = ()


@dataclass
class _Progress:
    """What one run has done so far; becomes its row in etl_runs."""

    run_id: str
    started_at: datetime
    started: float
    stages: dict[str, float] = field(default_factory=dict)
    loads: list[LoadResult] = field(default_factory=list)
    tables: Sequence[TableResult] = ()
    notes: list[str] = field(default_factory=list)
    jobs: Sequence[JobResult] = ()
    checks: list[Mapping[str, object]] = field(default_factory=list)
    bytes_from_sources: int = 0
    due: Sequence[str] = ()
    """Tables that upkeep is due for."""


class Pipeline:
    """Runs one warehouse."""

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        catalog: Catalog,
        store: ObjectStore,
        open_engine: Callable[[], Engine],
        scratch: Path,
        clock: Clock,
    ) -> None:
        self._warehouse = warehouse
        self._catalog = catalog
        self._store = store
        self._open_engine = open_engine
        self._scratch = scratch
        self._clock = clock

    def run(self, options: RunOptions, ingest: Ingest | None = None) -> RunResult:
        """Ingest (if given), build, check and publish; return what was done.

        Raises Busy (another run holds the warehouse), Conflict (another run published first), CheckFailed,
        GuardStopped, and what the source raises; a spent quota is raised after what was fetched is published.
        """
        progress = _Progress(new_run_id(self._clock), self._clock.now(), self._clock.monotonic())
        with self._leased(progress.run_id, options.wait_s, options.jobs) as held:
            try:
                spent = self._ingest(progress, ingest) if ingest else None
                status = self._build_and_publish(progress, options) if options.etl else Status.SUCCESS
            except BaseException as error:
                held.unrecorded = self._failed(progress, options, error)
                raise
        self._keep_up(progress.due)
        if spent:
            raise spent
        return self._result(progress, status)

    def skip(self, options: RunOptions) -> RunResult:
        """Record jobs none of which is to be run, and nothing else."""
        progress = _Progress(new_run_id(self._clock), self._clock.now(), self._clock.monotonic())
        progress.jobs = self._jobs(progress, options)
        with self._leased(progress.run_id, options.wait_s):
            self._publish_row(self._row(progress, options.command, Status.SKIPPED, ""), progress.jobs)
        return self._result(progress, Status.SKIPPED)

    def maintain(
        self, policy: Policy, wait_s: float, *, only: Collection[str] = (), sweep: bool = True
    ) -> MaintainResult:
        """Fold tables (default: all) and publish, as a run of its own; then drop what nobody can look up any more.

        Without `sweep` that is left to a later time, if the last was not long ago.
        """
        progress = _Progress(new_run_id(self._clock), self._clock.now(), self._clock.monotonic())
        sweeper = Sweeper(self._warehouse.name, self._catalog, self._store, policy)
        swept = SweepResult(0, 0, {}, [], [])
        with self._leased(progress.run_id, wait_s) as held:
            try:
                status, tables = self._fold(progress, policy, only)
            except BaseException as error:
                held.unrecorded = self._failed(progress, RunOptions("maintain"), error)
                raise
            if sweep or sweeper.is_due(progress.started_at):
                swept = sweeper.sweep(progress.started_at)
        return self._maintained(progress, status, tables, swept)

    def would_maintain(self, policy: Policy) -> MaintainResult:
        """Return what `maintain` would do now; nothing is changed."""
        check_claim(self._store, self._catalog)
        progress = _Progress("", self._clock.now(), self._clock.monotonic())
        pointers = self._pointers()
        nowhere = Branch("", self._warehouse.name, progress.started_at, "")
        with closing(self._open_engine()) as engine:
            engine.confine([self._store.root, str(self._scratch)])
            folding = Folding(engine, BranchTables(self._catalog, self._store, nowhere, pointers), policy)
            plans = [folding.plan(name) for name in sorted(pointers)]
        sweeper = Sweeper(self._warehouse.name, self._catalog, self._store, policy)
        swept = sweeper.sweep(progress.started_at, dry_run=True)
        status = Status.SUCCESS if any(plan.matters for plan in plans) else Status.SKIPPED
        tables = [plan.outlook() for plan in plans]
        return replace(self._maintained(progress, status, tables, swept), dry_run=True)

    def _fold(self, progress: _Progress, policy: Policy, only: Collection[str]) -> tuple[Status, list[TableUpkeep]]:
        """Fold tables on a branch and publish them; the control tables last, with the row of this run in them."""
        with self._session(progress.run_id) as (branch, engine, tables):
            if not is_held(self._store, self._warehouse.name, progress.run_id):
                raise gone(branch)
            control = ControlTables(engine, self._warehouse.name, _own_names(self._warehouse, tables))
            folding, delta = Folding(engine, tables, policy), RowDelta(engine, tables, progress.run_id)
            before = dict(tables.pointers)
            names = sorted(set(only) & before.keys() if only else before)
            with self._stage(progress, "fold"):
                status = Status.SUCCESS if any(folding.plan(name).matters for name in names) else Status.SKIPPED
                done = [folding.fold(name) for name in names if not is_control(name)]
                moved = {(name, before[name]): at for name, at in tables.pointers.items() if before[name] != at}
                follow(control, delta, moved)
            self._log_row(control, delta, progress, "maintain", status, "")
            done += [folding.fold(name) for name in names if is_control(name)]
            tables.publish(f"maintain {self._warehouse.name} {progress.run_id}")
            today = f"{self._warehouse.name}-{progress.started_at:%Y-%m-%d}"
            # The day's tag, if there is one, need not hold on to the files that were folded.
            self._tidy(branch, today if moved and today in self._catalog.tags() else "")
            return status, done

    def _keep_up(self, tables: Collection[str]) -> None:
        """Maintain tables that are due; what fails is only logged: the run they are due after was published."""
        if not tables:
            return
        try:
            self.maintain(Policy(), 0, only=tables, sweep=False)
        except StarbergError as error:
            log.warning("%s was not maintained: %s", self._warehouse.name, error)

    def _maintained(
        self, progress: _Progress, status: Status, tables: Sequence[TableUpkeep], swept: SweepResult
    ) -> MaintainResult:
        return MaintainResult(
            warehouse=self._warehouse.name,
            run_id=progress.run_id,
            status=status,
            dry_run=False,
            duration_ms=round((self._clock.monotonic() - progress.started) * 1000),
            files_dropped=swept.files,
            bytes_freed=swept.bytes_freed,
            branches_dropped=swept.branches,
            tags_dropped=swept.tags,
            tables=[replace(table, bytes_freed=swept.bytes_freed_of.get(table.name, 0)) for table in tables],
        )

    def verify(self, wait_s: float) -> VerifyResult:
        """Rebuild every table from raw on a branch that is never published, and compare with what is published."""
        run_id = new_run_id(self._clock)
        started = self._clock.monotonic()
        with self._leased(run_id, wait_s), self._session(run_id) as (branch, engine, tables):
            control = ControlTables(engine, self._warehouse.name, _own_names(self._warehouse, tables))
            options = BuildOptions(rebuild="*", verify=True)
            result = self._build(run_id, engine, tables, options).run(control.build_states(), control.published_loads())
            self._catalog.drop_branch(branch)
        duration_ms = round((self._clock.monotonic() - started) * 1000)
        return VerifyResult(self._warehouse.name, result.differences, duration_ms)

    def _ingest(self, progress: _Progress, ingest: Ingest) -> QuotaSpent | None:
        """Land loads; a spent quota ends it early and is returned, to be raised once the rest is published."""
        with self._stage(progress, "ingest"):
            try:
                progress.loads.extend(self._told(ingest(progress.run_id)))
            except QuotaSpent as spent:
                progress.notes.append(str(spent))
                return spent
        return None

    def _told(self, loads: Iterator[LoadResult]) -> Iterator[LoadResult]:
        for load in loads:
            log.info("landed", extra={"stream": load.stream, "load": load.seq, "rows": load.rows})
            yield load

    def _build_and_publish(self, progress: _Progress, options: RunOptions) -> Status:
        with self._session(progress.run_id) as (branch, engine, tables):
            if not is_held(self._store, self._warehouse.name, progress.run_id):
                raise gone(branch)  # frozen for so long that another run took over, and maybe published
            control = ControlTables(engine, self._warehouse.name, _own_names(self._warehouse, tables))
            before = dict(tables.pointers)
            with self._stage(progress, "build"):
                build = self._build(progress.run_id, engine, tables, options.build)
                result = build.run(control.build_states(), control.published_loads())
            progress.jobs = self._jobs(progress, options, result)
            progress.tables, progress.notes = result.tables, [*dict.fromkeys([*progress.notes, *result.notes])]
            moved = {name for name, location in tables.pointers.items() if before.get(name) != location}
            with self._stage(progress, "check"):
                checks = self._check(engine, tables, moved, result, options)
            self._record(control, RowDelta(engine, tables, progress.run_id), progress, options, result, checks)
            status = Status.SUCCESS if moved or result.states or result.marks else Status.SKIPPED
            self._log_row(control, RowDelta(engine, tables, progress.run_id), progress, options.command, status, "")
            with self._stage(progress, "publish"):
                tables.publish(f"{options.command} {self._warehouse.name} {progress.run_id}")
            self._tidy(branch, f"{self._warehouse.name}-{progress.started_at:%Y-%m-%d}" if moved else "")
            written = [name for name, location in tables.pointers.items() if before.get(name) != location]
            progress.due = due(tables, written, Policy())
            return status

    def _tidy(self, branch: Branch, tag: str = "") -> None:
        """Name the day's state and drop a branch; what fails is only logged: it changes nothing that was published."""
        try:
            if tag:
                self._catalog.tag(tag)
            self._catalog.drop_branch(branch)
        except StarbergError as error:
            log.warning("%s was not tidied up: %s", branch.name, error)

    def _build(self, run_id: str, engine: Engine, tables: BranchTables, options: BuildOptions) -> Build:
        return Build(self._warehouse, engine, tables, self._store, run_id, self._scratch, self._clock, options)

    @contextmanager
    def _session(self, run_id: str) -> Iterator[tuple[Branch, Engine, BranchTables]]:
        """Cut the run's branch and open an engine over it. A branch whose run failed goes, but for a failed check's."""
        branch = self._catalog.create_branch(run_id, self._warehouse.name)
        try:
            pointers = self._pointers(branch.name)
            with closing(self._open_engine()) as engine:
                engine.confine([self._store.root, str(self._scratch)])
                engine.attach({name: place for name, place in pointers.items() if name.split(".")[1] in STATE})
                tables = BranchTables(self._catalog, self._store, branch, pointers)
                try:
                    yield branch, engine, tables
                except CheckFailed:
                    tables.save()  # so that people can look at what failed
                    raise
        except CheckFailed:
            raise
        except BaseException:
            self._tidy(branch)
            raise

    def _pointers(self, branch: str = "main") -> dict[str, str]:
        """Return where the warehouse's tables are on a branch; LakeError if that is another lake."""
        tables = self._catalog.state(branch).tables
        own = {name: location for name, location in tables.items() if name.startswith(f"{self._warehouse.name}.")}
        elsewhere = next((place for place in own.values() if not place.startswith(f"{self._store.root}/")), "")
        if elsewhere:
            raise LakeError(
                f"the catalog's tables of {self._warehouse.name} are not in the lake {self._store.root}: {elsewhere}",
                hint="Set STARBERG_LAKE (or --home) to the lake they are in, or STARBERG_CATALOG to this lake's own.",
            )
        return own

    def _check(
        self, engine: Engine, tables: BranchTables, moved: set[str], build: BuildResult, options: RunOptions
    ) -> list[CheckResult]:
        """Run the checks that are due on a branch on which some tables moved."""
        now = self._clock.now()
        checks = due_checks(self._warehouse, moved, build, tables.pointers, now, options.checks)
        if checks and not moved:
            engine.attach(dict(tables.pointers))
        results = [run_check(engine, check) for check in checks]
        for result in results:
            if result.status == "warned":
                log.warning("check %s of %s: %d rows", result.check.name, result.check.table, result.failures)
        return results

    def _record(
        self,
        control: ControlTables,
        delta: RowDelta,
        progress: _Progress,
        options: RunOptions,
        result: BuildResult,
        checks: Sequence[CheckResult],
    ) -> None:
        """Write what the run learned to the control tables on the branch; CheckFailed if a check failed."""
        now = self._clock.now()
        progress.checks = [_check_row(progress.run_id, now, check) for check in checks]
        control.write(delta, "data_quality_results", progress.checks)
        progress.notes += [
            f"check {c.check.name} of {c.check.table} warns: {c.failures} rows" for c in checks if c.status == "warned"
        ]
        failed = [check for check in checks if check.status == "failed"]
        if failed:
            first = failed[0]
            raise CheckFailed(
                f"{len(failed)} of {len(checks)} checks failed, the first: {first.check.name} of {first.check.table}, "
                f"{first.failures} rows such as {first.sample[:200]}",
                hint="Nothing was published; look at the tables with "
                f'`starberg query --at {progress.run_id} --warehouse {self._warehouse.name} "..."`.',
            )
        control.write(delta, "etl_tables", [state_row(name, state) for name, state in result.states.items()])
        last = {(load.source, load.stream): load for load in result.marks.values()}  # tables may share a stream
        marks = [_mark_row(manifest, self._warehouse.sources, now) for manifest in last.values()]
        control.write(delta, "high_water_mark", marks)
        ran = [table for table in result.tables if table.strategy != "skip"]
        declared = self._warehouse.tables.values()
        of = {t.name: t for t in declared} | {t.changes: t for t in declared if self._warehouse.keeps_changes(t)}
        rows = [{"run_id": progress.run_id, **_table_row(of[t.name], t, result)} for t in ran]
        control.write(delta, "etl_table_runs", rows)
        control.write(delta, "etl_job_runs", [job_row(job) for job in progress.jobs])

    def _jobs(
        self, progress: _Progress, options: RunOptions, build: BuildResult | None = None, error: str = ""
    ) -> list[JobResult]:
        """Return what came of the run's jobs, in the build or for the error it ended with."""
        tables, began = (build.tables, build.began) if build else ([], {})
        day = progress.started_at.date()
        return job_results(options.jobs, progress.run_id, day, tables, began, self._clock.now(), error)

    def _log_row(
        self, control: ControlTables, delta: RowDelta, progress: _Progress, command: str, status: Status, error: str
    ) -> None:
        control.write(delta, "etl_runs", [asdict(self._row(progress, command, status, error))])

    def _row(self, progress: _Progress, command: str, status: Status, error: str) -> RunRow:
        ended_at, counters = self._clock.now(), self._store.counters
        return RunRow(
            run_id=progress.run_id,
            warehouse=self._warehouse.name,
            command=command,
            status=status.value,
            started_at=progress.started_at,
            ended_at=ended_at,
            duration_ms=round((self._clock.monotonic() - progress.started) * 1000),
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

    def _failed(self, progress: _Progress, options: RunOptions, error: BaseException) -> str:
        """Publish the FAILED row of the run, and those of its jobs; what fails here is only logged.

        The run's own error matters more. It is returned if it could not be recorded: the lease keeps it for the next.
        A run that lost its lease was recorded by the one that took over, whose publish a row now would prevent.
        """
        kind = "" if isinstance(error, StarbergError) else type(error).__name__
        message = ": ".join(filter(None, (kind, str(error))))
        try:
            if is_held(self._store, self._warehouse.name, progress.run_id):
                row = self._row(progress, options.command, Status.FAILED, message)
                self._publish_row(row, self._jobs(progress, options, error=message), progress.checks)
        except StarbergError as second:
            log.warning("the failed run could not be recorded: %s", second)
            return message
        return ""

    def _publish_row(
        self, row: RunRow, jobs: Sequence[JobResult] = (), checks: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """Publish one row of etl_runs, with its jobs and what its checks found, unless the run published its own."""
        for attempt in range(_LOG_TRIES):
            log_id = f"{row.run_id}{_LOG}{attempt or ''}"
            if self._catalog.published(log_id):
                continue
            with self._session(log_id) as (branch, engine, tables):
                try:
                    # Asked after the cut: if the run publishes later than this, our publish conflicts.
                    if not self._catalog.published(row.run_id):
                        control = ControlTables(engine, self._warehouse.name, _own_names(self._warehouse, tables))
                        delta = RowDelta(engine, tables, row.run_id)
                        control.write(delta, "etl_runs", [asdict(row)])
                        if jobs:
                            control.write(delta, "etl_job_runs", [job_row(job) for job in jobs])
                        if checks:
                            control.write(delta, "data_quality_results", checks)
                        tables.publish(f"log {row.run_id}")
                except Conflict:
                    continue
                finally:
                    self._tidy(branch)
            return
        raise Conflict(f"etl_runs of {self._warehouse.name} changed at every try to record {row.run_id}")

    @contextmanager
    def _leased(self, run_id: str, wait_s: float, jobs: Sequence[JobRun] = ()) -> Iterator[Held]:
        """Hold the warehouse. A dead holder is recorded as FAILED first, unless it had published.

        LakeError if the lake is another catalog's, or the catalog's tables are in another lake.
        """
        claim(self._store, self._catalog, self._clock)
        self._pointers()
        name, about = self._warehouse.name, written(jobs)
        with hold(self._store, name, run_id, self._clock, wait_s=wait_s, reclaim=self._reclaim, about=about) as held:
            self._sweep()
            yield held

    def _reclaim(self, dead: Lease) -> None:
        if not any(self._catalog.published(run_id) for run_id in (dead.run_id, dead.run_id + _LOG)):
            now = self._clock.now()
            duration_ms = round((now - dead.acquired_at).total_seconds() * 1000)
            started = RunRow(
                dead.run_id, self._warehouse.name, "run", Status.FAILED, dead.acquired_at, now, duration_ms
            )
            day, jobs = dead.acquired_at.date(), read_back(dead.about)
            failed = job_results(jobs, dead.run_id, day, [], {}, now, dead.last_words)
            self._publish_row(replace(started, error_message=dead.last_words), failed)
        self._sweep(dead.run_id)

    def _sweep(self, dead: str = "") -> None:
        """Drop the branches that ended runs left: those of logs, of published runs and of a dead one.

        A dead run's branch may be half made, and then names no warehouse.
        """
        for branch in self._catalog.branches(None if dead else self._warehouse.name):
            of_dead = bool(dead) and branch.run_id.split(_LOG)[0] == dead
            if of_dead or (branch.warehouse == self._warehouse.name and self._is_over(branch)):
                self._catalog.drop_branch(branch)

    def _is_over(self, branch: Branch) -> bool:
        return _LOG in branch.run_id or self._catalog.published(branch.run_id) is not None

    @contextmanager
    def _stage(self, progress: _Progress, name: str) -> Iterator[None]:
        started = self._clock.monotonic()
        log.info("stage %s", name, extra={"run_id": progress.run_id, "warehouse": self._warehouse.name})
        try:
            yield
        finally:
            progress.stages[name] = self._clock.monotonic() - started

    def _result(self, progress: _Progress, status: Status) -> RunResult:
        return RunResult(
            run_id=progress.run_id,
            warehouse=self._warehouse.name,
            status=status,
            started_at=progress.started_at,
            ended_at=self._clock.now(),
            duration_ms=round((self._clock.monotonic() - progress.started) * 1000),
            tables=list(progress.tables),
            loads=progress.loads,
            notes=progress.notes,
            jobs=list(progress.jobs),
        )


def _own_names(warehouse: Warehouse, tables: BranchTables) -> list[str]:
    return [name for name in TABLES if f"{warehouse.name}.{name}" in tables.pointers]


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
