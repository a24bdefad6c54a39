"""Its presence puts this folder on the import path, so that every test finds the helpers beside it.

Property tests run few examples by default; `--hypothesis-profile=soak` (or HYPOTHESIS_PROFILE=soak) runs thousands.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from database import Database, DatabaseServer

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=_SLOW, print_blob=True)
settings.register_profile("soak", settings.get_profile("ci"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


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
