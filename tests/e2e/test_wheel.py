"""The wheel: one import name, and its demo runs beside a user's own `utils.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("ingestion", "storage", "engines", "etl", "entrypoints", "samples", "utils")

pytestmark = pytest.mark.proof


def run(*command: str, cwd: Path) -> str:
    """Run a command as from a shell of its own; return what it prints."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run("uv", "build", "--wheel", "--out-dir", str(folder), cwd=REPOSITORY)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_has_one_import_name_and_brings_its_warehouses(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"starberg"}
    shipped = (
        path
        for top in ("warehouses", "etl/templates", "samples/operational")
        for path in (REPOSITORY / top).rglob("*.*")
    )
    wanted = {f"starberg/{path.relative_to(REPOSITORY)}" for path in shipped if path.suffix != ".pyc"}
    assert {"starberg/py.typed", *wanted} <= set(names)


def test_the_installed_demo_runs_beside_a_utils_of_the_users(wheel: Path, tmp_path: Path) -> None:
    python = str(tmp_path / "venv" / "bin" / "python")
    locked = run("uv", "export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", cwd=REPOSITORY)
    (tmp_path / "locked.txt").write_text(locked)
    run("uv", "venv", "--python", sys.executable, "venv", cwd=tmp_path)
    run("uv", "pip", "install", "--python", python, "--constraint", "locked.txt", str(wheel), cwd=tmp_path)
    project = tmp_path / "project"
    project.mkdir()
    for name in FOLDERS:
        (project / f"{name}.py").write_text(f"raise RuntimeError('this is the {name} of the user')\n")
    # With -m the user's folder comes first on the import path, before all that is installed.
    answer = json.loads(run(python, "-m", "starberg", "--json", "--quiet", "demo", "games", cwd=project))
    assert answer["run"]["status"] == "SUCCESS"
    assert all(answer["answers"].values())
    assert run(str(Path(python).with_name("starberg")), "query", "select count(*) from fact_games", cwd=project)
