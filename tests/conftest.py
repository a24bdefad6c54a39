"""Its presence puts this folder on the import path, so that every test finds the helpers beside it.

Property tests run few examples by default; `--hypothesis-profile=soak` (or HYPOTHESIS_PROFILE=soak) runs thousands.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from database import Database, DatabaseServer

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=_SLOW, print_blob=True)
settings.register_profile("soak", settings.get_profile("ci"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


FOLDERS = {"stack": "stack", "engines": "engines", "spark": "engines", "airflow": "airflow"}
"""The marks of folders whose tests need more than the development packages."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a person choose what builds the lakes of tests that do not care."""
    parser.addoption("--computing", choices=("duckdb", "spark"), default="duckdb", help="builds the tables")


def pytest_configure(config: pytest.Config) -> None:
    """Let Spark build, if it is asked for, whatever a test opens in this process."""
    if config.getoption("--computing") == "spark":
        import local_spark
        from lake import Default

        from starberg.entrypoints import bootstrap

        given, spark = bootstrap._spark, {"spark_master": local_spark.MASTER, "spark_jars": local_spark.jars()}
        Default.computing = staticmethod(local_spark.beside)
        Default.compares_maps = False  # never: Spark has no order of them (docs/engines.md)
        bootstrap._computing = lambda settings, store, local: given(settings.model_copy(update=spark), store, local)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of some folders, before `-m` chooses."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in FOLDERS:
            item.add_marker(FOLDERS[folder])


@pytest.fixture(autouse=True)
def any_level() -> Iterator[None]:
    """A command sets the level of its process, which here is that of the tests after it, too."""
    yield
    logging.getLogger("starberg").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[DatabaseServer]:
    """A real PostgreSQL with logical decoding."""
    from database import running

    with running() as server:
        yield server


@pytest.fixture
def database(postgres_server: DatabaseServer) -> Iterator[Database]:
    """An empty database."""
    postgres_server.server.start()
    found = postgres_server.database()
    yield found
    postgres_server.server.resume()
    postgres_server.server.start()
    postgres_server.drop(found)


@pytest.fixture(scope="module")
def source(postgres_server: DatabaseServer) -> Iterator[Database]:
    """An empty database that a module's tests share."""
    found = postgres_server.database()
    yield found
    postgres_server.drop(found)
