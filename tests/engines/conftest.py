"""The lake that other engines read: the five warehouses on MinIO and Nessie, with Trino and Spark beside them.

Every test in this folder is marked `engines`. A server that cannot be had fails the test; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

import local_spark
import pytest
from own_stack import own_stack
from stack import Stack

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.demo import run_demo
from starberg.entrypoints.lake import Lake
from starberg.samples.demos import DEMOS
from starberg.utils.settings import Settings


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A stack of its own: its catalog holds one lake."""
    with own_stack(("trino",)) as started:
        yield started


@pytest.fixture(scope="session")
def environ(stack: Stack) -> dict[str, str]:
    """The settings of the lake: what the servers say, and where Iceberg for Spark is."""
    servers = {name: value for name, value in stack.env.items() if name != "WAREHOUSE_DATABASE_URL"}
    return {**servers, **local_spark.settings()}


@pytest.fixture(scope="session")
def lake(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake after the demos of all warehouses: loaded, changed, loaded again, by day, stopped by a check."""
    folder = tmp_path_factory.mktemp("lake")
    (folder / "starberg.toml").touch()
    lake = open_lake(Settings.load(folder, {"STARBERG_HOME": str(folder / "home")}, environ))
    for warehouse in DEMOS:
        run_demo(lake, warehouse)
    return lake
