"""Jobs over a warehouse's tables: which there are, what one of them is to build for which date, what came of it.

A job whose tables are built by date is *dated*: it is done once for each date, and again only when forced. Every other
job brings its tables up to date: where nothing they are made from has changed it is skipped. Without `jobs:` in
warehouse.yml each dimension has a job `sync_<dimension>`, each fact and bridge `build_<table>`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from starberg.etl.dates import is_by_date
from starberg.etl.day_ranges import DAY, every_day, packed
from starberg.etl.graph import dependents, upstream
from starberg.etl.model import Kind
from starberg.etl.results import JobResult, Status, TableResult
from starberg.etl.schedule import Job
from starberg.etl.zone import Zone
from starberg.utils.did_you_mean import did_you_mean
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from starberg.etl.model import Table, Warehouse
    from starberg.utils.yaml_lines import YamlFile

Only = Literal["dimensions", "facts"]

_OWN_JOB = (Kind.DIMENSION, Kind.BRIDGE, Kind.FACT)
_PREFIXES = ("sync_", "build_")
_MOST_DATES = 3660


@dataclass(frozen=True)
class JobRun:
    """One job to be run for one date; `due_at` is its tick, if it has one (UTC).

    `done` says that it succeeded for the date before. It is then left out if it `exact`ly is asked for that date, and
    else built for those dates only whose rows changed since.
    """

    name: str
    target_date: date
    tables: Sequence[str]
    dated: bool
    done: bool = False
    exact: bool = True
    force: bool = False
    due_at: datetime | None = None

    @property
    def skipped(self) -> bool:
        """Whether there is nothing to be looked at."""
        return self.dated and self.done and self.exact and not self.force


def with_tables(jobs: Mapping[str, Job], tables: Mapping[str, Table], document: YamlFile) -> dict[str, Job]:
    """Return jobs with their tables written out; DeclarationError for one that has none or names another's."""
    found = {}
    for name, job in jobs.items():
        own = list(job.tables) or [table for table in (_of_name(name),) if table in tables]
        if not own:
            hint = "List the tables it builds; only sync_dim_x and build_fact_x are understood by their names."
            raise document.error(("jobs", name, "tables"), "is missing", hint=hint)
        for place, table in enumerate(own):
            at = ("jobs", name, "tables", place)
            if table not in tables:
                raise document.error(at, f"no table {table}", hint=did_you_mean(table, tables))
            if (kind := tables[table].kind) not in (*_OWN_JOB, Kind.MART):
                raise document.error(at, f"{table} is a {kind.value.removesuffix('s')}, which no job builds")
        found[name] = job.model_copy(update={"tables": own})
    return found


def _of_name(job: str) -> str:
    """Return the table a job's name speaks of.

    >>> _of_name("sync_dim_tenant")
    'dim_tenant'
    """
    return next((job.removeprefix(prefix) for prefix in _PREFIXES if job.startswith(prefix)), "")


def jobs_of(warehouse: Warehouse) -> dict[str, Job]:
    """Return the jobs of a warehouse in the order of what they build: the declared ones, else one for each table."""
    jobs = dict(warehouse.jobs)
    if not jobs:
        jobs = {
            f"{'sync' if table.kind is Kind.DIMENSION else 'build'}_{table.name}": Job.model_construct(
                tables=[table.name], window=timedelta(hours=1), every=timedelta(days=1), cron="", missed="latest"
            )
            for table in warehouse.tables.values()
            if table.kind in _OWN_JOB
        }
    order = {name: place for place, name in enumerate(warehouse.tables)}
    return dict(sorted(jobs.items(), key=lambda named: (max(order[table] for table in named[1].tables), named[0])))


def job_of(warehouse: Warehouse, name: str) -> Job:
    """Return one job; UsageError lists those there are."""
    jobs = jobs_of(warehouse)
    if name not in jobs:
        raise UsageError(f"{warehouse.name} has no job {name}", hint=did_you_mean(name, jobs))
    return jobs[name]


def is_dated(warehouse: Warehouse, job: Job) -> bool:
    """Whether a job builds tables by date."""
    return any(is_by_date(warehouse.tables[name]) for name in job.tables)


def picked(warehouse: Warehouse, only: Only | None, names: Collection[str] = ()) -> dict[str, Job]:
    """Return some jobs by name (default: all), and of those the ones over dimensions only, or over anything else."""
    for name in names:
        job_of(warehouse, name)
    found = {name: job for name, job in jobs_of(warehouse).items() if not names or name in names}
    if only is None:
        return found

    def over_dimensions(job: Job) -> bool:
        return all(warehouse.tables[table].kind is Kind.DIMENSION for table in job.tables)

    return {name: job for name, job in found.items() if over_dimensions(job) == (only == "dimensions")}


def planned(
    warehouse: Warehouse,
    jobs: Mapping[str, Job],
    target: date,
    done: Collection[tuple[str, date]],
    *,
    exact: bool = True,
    force: bool = False,
    due_at: Mapping[str, datetime] | None = None,
) -> list[JobRun]:
    """Return what to run for a date; `done` are the names and target dates of jobs that succeeded."""
    return [
        JobRun(
            name,
            target,
            tuple(job.tables),
            dated=is_dated(warehouse, job),
            done=(name, target) in done,
            exact=exact,
            force=force,
            due_at=(due_at or {}).get(name),
        )
        for name, job in jobs.items()
    ]


