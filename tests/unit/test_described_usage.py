"""What users of the systems the warehouses come from type and set, word for word, and what it does here."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from product import Product

from starberg.entrypoints.cli import main
from starberg.etl.project import load_warehouses, shipped_warehouses
from starberg.etl.results import JobState, RunResult, Stage, Status
from starberg.etl.schedule import shown
from starberg.utils.clock import Clock
from starberg.utils.errors import UsageError
from starberg.utils.settings import Settings

DAY = date(2025, 1, 15)
NOW = Clock().now()
RUN = RunResult("r1", "w", Status.SUCCESS, NOW, NOW, 5)
URL = "postgresql://someone:pw@db.example.org:6000/data?sslmode=prefer"


class Noting:
    """A lake that notes the one call of a command."""

    def __init__(self) -> None:
        self.call: tuple[str, tuple[Any, ...], dict[str, Any]] = ("", (), {})

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if name == "jobs":
                return list[JobState]()
            self.call = (name, given, {key: value for key, value in named.items() if value})
            return {"run": RUN, "run_stage": RUN, "backfill": [RUN]}.get(name, [{"name": name, "ok": True}])

        return call


WAIT = {"wait_s": 600.0}
BUILDING = WAIT | {"rebuild": True}


@pytest.mark.parametrize(
    ("typed", "call", "given", "named"),
    [
        ("run mafia --full", "run", ["mafia"], BUILDING | {"full": True}),
        ("run mafia", "run", ["mafia"], BUILDING),
        ("run mafia --source user_service", "run", ["mafia"], BUILDING | {"source": "user_service"}),
        ("run retail", "run", ["retail"], BUILDING),
        ("run retail --stage check --run-id ID", "run_stage", ["retail", Stage.CHECK, "ID"], BUILDING),
        (
            f"seed retail --url {URL} --customers 9 --days 8 --seed 3 --yes",
            "seed",
            ["retail", [URL]],
            {"people": 9, "days": 8, "seed": 3, "replace": True},
        ),
        *[
            (f"seed {name} --url {URL}", "seed", [name, [URL]], {"seed": 7})
            for name in ("mafia", "learning", "projects")
        ],
        *[
            (f"mutate {name}", "mutate", [name, ()], {"transactions": 1000, "seed": 7, "sessions": 4})
            for name in ("retail", "mafia", "learning", "projects")
        ],
        ("run learning", "run", ["learning"], BUILDING),
        ("run learning --date 2025-01-15", "run", ["learning"], BUILDING | {"date": DAY}),
        ("run learning --date=2025-01-15 --force", "run", ["learning"], BUILDING | {"date": DAY, "force": True}),
        ("run learning --only dimensions", "run", ["learning"], BUILDING | {"only": "dimensions"}),
        ("run learning --only facts --date 2025-01-15", "run", ["learning"], BUILDING | {"only": "facts", "date": DAY}),
        (
            "run-job learning build_fact_sessions --date 2025-01-15",
            "run_jobs",
            ["learning", ["build_fact_sessions"], DAY],
            WAIT,
        ),
        (
            "run-job learning --job=build_fact_sessions --date=2025-01-15",
            "run_jobs",
            ["learning", ["build_fact_sessions"], DAY],
            WAIT,
        ),
        ("status", "status", [None], {"limit": 20}),
        ("status learning", "status", ["learning"], {"limit": 20}),
        ("backfill learning --from 2025-01-15 --to 2025-01-15", "backfill", ["learning", DAY, DAY], WAIT),
        (
            "backfill learning --from 2025-01-15 --to 2025-01-15 --force",
            "backfill",
            ["learning", DAY, DAY],
            WAIT | {"force": True},
        ),
        ("run projects", "run", ["projects"], BUILDING),
        ("ingest games", "run", ["games"], WAIT),
        ("etl games", "run", ["games"], BUILDING),
        ("run games", "run", ["games"], BUILDING),
        ("schedule", "schedule", [()], {"grace_s": 600.0}),
        ("check", "check", [], {}),
        ("check --live", "live", [], {}),
    ],
)
def test_each_command_as_typed(
    typed: str, call: str, given: list[Any], named: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Noting()
    lake.__dict__["live"] = lambda: setattr(lake, "call", ("live", (), {})) or {"ok": True}
    assert main(typed.split(), environ={}, open_lake=lambda _: lake) == 0
    assert lake.call == (call, tuple(given), named)


@pytest.mark.parametrize(
    ("module", "warehouse", "code", "named"),
    [
        ("starberg.etl.pipeline", "projects", 7, "PROJECTS_DATABASE_URL"),
        ("starberg.ingestion.ingest_pipeline", "games", 7, "RAWG_API_KEY"),
    ],
)
def test_a_module_is_the_command(module: str, warehouse: str, code: int, named: str, tmp_path: Path) -> None:
    """It gets as far as the command does without the source's secret; its exit code is the command's."""
    done = subprocess.run(
        [sys.executable, "-m", module, warehouse, "--home", str(tmp_path / "home")],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, named in done.stderr.splitlines()[-1]) == (code, True), done.stderr


def declared(warehouse: str, **environ: str) -> Any:
    return load_warehouses([shipped_warehouses()], environ).file(warehouse)


def test_the_schedule_of_mafia_is_set_by_its_variables() -> None:
    usual = declared("mafia").schedules
    assert (shown(usual["incremental"].every), usual["full"].cron) == ("5m", "0 2 * * *")
    own = declared("mafia", ETL_INTERVAL_MINUTES="15", ETL_FULL_LOAD_HOUR="4").schedules
    assert (own["incremental"].every, own["full"].cron) == (timedelta(minutes=15), "0 4 * * *")


@pytest.mark.parametrize(
    ("source", "prefix", "host"),
    [
        ("user_service", "USER_SERVICE_DB", "user-db-primary"),
        ("game_service", "GAME_SERVICE_DB", "game-db-primary"),
    ],
)
def test_the_sources_of_mafia_are_set_by_their_variables(source: str, prefix: str, host: str) -> None:
    usual = declared("mafia").sources[source].connection
    assert (usual.host, usual.port, usual.database) == (host, 5432, source)
    given = {"HOST": "h", "PORT": "6000", "NAME": "n", "USER": "u"}
    own = declared("mafia", **{f"{prefix}_{name}": value for name, value in given.items()}).sources[source].connection
    assert (own.host, own.port, own.database, own.user, own.password) == ("h", 6000, "n", "u", f"{prefix}_PASSWORD")


def test_the_namespace_of_projects_is_set_by_its_variable() -> None:
    assert declared("projects").namespace == "projectmanagement"
    assert declared("projects", WAREHOUSE_DB="Delivery").namespace == "delivery"


def test_the_source_of_learning_is_its_variable_as_the_key_of_rawg_is() -> None:
    [source] = declared("learning").sources.values()
    assert source.connection.url == "OLTP_DATABASE_URL"
    assert secret(OLTP_DATABASE_URL=URL) == URL
    assert secret(RAWG_API_KEY="key") == "key"


def secret(**environ: str) -> str:
    [name] = environ
    found = settings(**environ).secret(name)
    assert found
    return found.get_secret_value()


def settings(**environ: str) -> Settings:
    return Settings.load(None, {}, environ)


@pytest.mark.parametrize(
    ("variable", "value", "field", "is_then"),
    [
        ("WAREHOUSE_DATABASE_URL", URL, "warehouse_database_url", URL),
        ("WAREHOUSE_DATABASE_URL", URL, "catalog", "postgresql"),
        ("WAREHOUSE_DB_HOST", "data-warehouse-db", "catalog", "postgresql"),
        ("ETL_DEBUG", "true", "etl_debug", True),
        ("LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("MINIO_ENDPOINT", "minio:9000", "minio_endpoint", "http://minio:9000"),
        ("MINIO_ACCESS_KEY", "key", "minio_access_key", "key"),
        ("MINIO_SECRET_KEY", "key", "minio_secret_key", "key"),
        ("NESSIE_URI", "http://nessie:19120", "nessie_uri", "http://nessie:19120"),
    ],
)
def test_each_variable_sets_what_it_did(variable: str, value: str, field: str, is_then: object) -> None:
    found = getattr(settings(**{variable: value}), field)
    assert (found.get_secret_value() if hasattr(found, "get_secret_value") else found) == is_then


def test_the_database_of_the_warehouse_may_be_said_by_its_host() -> None:
    url = settings(WAREHOUSE_DB_HOST="data-warehouse-db").warehouse_database_url
    assert url
    assert "@data-warehouse-db:5432/" in url.get_secret_value()
    with pytest.raises(UsageError, match="WAREHOUSE_DATABASE_URL"):
        settings(STARBERG_CATALOG="postgresql")


def test_the_variables_reach_a_command(tmp_path: Path) -> None:
    shown_settings = {
        row["name"]: row["value"] for row in Product(tmp_path)("--json", "config", LOG_LEVEL="error").rows
    }
    assert shown_settings["LOG_LEVEL"] == "error"
