"""The arrows of ARCHITECTURE.md: who may import whom, and which library lives in which module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import starberg

ROOT = Path(starberg.__file__).parent
LAYERS = {
    "utils": set(),
    "storage": {"utils"},
    "engines": {"storage", "utils"},
    "ingestion": {"engines", "storage", "utils"},
    "etl": {"engines", "storage", "utils"},
    "samples": {"utils"},
    "entrypoints": {"etl", "ingestion", "engines", "storage", "utils", "samples"},
}
DECLARATIONS = {"starberg.ingestion.streams", "starberg.ingestion.columns"}
"""What etl may know of ingestion: how streams are declared. Data meets only in the raw zone."""
HOMES = {
    "duckdb": {"engines/duckdb.py"},
    "boto3": {"storage/s3_client.py"},
    "pyiceberg": {"storage/"},
    "sqlalchemy": set(),  # every command waits for the catalog, and it takes 0.3 s to import
    "requests": {"ingestion/", "storage/"},
    "adbc_driver_flightsql": {"engines/dremio.py"},
    "adbc_driver_manager": {"engines/dremio.py"},
    "trino": {"engines/trino.py"},
    "pyspark": {"engines/spark/"},
    "py4j": {"engines/spark/"},
}


def modules() -> list[Path]:
    return sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imports(path: Path, *, outside_main: bool = True) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        for inner in ast.walk(node)
        if outside_main
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        if name.startswith("starberg.") and name not in DECLARATIONS:
            target = name.split(".")[1]
            assert target in LAYERS[layer] | {layer}, f"{layer} must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_library_has_one_home(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        if homes is not None:
            assert any(place == home or (home.endswith("/") and place.startswith(home)) for home in homes), name


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_engine_code_knows_a_warehouse_by_name(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] in ("samples",) or path.name in ("rawg_fetcher.py", "commands.py"):
        return
    tree = ast.parse(path.read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not texts & {"games", "retail", "mafia", "learning", "projects"}
