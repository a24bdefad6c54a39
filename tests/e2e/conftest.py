"""What several files of questions share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from database import Database, DatabaseServer, running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[DatabaseServer]:
    """A real PostgreSQL with logical decoding."""
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
