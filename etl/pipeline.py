"""A run: lease, loads, branch, build, checks, one publish; and what is left when one of them fails.

Whatever fails, published tables stay as they were and the next run repairs by itself: loads are a chain, the branch is
thrown away (or kept for looking, when a check failed), and the run's row is written to `etl_runs` in a publish of its
own. Every publish changes `etl_runs`, so of two runs that overlap only one can publish (the fence); a dead run's FAILED
row is published before the next run cuts its branch, so a run that was only frozen cannot publish later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from starberg.etl.audit import due_checks
from starberg.etl.build import Build, BuildResult
from starberg.etl.build_writer import BuildOptions
from starberg.etl.jobs import JobRun, written
from starberg.etl.model import Warehouse
from starberg.etl.quality import CheckResult, DataQualityCheck, run_check
from starberg.etl.results import LoadResult, RunResult, Status, VerifyResult
from starberg.etl.run_log import Progress, RunLog
from starberg.etl.run_session import Session, Sessions
from starberg.etl.staged_run import StagedRun
from starberg.etl.upkeep import due
from starberg.etl.upkeep_run import Upkeep
from starberg.storage.maintenance import Policy
from starberg.utils.clock import new_run_id
from starberg.utils.errors import QuotaSpent

log = logging.getLogger(__name__)

Ingest = Callable[[str], Iterator[LoadResult]]
"""Ingests a warehouse's streams under a run id; each load it yields is committed."""


@dataclass(frozen=True)
class RunOptions:
    """What a run does: the jobs to be told apart, a caller's own checks, how long to wait for another run."""

    command: str = "run"
    etl: bool = True
    build: BuildOptions = field(default_factory=BuildOptions)
    wait_s: float = 600.0
    jobs: Sequence[JobRun] = ()
    checks: Sequence[DataQualityCheck] = ()


class Pipeline:
    """Runs one warehouse."""

    def __init__(self, warehouse: Warehouse, sessions: Sessions) -> None:
        self.chains = sessions.chains
        self._warehouse = warehouse
        self._sessions = sessions
        self._clock = sessions.clock
        self._log = RunLog(warehouse, sessions)

    def run(self, options: RunOptions, ingest: Ingest | None = None) -> RunResult:
        """Ingest (if given), build, check and publish; return what was done.

        Raises Busy (another run holds the warehouse), Conflict (another run published first), CheckFailed,
        GuardStopped, and what the source raises; a spent quota is raised after what was fetched is published.
        """
        progress = Progress.begin(self._warehouse.name, options.command, self._clock, options.jobs)
        about = written(options.jobs)
        with self._sessions.leased(progress.run_id, options.wait_s, self._log.dead, about) as held:
            try:
                spent = self.ingest(progress, ingest) if ingest else None
                status = self._build_and_publish(progress, options) if options.etl else Status.SUCCESS
            except BaseException as error:
                held.unrecorded = self._log.failed(progress, error)
                raise
        self.upkeep().after_run(progress.due)
        if spent:
            raise spent
        return progress.result(status)

    def skip(self, options: RunOptions) -> RunResult:
        """Record jobs none of which is to be run, and nothing else."""
        progress = Progress.begin(self._warehouse.name, options.command, self._clock, options.jobs)
        with self._sessions.leased(progress.run_id, options.wait_s, self._log.dead):
            self._log.skipped(progress)
        return progress.result(Status.SKIPPED)

    def verify(self, wait_s: float) -> VerifyResult:
        """Rebuild every table from raw on a branch that is never published, and compare with what is published."""
        run_id = new_run_id(self._clock)
        started = self._clock.monotonic()
        with self._sessions.leased(run_id, wait_s, self._log.dead), self._sessions.open(run_id) as session:
            result = self.build(session, BuildOptions(rebuild="*", verify=True))
            self._sessions.catalog.drop_branch(session.branch)
        duration_ms = round((self._clock.monotonic() - started) * 1000)
        return VerifyResult(self._warehouse.name, result.differences, duration_ms)

    def stages(self) -> StagedRun:
        """Return what runs the warehouse stage by stage, each in a process of its own."""
        return StagedRun(self, self._warehouse, self._sessions, self._log)

    def upkeep(self, policy: Policy | None = None) -> Upkeep:
        """Return what maintains the warehouse."""
        return Upkeep(self._sessions, self._log, policy or Policy())

    def ingest(self, progress: Progress, ingest: Ingest) -> QuotaSpent | None:
        """Land loads; a spent quota ends it early and is returned, to be raised once the rest is published."""
        with progress.stage("ingest"):
            try:
                for load in ingest(progress.run_id):
                    log.info("landed", extra={"stream": load.stream, "load": load.seq, "rows": load.rows})
                    progress.loads.append(load)
            except QuotaSpent as spent:
                progress.notes.append(str(spent))
                return spent
        return None

    def _build_and_publish(self, progress: Progress, options: RunOptions) -> Status:
        with self._sessions.open(progress.run_id) as session:
            self._sessions.still_ours(session)
            with progress.stage("build"):
                result = self.build(session, options.build)
            progress.built(result)
            moved = session.moved
            with progress.stage("check"):
                checks = self.check(session, moved, result, options.checks)
            self._log.checks(session, progress, checks)
            self._log.build(session, progress, result)
            status = Status.SUCCESS if moved or result.states or result.marks else Status.SKIPPED
            self._log.run(session, progress, status)
            with progress.stage("publish"):
                session.tables.publish(f"{options.command} {self._warehouse.name} {progress.run_id}")
            self._sessions.tidy(
                session.branch, f"{self._warehouse.name}-{progress.started_at:%Y-%m-%d}" if moved else ""
            )
            progress.due = due(session.tables, session.moved, Policy())
            return status

    def build(self, session: Session, options: BuildOptions) -> BuildResult:
        """Build the tables on a branch."""
        chains, run_id, scratch = self._sessions.chains, session.branch.run_id, self._sessions.scratch
        build = Build(self._warehouse, session.engine, session.tables, chains, run_id, scratch, self._clock, options)
        return build.run(session.control.build_states(), session.control.published_loads())

    def check(
        self, session: Session, moved: set[str], build: BuildResult, given: Sequence[DataQualityCheck]
    ) -> list[CheckResult]:
        """Run the checks that are due on a branch on which some tables moved."""
        checks = due_checks(self._warehouse, moved, build, session.tables.pointers, self._clock.now(), given)
        if checks and not moved:
            session.engine.attach(dict(session.tables.pointers))
        results = [run_check(session.engine, check) for check in checks]
        for result in results:
            if result.status == "warned":
                log.warning("check %s: %d rows", result.check.title, result.failures)
        return results


if __name__ == "__main__":
    import sys

    from starberg.entrypoints.cli import main

    main(["run", *sys.argv[1:]])
