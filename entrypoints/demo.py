"""`starberg demo`: a warehouse on a sample source that is started for it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starberg.etl.jobs import yesterday
from starberg.samples.demos import DEMOS, Dated, Mistake
from starberg.samples.scenes import Scene
from starberg.utils.errors import CheckFailed, UsageError
from starberg.utils.sql import text

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake
    from starberg.etl.results import JobResult, RunResult

_SHOWN = 15
_BACKFILLED = 2
"""Days before yesterday that a demo builds, too."""


def run_demo(lake: Lake, warehouse: str) -> dict[str, Any]:
    """Run, let the source change if it can, run again; return all that, the tables, the answers, what to type next."""
    if warehouse not in DEMOS:
        raise UsageError(f"there is no demo of {warehouse}", hint=f"There are: {', '.join(DEMOS)}.")
    demo = DEMOS[warehouse]
    with demo.source(lake.home / "demo" / warehouse) as scene:
        there = lake.reopen(scene.variables)
        shown = _by_date(there, warehouse, scene, demo.dated) if demo.dated else _twice(there, warehouse, scene)
    shown["tables"] = [{"table": row["table"], "rows": row["rows"]} for row in lake.tables(warehouse)]
    shown["answers"] = {question: _answer(lake, warehouse, sql) for question, sql in demo.questions.items()}
    return shown | {"next": [_typed(lake, command) for command in demo.next]}


def _twice(lake: Lake, warehouse: str, scene: Scene) -> dict[str, Any]:
    """Run, let the source change if it can, run again."""
    shown: dict[str, Any] = {"run": lake.run(warehouse)}
    if scene.change:
        shown |= {"changes": scene.change(), "run_after_changes": lake.run(warehouse)}
    return shown


def _by_date(lake: Lake, warehouse: str, scene: Scene, dated: Dated) -> dict[str, Any]:
    """Live and run day by day, then once more, by force, past a mistake, after late changes, and for days before."""
    shown: dict[str, Any] = {}
    for day in scene.days:
        scene.live(day)
        shown[f"run_of_{day}"] = _told(lake.run(warehouse, date=day))
    last = yesterday(lake.clock.now(), lake.warehouse(warehouse).zone)
    shown["run_again"] = _told(lake.run(warehouse, date=last))
    shown["forced"] = _jobs([lake.run_job(warehouse, dated.forced, last, force=True)])
    shown["failed"] = _failed(lake, warehouse, scene, dated.mistake)
    assert scene.change is not None
    shown |= {"changes": scene.change(), "run_after_changes": _told(lake.run(warehouse))}
    runs = lake.backfill(warehouse, last - timedelta(days=_BACKFILLED), last, jobs=[dated.forced])
    shown["backfill"] = _jobs([job for run in runs for job in run.jobs])
    return shown


def _told(run: RunResult) -> dict[str, Any]:
    """Return what became of a run, and of each of its jobs."""
    return {"run_id": run.run_id, "status": run.status, "notes": run.notes, "jobs": _jobs(run.jobs)}


def _jobs(jobs: Sequence[JobResult]) -> list[dict[str, Any]]:
    """Return what became of jobs, and how many rows of theirs that changed, as a table of few columns."""
    return [
        {"job": job.job_name, "date": job.target_date, "status": job.status, "rows": job.rows_processed} for job in jobs
    ]


def _failed(lake: Lake, warehouse: str, scene: Scene, mistake: Mistake) -> dict[str, Any]:
    """Let the source make a mistake that stops a run, and mend it; return what its checks and its branch tell."""
    scene.correct(mistake.make)
    try:
        lake.run(warehouse)
    except CheckFailed as stopped:
        error = str(stopped)
    finally:
        scene.correct(mistake.mend)
    newest = "SELECT run_id FROM etl_runs WHERE status = 'FAILED' ORDER BY started_at DESC LIMIT 1"
    [(run_id,)] = lake.query(newest, warehouse=warehouse).rows
    failed = "SELECT check_name, severity, failures FROM data_quality_results WHERE status = 'failed' AND run_id = "
    return {
        "mistake": mistake.says,
        "error": error,
        "checks": _answer(lake, warehouse, failed + text(run_id)),
        "asked": _typed(lake, f'query --at {run_id} --warehouse {warehouse} "{mistake.ask}"'),
        "rows_at_the_run": _answer(lake, warehouse, mistake.ask, run_id),
    }


def _answer(lake: Lake, warehouse: str, sql: str, at: str | None = None) -> list[dict[str, Any]]:
    """Return the first rows of an answer."""
    result = lake.query(sql, warehouse=warehouse, at=at)
    return [dict(zip(result.columns, row, strict=True)) for row in islice(result.rows, _SHOWN)]


def _typed(lake: Lake, command: str) -> str:
    """Return a command as it is typed to work on this lake."""
    elsewhere = lake.home.resolve() != (Path.cwd() / ".starberg").resolve()
    return f"starberg{f' --home {shlex.quote(str(lake.home))}' if elsewhere else ''} {command}"
