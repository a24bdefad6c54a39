"""The commands over jobs, dates and schedules: `run-job`, `backfill`, `plan`, `schedule`, `deploy`."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from starberg.entrypoints.session import Session
from starberg.utils.errors import UsageError

app = typer.Typer()


class JobKind(StrEnum):
    """Which jobs `--only` picks."""

    DIMENSIONS = "dimensions"
    FACTS = "facts"


class Scheduler(StrEnum):
    """What `starberg deploy` generates."""

    CRONTAB = "crontab"
    KUBERNETES = "kubernetes"
    AIRFLOW = "airflow"


Day = Annotated[
    datetime | None,
    typer.Option(metavar="DAY", formats=["%Y-%m-%d"], help="The day to build.", show_default="yesterday"),
]
Force = Annotated[bool, typer.Option("--force", metavar="", help="Run also what succeeded for that day.")]
_Warehouse = Annotated[str, typer.Argument(metavar="WAREHOUSE", help="The warehouse.")]
_Wait = Annotated[str, typer.Option(metavar="TIME", help="How long to wait for another run: 30s, 10m, 1h.")]


@app.command()
def run_job(
    ctx: typer.Context,
    warehouse: _Warehouse,
    job: Annotated[list[str] | None, typer.Argument(metavar="JOB...", help="The job, or several.")] = None,
    name: Annotated[list[str] | None, typer.Option("--job", metavar="JOB", help="The same.")] = None,
    date: Day = None,
    force: Force = False,
    wait: _Wait = "10m",
) -> None:
    """Run one job for a day, or several as one run, and show the counts."""
    names = [*(job or ()), *(name or ())]
    if not names:
        raise UsageError("which job?", hint=f"`starberg status {warehouse}` lists them.")
    session = _session(ctx)
    day = date and date.date()
    results = session.lake.run_jobs(warehouse, names, day, force=force, wait_s=seconds(wait))
    session.answer(results[0] if len(results) == 1 else results)


@app.command()
def backfill(
    ctx: typer.Context,
    warehouse: _Warehouse,
    since: Annotated[datetime, typer.Option("--from", metavar="DAY", formats=["%Y-%m-%d"], help="The first day.")],
    until: Annotated[datetime, typer.Option("--to", metavar="DAY", formats=["%Y-%m-%d"], help="The last day.")],
    job: Annotated[list[str] | None, typer.Option(metavar="JOB", help="Only this job; may be repeated.")] = None,
    force: Force = False,
    wait: _Wait = "10m",
) -> None:
    """Build a range of days; days that succeeded are skipped, so that a stopped backfill goes on where it was."""
    session = _session(ctx)
    days = since.date(), until.date()
    runs = session.lake.backfill(warehouse, *days, jobs=job or (), force=force, wait_s=seconds(wait))
    session.answer([result for run in runs for result in run.jobs])


@app.command()
def plan(
    ctx: typer.Context,
    warehouse: _Warehouse,
    date: Day = None,
    sql: Annotated[bool, typer.Option("--sql", metavar="", help="Show the SQL of the tables that are due.")] = False,
) -> None:
    """Show what the next run would do, and how many requests it would make; changes nothing."""
    session = _session(ctx)
    session.answer(session.lake.plan(warehouse, date and date.date(), sql=sql))


@app.command()
def deploy(
    ctx: typer.Context,
    kind: Annotated[Scheduler, typer.Argument(help="For which scheduler.")],
    warehouse: _Warehouse,
) -> None:
    """Print what warehouse.yml schedules for another scheduler: a crontab, CronJobs, a DAG file."""
    session = _session(ctx)
    session.answer(session.lake.deploy(kind.value, warehouse))


@app.command()
def schedule(
    ctx: typer.Context,
    warehouse: Annotated[list[str] | None, typer.Argument(metavar="WAREHOUSE...", help="Only these.")] = None,
    show: Annotated[bool, typer.Option("--list", metavar="", help="Show what is scheduled, and run nothing.")] = False,
    grace: Annotated[str, typer.Option(metavar="TIME", help="How long runs may go on after a SIGTERM.")] = "10m",
) -> None:
    """Run what the warehouses schedule, until it is stopped."""
    session = _session(ctx)
    if show:
        session.answer(session.lake.schedules(warehouse or ()))
    elif not session.settings.schedules:
        raise UsageError("schedules are off here", hint="They are where STARBERG_SCHEDULES is true.")
    else:
        session.lake.schedule(warehouse or (), grace_s=seconds(grace))


def seconds(text: str) -> float:
    """Read how long to wait: 30s, 10m, 1h; a plain number is seconds. UsageError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found:
        raise UsageError(f"{text!r} is no time", hint="Write it as 30s, 10m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _session(ctx: typer.Context) -> Session:
    assert isinstance(ctx.obj, Session)
    return ctx.obj
