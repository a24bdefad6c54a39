"""`starberg schedule`: the scheduler over the warehouses of a lake, and what it knows of their ticks."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from starberg.entrypoints import heartbeat
from starberg.entrypoints.alerts import watcher_of
from starberg.entrypoints.job_runs import Request, drops_of
from starberg.entrypoints.job_runs import run as run_jobs
from starberg.entrypoints.ledger import Ledger
from starberg.entrypoints.scheduler import Ran, Scheduler
from starberg.etl.due import Item, Part, items_of
from starberg.etl.results import RunResult, Status
from starberg.etl.schedule import after
from starberg.utils.errors import Busy, QuotaSpent, StarbergError, TransientError, UsageError

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake

log = logging.getLogger(__name__)


def run_scheduler(lake: Lake, warehouses: Sequence[str], *, grace_s: float) -> None:
    """Run what is due of some warehouses (default: all that declare schedules or jobs) until SIGTERM or Ctrl-C.

    Busy if another scheduler is at work in this home, UsageError if nothing is scheduled.
    """
    for name in warehouses:
        lake.check_known(name)
    if not any(timetable(lake, warehouses).values()):
        raise UsageError("nothing is scheduled", hint="Declare `schedules:` or `jobs:` in warehouse.yml.")
    with heartbeat.alone(lake.home):
        scheduler = scheduler_of(lake, warehouses)
        with _stopped_by_signals(scheduler):
            if not scheduler.run(grace_s):
                log.warning("stopped while runs were at work: what they did is thrown away, the next run repairs")


def scheduler_of(lake: Lake, warehouses: Sequence[str] = ()) -> Scheduler:
    """Return a scheduler over some warehouses; each run opens the lake anew, so that edits count."""
    return Scheduler(
        timetable=lambda: timetable(lake.reopen({}), warehouses),
        ledger_of=partial(Ledger, lake.store),
        runner=Runs(lake),
        clock=lake.clock,
        beat=partial(heartbeat.beat, lake.home),
        watch=watcher_of(lake),
    )


def timetable(lake: Lake, warehouses: Sequence[str] = ()) -> dict[str, list[Item] | StarbergError]:
    """Return what is scheduled of some warehouses (default: all), as warehouse.yml says now, or why that is wrong."""
    found: dict[str, list[Item] | StarbergError] = {}
    for name in lake.warehouses:
        if warehouses and name not in warehouses:
            continue
        try:
            declared = lake.warehouses.file(name)
        except StarbergError as error:
            found[name] = error
            continue
        if items := items_of(declared.schedules, declared.jobs, declared.zone):
            found[name] = items
    return found


def listed(lake: Lake, warehouses: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return each schedule and job: its rule, its newest tick and what became of it, the next tick (UTC)."""
    now = lake.clock.now()
    rows: list[dict[str, Any]] = []
    for name, items in timetable(lake, warehouses).items():
        if isinstance(items, StarbergError):
            rows.append({"warehouse": name, "error": str(items)})
            continue
        ledger = Ledger(lake.store, name)
        for item in items:
            newest = ledger.newest(item.name, now)
            row: dict[str, Any] = {"warehouse": name, "name": item.name, "rule": item.rule, "missed": item.missed}
            row |= {what: getattr(newest, what, None) for what in ("tick", "state", "status", "error", "run_id")}
            rows.append(row | {"next_at": after(item.rule, now)})
    return rows


@dataclass(frozen=True)
class Runs:
    """Runs parts of a warehouse's work in a lake."""

    lake: Lake

    def __call__(self, warehouse: str, part: Part) -> Ran:
        """Run one part; whatever goes wrong is told, not raised: it is this warehouse's own trouble."""
        lake = self.lake.reopen({})
        try:
            result = self._run(lake, warehouse, part)
            drops = drops_of(lake, warehouse, result)
        except (TransientError, Busy) as error:
            return Ran(Status.FAILED, error=str(error), down=True)
        except QuotaSpent as error:  # what was fetched is published
            return Ran(Status.SUCCESS, error=str(error))
        except StarbergError as error:
            return Ran(Status.FAILED, error=str(error))
        except Exception as error:
            log.exception("a run broke", extra={"warehouse": warehouse})
            return Ran(Status.FAILED, error=f"unexpected {type(error).__name__}: {error}")
        return Ran(result.status, result.run_id, jobs=result.jobs, drops=drops)

    def _run(self, lake: Lake, warehouse: str, part: Part) -> RunResult:
        if part.jobs:
            names = [name for name, _ in part.jobs]
            request = Request(part.date, names, exact=False, due_at=dict(part.jobs), command="run-job")
            return run_jobs(lake, warehouse, request, wait_s=0)
        how: Mapping[str, Any] = {"ingest": part.do != "etl", "etl": part.do != "ingest"}
        return lake.run(warehouse, **how, source=part.source, full=part.full, wait_s=0)


@contextmanager
def _stopped_by_signals(scheduler: Scheduler) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C stop the scheduler; the second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def stop(number: int, frame: Any) -> None:
        del frame
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        signal.signal(number, before[number])
        scheduler.stop()

    for one in (signal.SIGTERM, signal.SIGINT):
        before[one] = signal.signal(one, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
