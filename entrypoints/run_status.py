"""`starberg status`: the runs of each warehouse, newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starberg.engines.duckdb import DuckDBEngine
from starberg.etl.jobs import read_back
from starberg.etl.results import Status
from starberg.storage.lease import Lease, leases
from starberg.utils.sql import quote

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake

COLUMNS = (
    "run_id",
    "warehouse",
    "command",
    "status",
    "started_at",
    "ended_at",
    "duration_ms",
    "rows_inserted",
    "rows_updated",
    "rows_deleted",
    "error",
    "notes",
)
"""What is told of a run, beside `tables`, those it changed, and its `jobs`."""

_LOGS = {"runs": "runs", "tables": "table_runs", "jobs": "job_runs"}
_CHANGED = ("table", "rows_inserted", "rows_updated", "rows_deleted")
_DONE = ("job", "target_date", "status", "rows_inserted", "rows_updated", "rows_deleted", "error")
_RUNS = """
SELECT run_id, warehouse, command, status, started_at, ended_at, duration_ms,
    rows_inserted, rows_updated, rows_deleted, error_message, notes
FROM {runs} ORDER BY started_at DESC, run_id DESC LIMIT {limit}
"""
_TABLES = """
SELECT run_id, table_name, rows_inserted, rows_updated, rows_deleted
FROM {tables} WHERE run_id IN (SELECT run_id FROM {runs} ORDER BY started_at DESC, run_id DESC LIMIT {limit})
AND rows_inserted + rows_updated + rows_deleted > 0
"""
_JOBS = """
SELECT run_id, job_name, target_date, status, rows_inserted, rows_updated, rows_deleted, error_message
FROM {jobs} WHERE run_id IN (SELECT run_id FROM {runs} ORDER BY started_at DESC, run_id DESC LIMIT {limit})
ORDER BY target_date, job_name
"""


def runs(lake: Lake, warehouse: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the runs with the tables each changed, first those known from leases. Times are UTC.

    A lease is of a run at work (RUNNING), or of a dead one (FAILED) that the next run will write down.
    """
    found = lake.look()
    state = found.tables
    engine = lake.reader(warehouse, state=found, only={name for name in state if _is_log(name, warehouse)})
    try:
        names = [warehouse] if warehouse else sorted({name.split(".")[0] for name in state})
        ended = [run for name in names if f"{name}.etl_runs" in state for run in _ended(engine, name, state, limit)]
    finally:
        engine.close()
    known = {run["run_id"] for run in ended}
    now = lake.clock.now()
    unended = [
        _unended(lease, now)
        for lease in leases(lake.store)
        if lease.run_id not in known and warehouse in (None, lease.warehouse)
    ]
    return [*unended, *sorted(ended, key=lambda run: (run["started_at"], run["run_id"]), reverse=True)][:limit]


def _is_log(name: str, warehouse: str | None) -> bool:
    owner, table = name.split(".", 1)
    return table in ("etl_runs", "etl_table_runs", "etl_job_runs") and warehouse in (None, owner)


def _ended(engine: DuckDBEngine, warehouse: str, state: Any, limit: int) -> list[dict[str, Any]]:
    logs = {log: quote(f"{warehouse}.etl_{name}") for log, name in _LOGS.items()}
    changed, jobs = (
        _by_run(engine.rows(query.format(**logs, limit=limit)), columns)
        if f"{warehouse}.etl_{_LOGS[log]}" in state
        else {}
        for log, query, columns in (("tables", _TABLES, _CHANGED), ("jobs", _JOBS, _DONE))
    )
    listed = engine.rows(_RUNS.format(**logs, limit=limit))
    return [_run(row, changed.get(row[0], []), jobs.get(row[0], [])) for row in listed]


def _by_run(rows: list[tuple[Any, ...]], columns: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for run_id, *values in rows:
        found.setdefault(run_id, []).append(dict(zip(columns, values, strict=True)))
    return found


def _run(row: tuple[Any, ...], changed: list[dict[str, Any]], jobs: list[dict[str, Any]]) -> dict[str, Any]:
    run = dict(zip(COLUMNS, row, strict=True))
    for moment in ("started_at", "ended_at"):
        run[moment] = run[moment].replace(tzinfo=UTC)
    run["notes"] = json.loads(run["notes"] or "[]")
    return run | {"tables": sorted(changed, key=lambda table: str(table["table"])), "jobs": jobs}


def _unended(lease: Lease, now: datetime) -> dict[str, Any]:
    dead = lease.is_dead(now)
    status, error = (Status.FAILED, lease.last_words) if dead else (Status.RUNNING, None)
    told = {"run_id": lease.run_id, "warehouse": lease.warehouse, "started_at": lease.acquired_at}
    ended = {"status": status.value, "error": error}
    jobs = [
        dict.fromkeys(_DONE) | {"job": job.name, "target_date": job.target_date} | ended
        for job in read_back(lease.about)
        if not job.skipped
    ]
    return dict.fromkeys(COLUMNS) | told | ended | {"notes": [], "tables": [], "jobs": jobs}