def results(
    jobs: Sequence[JobRun],
    run_id: str,
    run_date: date,
    tables: Sequence[TableResult],
    began: Mapping[str, datetime],
    now: datetime,
    error: str = "",
) -> list[JobResult]:
    """Return what came of jobs in a run that did `tables`, looked at from `began` on; with `error` they failed."""
    by_name = {table.name: table for table in tables}
    return [
        _result(job, run_id, run_date, [by_name[t] for t in job.tables if t in by_name], began, now, error)
        for job in jobs
    ]


def _result(
    job: JobRun,
    run_id: str,
    run_date: date,
    tables: Sequence[TableResult],
    began: Mapping[str, datetime],
    now: datetime,
    error: str,
) -> JobResult:
    starts = [began[table.name] for table in tables if table.name in began]
    ends = [began[t.name] + timedelta(milliseconds=t.duration_ms) for t in tables if t.name in began]
    same = all(table.strategy == "skip" for table in tables) and not job.force and (job.done or not job.dated)
    status = Status.FAILED if error else Status.SKIPPED if same else Status.SUCCESS
    if job.skipped:
        status = Status.SKIPPED
    blank = JobResult(
        id=f"{run_id}:{job.name}:{job.target_date}",
        run_id=run_id,
        job_name=job.name,
        run_date=run_date,
        target_date=job.target_date,
        status=status,
        started_at=min(starts, default=now),
        completed_at=max(ends, default=now),
        due_at=job.due_at,
    )
    if status is Status.FAILED:
        return replace(blank, error_message=error, completed_at=now)
    if status is Status.SKIPPED:
        return blank
    inserted, updated, deleted = (
        sum(getattr(table, f"rows_{what}") for table in tables) for what in ("inserted", "updated", "deleted")
    )
    return replace(
        blank,
        rows_processed=inserted + updated + deleted,
        rows_inserted=inserted,
        rows_updated=updated,
        rows_deleted=deleted,
        duration_ms=sum(table.duration_ms for table in tables),
        dates=sorted({day for table in tables for day in table.dates}),
    )


def tables_to_build(
    warehouse: Warehouse, runs: Sequence[JobRun], existing: Collection[str], *, whole: bool
) -> list[str]:
    """Return the tables that jobs need: theirs, what these are made from, and what is made from these.

    Tables built by date are left to their own jobs, and what reads one that is not `existing` (`warehouse.table`) yet
    waits for it. `whole`: all tables but those of skipped jobs; none named: all.
    """
    skipped = {table for run in runs if run.skipped for table in run.tables}
    if whole:
        return [name for name in warehouse.tables if name not in skipped] if skipped else []
    own = {table for run in runs if not run.skipped for table in run.tables}
    dated = {name for name, table in warehouse.tables.items() if is_by_date(table)} - own
    waits = {name for name in dated if f"{warehouse.name}.{name}" not in existing}
    reads = {name: {table.name for table in upstream(warehouse, name)} for name in warehouse.tables}
    after = {t.name for name in own for t in dependents(warehouse, name) if t.kind is not Kind.CHECK} - dated
    after = {name for name in after if not reads[name] & waits}
    before = {name for table in own | after for name in reads[table]} - dated
    return [name for name in warehouse.tables if name in own | after | before]


def written(jobs: Sequence[JobRun]) -> str:
    """Return jobs as text, for the lease of the run that is to run them."""
    return TypeAdapter(list[JobRun]).dump_json(list(jobs)).decode() if jobs else ""


def read_back(text: str) -> list[JobRun]:
    """Return the jobs of such a text; none if it is not one."""
    try:
        return TypeAdapter(list[JobRun]).validate_json(text or "[]")
    except ValidationError:
        return []


def job_row(result: JobResult) -> dict[str, Any]:
    """Return a row of etl_job_runs."""
    days = packed([date.fromisoformat(day) for day in result.dates])
    changed = {"status": result.status.value, "error_message": result.error_message or None, "dates": days or None}
    return dict(vars(result)) | changed


def date_range(since: date, until: date) -> Iterator[date]:
    """Return the days from one to another, both inclusive; UsageError if there is none or no end to them.

    >>> [day.isoformat() for day in date_range(date(2025, 2, 27), date(2025, 3, 1))]
    ['2025-02-27', '2025-02-28', '2025-03-01']
    """
    days = (until - since).days + 1
    if days < 1:
        raise UsageError(f"{until} is before {since}", hint="Write --from first day --to last day.")
    if days > _MOST_DATES:
        raise UsageError(f"{since} to {until} are {days} days", hint=f"At most {_MOST_DATES} at once.")
    return every_day(since, until)


def yesterday(now: datetime, zone: Zone) -> date:
    """Return the day before that of a moment (UTC): what a run is for unless it is told.

    >>> yesterday(datetime(2025, 3, 1, 2), Zone("America/New_York"))
    datetime.date(2025, 2, 27)
    """
    return zone.today(now) - DAY
