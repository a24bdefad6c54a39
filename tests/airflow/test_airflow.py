"""A real Airflow, in an environment of its own: it loads every generated DAG and runs one to success.

The environment is made once by uv from `requirements.txt` beside this file, in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from product import Product

from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.samples.scenes import retail_settings

DAGS = Path(__file__).parents[2] / "deploy" / "airflow"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
LOAD = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({"errors": bag.import_errors, "dags": {name: sorted(dag.task_ids) for name, dag in bag.dags.items()}}))
"""


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a home of its own; `environ` is what its tasks see."""

    programs: Path
    environ: dict[str, str]

    def __call__(self, *arguments: str, **more: str) -> str:
        """Run one of its programs; return what it printed. AssertionError unless it ends well."""
        command = [str(self.programs / arguments[0]), *arguments[1:]]
        done = subprocess.run(
            command, env=self.environ | more, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    home, programs = tmp_path_factory.mktemp("airflow"), _environment() / "bin"
    environ = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing beside the DAG files
    }
    found = Airflow(programs, environ)
    found("airflow", "db", "migrate")
    return found


def _environment() -> Path:
    """Return Airflow's environment, made where there is none for these requirements and this Python."""
    wanted = hashlib.sha256(f"{sys.version} {REQUIREMENTS.read_text()}".encode()).hexdigest()[:12]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "starberg-airflow" / wanted
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(folder / "bin" / "python")]
        subprocess.run([*install, "--requirements", str(REQUIREMENTS)], check=True)
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        server.create("operations")
        yield dict(retail_settings(server))


def test_airflow_loads_every_generated_dag(airflow: Airflow) -> None:
    found = json.loads(airflow("python", "-c", LOAD, str(DAGS)).splitlines()[-1])
    assert found["errors"] == {}
    declared = re.findall(r'dag_id="(\w+)"', "".join(file.read_text() for file in DAGS.glob("*.py")))
    assert sorted(found["dags"]) == sorted(declared) != []
    assert found["dags"]["retail_master"] == ["build", "check", "done", "ingest", "log_monitor", "publish"]


def test_airflow_runs_the_stages_of_a_warehouse_to_success(
    airflow: Airflow, source: dict[str, str], tmp_path: Path
) -> None:
    retail = Product(tmp_path / "project", source)
    assert retail("seed", "retail", "--customers", "20", "--days", "5").code == 0
    settings = source | {"STARBERG_HOME": str(retail.home), "STARBERG_THREADS": "1"}
    printed = airflow("airflow", "dags", "test", "retail_master", "2026-11-22T06:00:00", **settings)
    runs = retail("--json", "status", "retail").rows
    assert [(run["status"], len(run["tables"]) > 5) for run in runs] == [("SUCCESS", True)], printed[-4000:]
    assert str(runs[0]["run_id"]).startswith("retail_master-")
    [sales] = retail("--json", "query", "select count(*) as n from retail.dwh_fact_sales").rows
    assert sales["n"] > 0
    assert "state=success" in printed, printed[-4000:]
