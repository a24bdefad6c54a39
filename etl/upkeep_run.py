"""Upkeep as a run of its own: under the warehouse's lease, on a branch, published in one step."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from starberg.etl.results import MaintainResult, Status, SweepResult, TableUpkeep
from starberg.etl.run_log import Progress, RunLog
from starberg.etl.run_session import Sessions
from starberg.etl.upkeep import Folding, Sweeper, follow, is_control
from starberg.storage.maintenance import Policy
from starberg.utils.errors import StarbergError

log = logging.getLogger(__name__)


class Upkeep:
    """Maintains one warehouse."""

    def __init__(self, sessions: Sessions, run_log: RunLog, policy: Policy) -> None:
        self._warehouse = sessions.warehouse
        self._sessions = sessions
        self._log = run_log
        self._policy = policy
        self._sweeper = Sweeper(self._warehouse, sessions.catalog, sessions.store, self._policy)

    def run(self, wait_s: float, *, only: Collection[str] = (), sweep: bool = True) -> MaintainResult:
        """Fold tables (default: all) and publish; then drop what nobody can look up any more.

        Without `sweep` that is left to a later time, if the last was not long ago.
        """
        progress = Progress.begin(self._warehouse, "maintain", self._sessions.clock)
        swept = SweepResult(0, 0, {}, [], [])
        with self._sessions.leased(progress.run_id, wait_s, self._log.dead) as held:
            try:
                status, tables = self._fold(progress, only)
            except BaseException as error:
                held.unrecorded = self._log.failed(progress, error)
                raise
            if sweep or self._sweeper.is_due(progress.started_at):
                swept = self._sweeper.sweep(progress.started_at)
        return self._result(progress, status, tables, swept)

    def outlook(self) -> MaintainResult:
        """Return what `run` would do now; nothing is changed."""
        progress = Progress.begin(self._warehouse, "maintain", self._sessions.clock)
        with self._sessions.look() as session:
            folding = Folding(session.engine.local, session.tables, self._policy)
            plans = [folding.plan(name) for name in sorted(session.tables.pointers)]
        swept = self._sweeper.sweep(progress.started_at, dry_run=True)
        status = Status.SUCCESS if any(plan.matters for plan in plans) else Status.SKIPPED
        result = self._result(progress, status, [plan.outlook() for plan in plans], swept)
        return replace(result, run_id="", dry_run=True)

    def after_run(self, tables: Collection[str]) -> None:
        """Maintain tables that are due; what fails is only logged: the run they are due after was published."""
        if not tables:
            return
        try:
            self.run(0, only=tables, sweep=False)
        except StarbergError as error:
            log.warning("%s was not maintained: %s", self._warehouse, error)

    def _fold(self, progress: Progress, only: Collection[str]) -> tuple[Status, list[TableUpkeep]]:
        """Fold tables on a branch and publish them; the control tables last, with the row of this run in them."""
        with self._sessions.open(progress.run_id) as session:
            self._sessions.still_ours(session)
            folding, before = Folding(session.engine.local, session.tables, self._policy), session.before
            names = sorted(set(only) & before.keys() if only else before)
            with progress.stage("fold"):
                status = Status.SUCCESS if any(folding.plan(name).matters for name in names) else Status.SKIPPED
                done = [folding.fold(name) for name in names if not is_control(name)]
                moved = {(name, before[name]): session.tables.pointers[name] for name in session.moved}
                follow(session, moved)
            self._log.run(session, progress, status)
            done += [folding.fold(name) for name in names if is_control(name)]
            session.tables.publish(f"maintain {self._warehouse} {progress.run_id}")
            today = f"{self._warehouse}-{progress.started_at:%Y-%m-%d}"
            # The day's tag, if there is one, need not hold on to the files that were folded.
            self._sessions.tidy(session.branch, today if moved and today in self._sessions.catalog.tags() else "")
            return status, done

    def _result(
        self, progress: Progress, status: Status, tables: Sequence[TableUpkeep], swept: SweepResult
    ) -> MaintainResult:
        return MaintainResult(
            warehouse=self._warehouse,
            run_id=progress.run_id,
            status=status,
            dry_run=False,
            duration_ms=progress.duration_ms,
            files_dropped=swept.files,
            bytes_freed=swept.bytes_freed,
            branches_dropped=swept.branches,
            tags_dropped=swept.tags,
            tables=[replace(table, bytes_freed=swept.bytes_freed_of.get(table.name, 0)) for table in tables],
        )
