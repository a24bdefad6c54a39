"""Runs by job and date: `run --date`, `run-job`, `backfill`, `plan`, and how jobs stand."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from starberg.entrypoints.assembly import ingestion_of, loads_of, pipeline_of
from starberg.etl.alerts import COMPARED, has_dropped
from starberg.etl.day_ranges import unpacked
from starberg.etl.jobs import (
    JobRun,
    Only,
    date_range,
    is_dated,
    job_of,
    picked,
    planned,
    tables_to_build,
    yesterday,
)
from starberg.etl.results import JobState, Plan, PlannedJob, RunResult, Stage, Status
from starberg.etl.schedule import Job, after
from starberg.storage.raw_chain import Chains
from starberg.utils.errors import DeclarationError, UsageError
from starberg.utils.sql import quote, text

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake
    from starberg.etl.model import Warehouse
    from starberg.etl.pipeline import RunOptions
    from starberg.etl.quality import DataQualityCheck

log = logging.getLogger(__name__)

_STATE = """
SELECT job_name, status, target_date, rows_processed, started_at, completed_at, error_message
FROM {runs} QUALIFY row_number() OVER (PARTITION BY job_name ORDER BY started_at DESC, run_id DESC) = 1
"""
_BEFORE = """
SELECT target_date, max(rows_inserted) FROM {runs}
WHERE job_name = {name} AND status = 'SUCCESS' AND target_date <= {day} AND run_id <> {run}
GROUP BY target_date ORDER BY target_date DESC LIMIT 8
"""


@dataclass(frozen=True)
class Request:
    """Which jobs to run for which date (default: yesterday).

    Unless `exact`ly that date is meant, other dates whose rows changed since they were built are built, too. `names`
    and `only` pick jobs (default: all, and every table that has none); `due_at` are their ticks.
    """

    date: date | None = None
    names: Collection[str] = ()
    only: Only | None = None
    force: bool = False
    exact: bool = True
    due_at: Mapping[str, datetime] | None = None
    command: str = "run"


def run(lake: Lake, warehouse: str, request: Request, *, ingest: bool = True, **how: Any) -> RunResult:
    """Run jobs as one run on one branch; `how` is what `Lake.run` takes. Jobs that are done are only recorded.

    A warehouse that declares no jobs is run as a whole, unless the request picks some of those it has by default.
    """
    declared = lake.warehouse(warehouse)
    return _run(lake, declared, _asked(lake, declared, request), request, ingest=ingest, **how)


def run_stage(
    lake: Lake, warehouse: str, stage: Stage, run_id: str, *, source: str | None = None, full: bool = False, **how: Any
) -> RunResult:
    """Do one stage of a run of a whole warehouse; `how` is what `run_options` takes."""
    declared, request = lake.warehouse(warehouse), Request()
    runs = _asked(lake, declared, request)
    with pipeline_of(lake, declared) as pipeline:
        options = run_options(lake, declared, runs, request, **how)
        return pipeline.stages().run(
            stage, run_id, options, loads_of(lake, declared, pipeline.chains, source, full=full)
        )


def backfill(
    lake: Lake,
    warehouse: str,
    since: date,
    until: date,
    *,
    names: Collection[str] = (),
    force: bool = False,
    **how: Any,
) -> Iterator[RunResult]:
    """Run the dated jobs for each day from one to another, both inclusive, and yield each run as it is published.

    The sources are read once, by the first. What succeeded before is skipped, so that typing it again goes on where it
    stopped. Errors are those of `Lake.run`, and UsageError if no job builds by date.
    """
    declared = lake.warehouse(warehouse)
    days = list(date_range(since, until))
    jobs = [name for name, job in picked(declared, None, names).items() if is_dated(declared, job)]
    if not jobs:
        hint = f"`starberg run {warehouse}` brings its tables up to date, `starberg rebuild` makes them anew."
        raise UsageError(f"no job of {warehouse} builds by date", hint=hint)
    request = Request(since, jobs, force=force, command="backfill")
    succeeded = _succeeded(lake, declared, since, until)
    runs = {day: _planned(lake, declared, replace(request, date=day), succeeded) for day in days}
    done = [run for day in days for run in runs[day] if run.skipped]
    if done:
        yield _run(lake, declared, done, request, ingest=False, **how)
    ingest = True
    for day, wanted in runs.items():
        if left := [run for run in wanted if not run.skipped]:
            yield _run(lake, declared, left, replace(request, date=day), ingest=ingest, **how)
            ingest = False


def plan(lake: Lake, warehouse: str, target: date | None, *, sql: bool = False) -> Plan:
    """Return what a run would ask of the sources and which jobs are due for a date; changes nothing."""
    declared = lake.warehouse(warehouse)
    runs, existing = _planned(lake, declared, Request(target)), lake.look().tables
    jobs = []
    for run in runs:
        job = PlannedJob(
            run.name,
            run.target_date,
            not run.skipped,
            _why(run),
            tables_to_build(declared, [run], existing, whole=False),
        )
        jobs.append(job)
    tables = sorted({table for job in jobs if job.due for table in job.tables}, key=list(declared.tables).index)
    compiled = {name: lake.compile(f"{warehouse}.{name}") for name in tables} if sql else {}
    target = target or yesterday(lake.clock.now(), declared.zone)
    return Plan(warehouse, target, ingestion_of(lake, declared, Chains(lake.store, warehouse)).plan(), jobs, compiled)


def states(lake: Lake, warehouse: str | None) -> list[JobState]:
    """Return how each declared job stands; a job of a warehouse that declares none only if it ever ran.

    Without `warehouse`: of those that have tables. One whose declarations are wrong then has the jobs that ran.
    """
    found = lake.look()
    names = [warehouse] if warehouse else sorted({name.split(".")[0] for name in found.tables})
    tables = {name: f"{name}.etl_job_runs" for name in names if f"{name}.etl_job_runs" in found.tables}
    engine = lake.reader(warehouse, state=found, only=set(tables.values()))
    now = lake.clock.now()
    listed: list[JobState] = []
    try:
        for name in names:
            query = _STATE.format(runs=quote(tables[name])) if name in tables else "SELECT 1 WHERE false"
            last = {row[0]: row[1:] for row in engine.rows(query)}
            jobs = lake.warehouse(name).jobs if warehouse else _jobs_if_well(lake, name)
            for job in [*jobs, *sorted(last.keys() - jobs.keys())]:
                status, target, rows, started, completed, error = last.get(job, (None,) * 6)
                rule = jobs[job].rule if job in jobs else ""
                began, ended = (moment.replace(tzinfo=UTC) if moment else None for moment in (started, completed))
                next_at = after(rule, now) if rule else None
                listed.append(JobState(name, job, rule, status, target, rows, began, ended, error, next_at))
    finally:
        engine.close()
    return listed


def _jobs_if_well(lake: Lake, warehouse: str) -> Mapping[str, Job]:
    if warehouse not in lake.warehouses:
        return {}
    try:
        return lake.warehouses[warehouse].jobs
    except DeclarationError as error:
        log.warning("%s", error)
        return {}


def drops_of(lake: Lake, warehouse: str, result: RunResult) -> dict[str, str]:
    """Return the jobs of a run that built a date for the first time with far fewer rows than the dates before.

    How few is said by `alerts:` of warehouse.yml; without it nobody asks.
    """
    rules = lake.warehouses.file(warehouse).alerts
    declared = lake.warehouse(warehouse)
    built = [job for job in result.jobs if job.status is Status.SUCCESS and len(job.dates) <= 1]
    built = [job for job in built if is_dated(declared, job_of(declared, job.job_name))]
    if not rules or not built:
        return {}
    runs = f"{warehouse}.etl_job_runs"
    found = {}
    engine = lake.reader(warehouse, only={runs})
    try:
        for job in built:
            day, name = f"DATE {text(str(job.target_date))}", text(job.job_name)
            rows = engine.rows(_BEFORE.format(runs=quote(runs), name=name, day=day, run=text(result.run_id)))
            again = any(target == job.target_date for target, _ in rows)
            before = [count for _, count in rows]
            if not again and has_dropped(job.rows_inserted, before, rules.drop):
                said = f"{job.rows_inserted} rows for {job.target_date}; the dates before had {before[:COMPARED]}."
                found[job.job_name] = said
    finally:
        engine.close()
    return found


def _why(run: JobRun) -> str:
    if run.skipped:
        return "succeeded for this date; --force runs it again"
    if not run.dated:
        return "brings its tables up to date"
    return "succeeded, and is built again where rows changed since" if run.done else "has not succeeded for this date"


def _asked(lake: Lake, declared: Warehouse, request: Request) -> list[JobRun]:
    picks = request.date or request.names or request.only or request.force
    return _planned(lake, declared, request) if declared.jobs or picks else []


def _planned(
    lake: Lake, declared: Warehouse, request: Request, succeeded: Collection[tuple[str, date]] | None = None
) -> list[JobRun]:
    target = request.date or yesterday(lake.clock.now(), declared.zone)
    jobs = picked(declared, request.only, request.names)
    if not jobs:
        raise UsageError(f"{declared.name} has no jobs over {request.only or 'its tables'}")
    done = _succeeded(lake, declared, target, target) if succeeded is None else succeeded
    exact = request.exact and request.date is not None
    return planned(declared, jobs, target, done, exact=exact, force=request.force, due_at=request.due_at)


def _succeeded(lake: Lake, declared: Warehouse, since: date, until: date) -> set[tuple[str, date]]:
    """Return the dated jobs and the dates in a range for which they succeeded: those they were asked for, and built.

    One that was asked for a day that was not over has built none.
    """
    runs = f"{declared.name}.etl_job_runs"
    found = lake.look()
    if runs not in found.tables:
        return set()
    engine = lake.reader(declared.name, state=found, only={runs})
    try:
        rows = engine.rows(
            f"SELECT DISTINCT job_name, target_date, dates FROM {quote(runs)} "
            "WHERE status = 'SUCCESS' AND dates IS NOT NULL"
        )
    finally:
        engine.close()
    done = {(name, day) for name, target, dates in rows for day in (target, *unpacked(dates))}
    return {(name, day) for name, day in done if since <= day <= until}


def _run(
    lake: Lake,
    declared: Warehouse,
    runs: Sequence[JobRun],
    request: Request,
    *,
    ingest: bool,
    source: str | None = None,
    full: bool = False,
    **how: Any,
) -> RunResult:
    with pipeline_of(lake, declared) as pipeline:
        options = run_options(lake, declared, runs, request, **how)
        if runs and all(run.skipped for run in runs):
            return pipeline.skip(options)
        return pipeline.run(options, loads_of(lake, declared, pipeline.chains, source, full=full) if ingest else None)


def run_options(
    lake: Lake,
    declared: Warehouse,
    runs: Sequence[JobRun],
    request: Request,
    *,
    allow_deletes: Sequence[str] = (),
    rebuild: bool = True,
    wait_s: float = 600.0,
    checks: Sequence[DataQualityCheck] = (),
) -> RunOptions:
    """Return how to run some jobs as one run; without any, the whole warehouse."""
    from starberg.etl.build_writer import BuildOptions
    from starberg.etl.pipeline import RunOptions

    wanted = [run for run in runs if not run.skipped]
    whole = not request.names and request.only is None
    build = BuildOptions(
        rebuild=[table for run in wanted if run.force and not run.dated for table in run.tables],
        allow_deletes=declared.with_same_stream(allow_deletes),
        stop_on_edit=not rebuild,
        only=tables_to_build(declared, runs, () if whole else lake.look().tables, whole=whole),
        dates=sorted({run.target_date for run in wanted if run.dated and (run.exact or run.force)}),
        restate_late=not any(run.exact for run in wanted),
    )
    return RunOptions(request.command, build=build, wait_s=wait_s, jobs=runs, checks=checks)
