"""A type 2 dimension of a million customers and the changes of a day, beside the same by hand and by other tools.

What is measured starts with landed loads (`benchmarks/land.py`), other tools' with their source's own table: nothing is
read from a server. Each change set has 10,000 updates, 1,000 new customers and 100 deletes.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.crm_runs import files_of, land, say, starberg
from benchmarks.customers import CHANGED
from benchmarks.environments import PEERS, compile_ourselves, peer_python
from benchmarks.measure import Figures, best, clean_environment, measured

FULL_SIZE = 1_000_000
SETS = 3
"""Change sets, one after the other; the best of them counts."""
_ROOT = Path(__file__).parents[1]
_SERVICES = ("--services", "minio,nessie")


@dataclass(frozen=True)
class Change:
    """One change set built: the process, and from its own log the seconds of parts of it.

    `dimension_s` is the dimension's build and its commit on the branch, `commit_s` the log's row, publish and tag,
    `run_s` everything after start-up. `written` is what came to the lake, in bytes.
    """

    figures: Figures
    dimension_s: float
    commit_s: float
    run_s: float
    written: int


@dataclass
class Report:
    """Everything one benchmark measured. `by_hand` is seconds from a first statement to its commit, by place."""

    members: int
    changed_bytes: int = 0
    changes: dict[str, list[Change]] = field(default_factory=dict)
    first: dict[str, Figures] = field(default_factory=dict)
    by_hand: dict[str, tuple[Figures, float]] = field(default_factory=dict)
    peers: dict[str, Figures] = field(default_factory=dict)


def run(members: int, folder: Path, *, quick: bool) -> Report:
    """Measure everything; quick: only ourselves, in a folder."""
    report = Report(members)
    files = files_of(folder / "files", members, SETS)
    report.changed_bytes = (files / "changes-1.parquet").stat().st_size
    if not quick:
        compile_ourselves()
    _ours(report, "embedded", _home(folder / "home"), files)
    if quick:
        return report
    _by_hand(report, "embedded", str(folder / "by-hand"), files, {})
    _dbt(report, folder / "dbt", files)
    _sqlmesh(report, folder / "sqlmesh", files)
    _dlt(report, folder / "dlt", files)
    with _servers(folder / "stack") as (variables, nessie):
        _ours(report, "MinIO + Nessie", {**_home(folder / "remote"), **variables}, files)
        _by_hand(report, "MinIO + Nessie", nessie, files, variables)
    _ours(
        report, "embedded, 4 times as many", _home(folder / "home-4"), files_of(folder / "files-4", 4 * members, SETS)
    )
    return report


def _home(folder: Path) -> dict[str, str]:
    return {"STARBERG_HOME": str(folder)}


def _ours(report: Report, place: str, variables: Mapping[str, str], files: Path) -> None:
    environment = clean_environment(**variables)
    land(files / "customers.parquet", environment)
    report.first[place] = say(place, "first build", starberg(environment, "etl", "crm"))
    for number in range(1, SETS + 1):
        land(files / f"changes-{number}.parquet", environment)
        figures = say(place, f"change set {number}", starberg(environment, "etl", "crm"))
        report.changes.setdefault(place, []).append(_change(figures, environment))


def _change(figures: Figures, environment: Mapping[str, str]) -> Change:
    answer = json.loads(figures.stdout)
    sql = f"SELECT duration_ms, bytes_written FROM crm.etl_runs WHERE run_id = '{answer['run_id']}'"
    [row] = json.loads(starberg(environment, "query", sql).stdout)
    dimension = next(table for table in answer["tables"] if table["name"] == "dim_customer")
    assert dimension["rows_inserted"] + dimension["rows_updated"] == CHANGED + 10_000, dimension
    run_ms = answer["duration_ms"]
    return Change(
        figures, dimension["duration_ms"] / 1000, (run_ms - row["duration_ms"]) / 1000, run_ms / 1000,
        row["bytes_written"],
    )  # fmt: skip


def _by_hand(report: Report, place: str, where: str, files: Path, variables: Mapping[str, str]) -> None:
    script = [peer_python("iceberg"), str(PEERS / "scd2_iceberg.py")]
    environment = clean_environment(**variables)
    measured([*script, "prepare", where, str(files / "customers.parquet")], environment, files)
    runs = []
    for number in range(1, SETS + 1):
        figures = measured([*script, "apply", where, str(files / f"changes-{number}.parquet")], environment, files)
        runs.append(say(place, "by hand", figures))
    least = best(runs)
    report.by_hand[place] = (least, min(float(run.stdout) for run in runs))


def _dbt(report: Report, folder: Path, files: Path) -> None:
    python = peer_python("dbt")
    _peer(report, "dbt snapshot", python, "scd2_dbt.py", folder, files, lambda _: [_beside(python, "dbt"), "snapshot"])


def _sqlmesh(report: Report, folder: Path, files: Path) -> None:
    python = peer_python("sqlmesh")

    def command(number: int) -> list[str]:  # it runs once an interval, here a day: one change set is taken in
        plan = [_beside(python, "sqlmesh"), "plan", "--auto-apply", "--no-prompts"]
        return [*plan, "--run", "--execution-time", "in 2 days"] if number else plan

    _peer(report, "SQLMesh SCD_TYPE_2_BY_TIME", python, "scd2_sqlmesh.py", folder, files, command, sets=1)


def _dlt(report: Report, folder: Path, files: Path) -> None:
    python = peer_python("dlt_duckdb")
    command = [python, str(PEERS / "scd2_dlt.py"), "run", str(folder), ""]
    _peer(report, "dlt scd2", python, "scd2_dlt.py", folder, files, lambda _: command)


def _peer(
    report: Report, name: str, python: str, script: str, folder: Path, files: Path, command: Any, sets: int = SETS
) -> None:
    """Prepare a tool's source and its first state; then measure what it does with each change set."""
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true"}
    environment = clean_environment(DLT_DATA_DIR=str(folder), DBT_SEND_ANONYMOUS_USAGE_STATS="false", **quiet)
    prepare = [python, str(PEERS / script)]
    measured([*prepare, "prepare", str(folder), str(files / "customers.parquet")], environment, files)
    measured(command(0), environment, folder)
    runs = []
    for number in range(1, sets + 1):
        measured([*prepare, "change", str(folder), str(files / f"changes-{number}.parquet")], environment, files)
        runs.append(say(name, f"change set {number}", measured(command(number), environment, folder)))
    report.peers[name] = best(runs)


def _beside(python: str, script: str) -> str:
    return str(Path(python).with_name(script))


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Start MinIO and Nessie; yield the settings that name them, and the address of Nessie's Iceberg catalog."""
    script = [sys.executable, str(_ROOT / "deploy/stack.py")]
    where = [*_SERVICES, "--dir", str(folder)]
    subprocess.run([*script, "up", *where], check=True, stdout=sys.stderr)
    try:
        said = subprocess.run([*script, "env", *where], check=True, capture_output=True, text=True).stdout
        words = (shlex.split(line)[1] for line in said.splitlines() if line.startswith("export "))
        variables = {name: value for name, _, value in (word.partition("=") for word in words)}
        yield variables, variables["NESSIE_URI"].split("/api/")[0] + "/iceberg"
    finally:
        subprocess.run([*script, "down", *where], check=False, stdout=sys.stderr)
