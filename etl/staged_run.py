"""A run in stages, each a command of its own: for schedulers that have tasks, and show and retry them one by one.

The stages of a run share its run id, its branch and its lease. Between two of them the lease is parked; what one leaves
to the next stands in it, so that nothing is left of a run whose lease is gone. A stage that was done is not done again.
One that died, or met a service that is down, is begun anew; till then another run may take the warehouse over, as ever.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel

from starberg.etl.build import BuildResult
from starberg.etl.jobs import JobRun, written
from starberg.etl.model import Warehouse
from starberg.etl.quality import CheckResult
from starberg.etl.results import LoadResult, RunResult, Stage, Status
from starberg.etl.run_log import Progress, RunLog
from starberg.etl.run_session import LOG, Sessions
from starberg.etl.upkeep import due
from starberg.storage.branches import Branch, check_run_id
from starberg.storage.lease import Held
from starberg.storage.maintenance import Policy
from starberg.utils.errors import CheckFailed, StarbergError, TransientError, UsageError

if TYPE_CHECKING:
    from starberg.etl.pipeline import Ingest, Pipeline, RunOptions


_ORDER = tuple(Stage)


class Record(BaseModel):
    """What the stages so far leave to the next; `before` is where main's tables were when the branch was cut."""

    done: list[Stage] = []
    seconds: dict[str, float] = {}
    loads: list[LoadResult] = []
    notes: list[str] = []
    jobs: list[JobRun] = []
    before: dict[str, str] = {}
    moved: set[str] = set()
    built: BuildResult = BuildResult()
    checked: list[CheckResult] = []
    checked_at: datetime | None = None

    def check_order(self, run_id: str, stage: Stage) -> None:
        """Raise UsageError if a stage is not the next one."""
        following = _ORDER[len(self.done)]
        if stage is not following:
            known = f"has done {' and '.join(self.done)}" if self.done else "has not begun"
            raise UsageError(f"run {run_id} {known}: {stage} is not its turn", hint=f"Next is --stage {following}.")


class StagedRun:
    """Runs one stage of a warehouse's run."""

    def __init__(self, pipeline: Pipeline, warehouse: Warehouse, sessions: Sessions, run_log: RunLog) -> None:
        self._pipeline = pipeline
        self._warehouse = warehouse
        self._sessions = sessions
        self._log = run_log

    def run(self, stage: Stage, run_id: str, options: RunOptions, ingest: Ingest) -> RunResult:
        """Do one stage; RUNNING says that the run goes on. A run that was published is left as it is.

        Raises UsageError (a stage out of order, a run that failed), and what the stage of a run in one raises.
        """
        if LOG in check_run_id(run_id):
            raise UsageError(f"{run_id!r} is no run id", hint=f"Leave out {LOG}.")
        if published := self._published(run_id):
            return published
        about = written(options.jobs)
        with self._sessions.leased(run_id, options.wait_s, self._log.dead, about) as held:
            record = Record.model_validate_json(held.lease.left or "{}")
            held.left = held.lease.left
            clock = self._sessions.clock
            progress = Progress.resume(self._warehouse.name, run_id, clock, record.jobs, held.lease.acquired_at)
            progress.stages, progress.loads, progress.notes = dict(record.seconds), record.loads, record.notes
            status = Status.RUNNING
            if stage not in record.done:
                record.check_order(run_id, stage)
                status = self._guarded(stage, progress, record, options, ingest, held)
                held.left = record.model_dump_json() if status is Status.RUNNING else ""
        if status is not Status.RUNNING:
            self._pipeline.upkeep().after_run(progress.due)
        return progress.result(status)

    def _guarded(
        self,
        stage: Stage,
        progress: Progress,
        record: Record,
        options: RunOptions,
        ingest: Ingest,
        held: Held,
    ) -> Status:
        """Do a stage; if it fails for good, record that the run failed, else leave it to be tried again."""
        try:
            if stage is Stage.INGEST:
                self._ingest(progress, record, ingest)
            elif stage is Stage.BUILD:
                self._build(progress, record, options)
            elif stage is Stage.CHECK:
                self._check(progress, record, options)
            else:
                return self._publish(progress, record)
        except BaseException as error:
            if isinstance(error, StarbergError) and not isinstance(error, TransientError):
                held.left = ""
                held.unrecorded = self._log.failed(progress, error)
                if not isinstance(error, CheckFailed):  # people look at what failed
                    self._drop_branch(progress)
            else:
                held.unrecorded = str(error) or type(error).__name__
            raise
        record.done.append(stage)
        record.seconds, record.notes = progress.stages, progress.notes
        return Status.RUNNING

    def _ingest(self, progress: Progress, record: Record, ingest: Ingest) -> None:
        self._pipeline.ingest(progress, ingest)  # of a spent quota there is a note; what was fetched goes on
        record.loads = progress.loads

    def _build(self, progress: Progress, record: Record, options: RunOptions) -> None:
        self._drop_branch(progress)  # what a build that died left there
        progress.asked = record.jobs = list(options.jobs)
        with self._sessions.open(progress.run_id) as session:
            self._sessions.still_ours(session)
            with progress.stage(Stage.BUILD):
                built = self._pipeline.build(session, options.build)
                session.tables.save()
            progress.built(built)
            # The scopes are the engine's temporary tables: checks will look at the tables as a whole.
            built.scopes = {}
            record.built, record.before, record.moved = built, dict(session.before), session.moved

    def _check(self, progress: Progress, record: Record, options: RunOptions) -> None:
        progress.built(record.built)
        with self._sessions.reopen(progress.run_id, record.before) as session, progress.stage(Stage.CHECK):
            record.checked = self._pipeline.check(session, record.moved, record.built, options.checks)
            record.checked_at = progress.clock.now()
            # Only to stop here: what was found is written by the stage that publishes, once.
            self._log.checks(session, progress, record.checked, record.checked_at)

    def _publish(self, progress: Progress, record: Record) -> Status:
        progress.built(record.built)
        status = Status.SUCCESS if record.moved or record.built.states or record.built.marks else Status.SKIPPED
        with self._sessions.reopen(progress.run_id, record.before) as session, progress.stage(Stage.PUBLISH):
            self._sessions.still_ours(session)
            runs = f"{self._warehouse.name}.etl_runs"
            if runs not in session.moved:  # else a publish that died had written all this, in one step
                self._log.checks(session, progress, record.checked, record.checked_at)
                self._log.build(session, progress, record.built)
                self._log.run(session, progress, status)
            session.tables.publish(f"run {self._warehouse.name} {progress.run_id}")
            tag = f"{self._warehouse.name}-{progress.started_at:%Y-%m-%d}"
            self._sessions.tidy(session.branch, tag if record.moved else "")
            progress.due = due(session.tables, session.moved, Policy())
        return status

    def _drop_branch(self, progress: Progress) -> None:
        self._sessions.tidy(Branch(progress.run_id, self._warehouse.name, progress.started_at, ""))

    def _published(self, run_id: str) -> RunResult | None:
        """Return the end of a run that was published, None of one that goes on; UsageError for one that failed."""
        published, now, name = self._sessions.catalog.published, self._sessions.clock.now(), self._warehouse.name
        if published(run_id):
            return RunResult(run_id, name, Status.SUCCESS, now, now, 0, notes=["was published before"])
        if published(f"{run_id}{LOG}"):
            hint = f"`starberg status {name}` says why; begin another with a new --run-id."
            raise UsageError(f"run {run_id} has ended and was not published", hint=hint)
        return None
